package config

import (
	"bytes"

	"firebreak/agent/core"
)

// ParseSensors compiles a file of which only the sensors are wanted. One with plans is a whole configuration;
// one without needs nothing but a name, buses and devices, and is no protection.
func ParseSensors(file string, data []byte, k Kinds) (c *Config, faults []Fault) {
	defer recovered(file, &c, &faults)
	src := &source{file: file}
	if len(data) > maxFile {
		return nil, tooLarge(file)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	root := parseTree(src, data, "")
	if root == nil {
		return nil, src.sorted()
	}
	if root.Has("plan") {
		return parse(file, data, k)
	}
	p := &compiler{source: src, kinds: k, root: root, cfg: &Config{File: file}, data: data}
	p.sensors()
	if len(src.faults) > 0 {
		return nil, src.sorted()
	}
	return p.cfg, nil
}

// sensors reads names, buses and devices, and nothing else.
func (c *compiler) sensors() {
	c.names()
	r := c.root
	r.Require("site", "zone", "agent")
	c.cfg.Site, c.cfg.Zone, c.cfg.Agent = c.name(r, "site"), c.name(r, "zone"), c.name(r, "agent")
	c.ownProfiles(r)
	c.cfg.Rules = &core.Rules{Site: c.cfg.Site, Zone: c.cfg.Zone, Agent: c.cfg.Agent, Hazard: &c.hz, Response: &c.resp}
	for _, t := range r.Tables("bus") {
		c.bus(t)
	}
	for _, t := range r.Tables("device") {
		c.device(t)
	}
	c.end(r)
	if len(c.cfg.Devices) == 0 && len(c.faults) == 0 {
		c.fault(r.at, "there is no [[device]]: nothing would be read")
	}
}
