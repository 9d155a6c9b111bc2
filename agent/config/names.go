package config

// What a kind of hook may want of the rest of the file: points that it shows, plans that it follows.
type (
	wantsPoints interface{ Points() []string }
	wantsPlans  interface{ PlanNames() []string }
)

// checkNames finds points and plans of hooks that the file has not: what stands in a typing error is
// shown to nobody, and the shutdown of a zone would follow no plan.
func (c *compiler) checkNames() {
	plans := map[string]bool{}
	for i := range c.resp.Plans {
		plans[c.resp.Plans[i].Name] = true
	}
	for i := range c.cfg.Hooks {
		h := &c.cfg.Hooks[i]
		if w, ok := h.Config.(wantsPoints); ok {
			for _, n := range w.Points() {
				if _, there := c.points[n]; !there {
					c.noPoint(h.At, n)
				}
			}
		}
		if w, ok := h.Config.(wantsPlans); ok {
			for _, n := range w.PlanNames() {
				lookup(c, h.At, "plan", n, plans)
			}
		}
	}
}
