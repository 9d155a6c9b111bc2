package config

import (
	"slices"
	"strings"

	"firebreak/agent/response"
)

// throughBrokers is the configuration of a hook that acts through brokers of this file. One of them
// that works is enough, so they are not among its needs.
type throughBrokers interface{ UsesBrokers() []string }

func brokersOf(h *Hook) []string {
	if b, ok := h.Config.(throughBrokers); ok {
		return b.UsesBrokers()
	}
	return nil
}

// checkBrokers finds brokers of hooks that the file has not.
func (c *compiler) checkBrokers() {
	for i := range c.cfg.Hooks {
		for _, n := range brokersOf(&c.cfg.Hooks[i]) {
			lookup(c, c.hookTabs[i].itemPos("brokers", n), "broker", n, c.brokers)
		}
	}
}

// checkWays is S12 for them: not all may stand in the zones that the plan gives up.
func (c *compiler) checkWays(p *response.Plan, h *Hook, t *Table, all map[string]dependsOn) {
	names := brokersOf(h)
	if len(names) > 0 && !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(p.Protects, all[n].stands.Zone) }) {
		t.Fault("brokers", "hook %q has no broker outside of what plan %q gives up (%s): name one more that stands elsewhere", h.Name, p.Name, strings.Join(p.Protects, ", "))
	}
}
