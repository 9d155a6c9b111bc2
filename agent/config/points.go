package config

import (
	"strings"

	"firebreak/agent/near"
)

// noPoint says what there is instead: the points of the device when that exists.
func (c *compiler) noPoint(at Pos, pat string) {
	dev, _, _ := strings.Cut(pat, ".")
	var names []string
	for i := range c.hz.Points {
		if n := c.hz.Points[i].Name; strings.HasPrefix(n, dev+".") {
			names = append(names, n)
		}
	}
	if i, have := c.devices[dev]; have && (i >= len(c.cfg.Devices) || c.cfg.Devices[i].Profile == nil) {
		return // the device itself has a fault: its points are not known
	}
	if len(names) == 0 && !strings.Contains(dev, "*") {
		lookup(c, at, "device", dev, c.devices)
		return
	}
	what := "point"
	if strings.Contains(pat, "*") {
		what = "point that meets"
	}
	c.fault(at, "there is no %s %q%s", what, pat, near.Hint(pat, names))
}

// match compares a pattern with a name, segment by segment; a * stands for any part of one.
func match(pat, name string) bool {
	for {
		p, prest, pmore := strings.Cut(pat, ".")
		n, nrest, nmore := strings.Cut(name, ".")
		if !glob(p, n) || pmore != nmore {
			return false
		}
		if !pmore {
			return true
		}
		pat, name = prest, nrest
	}
}

func glob(p, n string) bool {
	parts := strings.Split(p, "*")
	if len(parts) == 1 {
		return p == n
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(n) < len(first)+len(last) || !strings.HasPrefix(n, first) || !strings.HasSuffix(n, last) {
		return false
	}
	n = n[len(first) : len(n)-len(last)]
	for _, mid := range parts[1 : len(parts)-1] {
		i := strings.Index(n, mid)
		if i < 0 {
			return false
		}
		n = n[i+len(mid):]
	}
	return true
}
