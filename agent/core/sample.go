package core

import (
	"slices"

	"firebreak/plugins"
)

// sample asks for faster polling of the devices on which a plan at stage 1 or above depends, and takes
// it back when none is. A new core asks anew: the buses have begun at their usual pace.
func (c *Core) sample(fx []Effect) []Effect {
	for i := range c.r.Sampling {
		s := &c.r.Sampling[i]
		fast := slices.ContainsFunc(s.Plans, func(p string) bool { return c.resp.Stage(p) > plugins.Watch })
		if fast == c.sampled[s.Device] {
			continue
		}
		e := Effect{Kind: Sample, Device: s.Device}
		if c.sampled[s.Device] = fast; fast {
			e.Period = s.Period
		}
		fx = append(fx, e)
	}
	return fx
}
