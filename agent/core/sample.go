package core

import (
	"slices"

	"firebreak/plugins"
)

// sample asks for faster polling of the devices on which a plan at stage 1 or above depends, and takes
// it back when none is. It is told anew after a start: the buses have begun at their usual pace.
func (c *Core) sample(fx []Effect) []Effect {
	if !c.begun {
		clear(c.sampled)
	}
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
