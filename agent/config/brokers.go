package config

// checkBrokers finds brokers of hooks that the file has not. One of them that works is enough, so they
// are not among the hook's needs.
func (c *compiler) checkBrokers() {
	for i := range c.cfg.Hooks {
		for _, n := range c.cfg.Hooks[i].brokers() {
			lookup(c, c.hookTabs[i].itemPos("brokers", n), "broker", n, c.brokers)
		}
	}
}
