package core_test

import (
	"fmt"
	"path"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

// compares reads the detectors that compare with something else.
func (s *script) compares(c *hazard.Cond, l *line, v float64) {
	c.Threshold = v
	switch l.opts["side"] {
	case "down":
		c.Side = hazard.Down
	case "either":
		c.Side = hazard.Either
	}
	switch l.words[3] {
	case "deviates", "times":
		c.Kind, c.Ratio, c.Floor = hazard.Deviation, l.words[3] == "times", l.num("floor")
		if c.Ratio && v < 1 {
			c.Side = hazard.Down
		}
		switch from := l.opts["from"]; from {
		case "median":
			c.From = hazard.FromMedian
		case "device-median":
			c.From = hazard.FromDeviceMedian
		case "baseline":
			c.From, c.Learn = hazard.FromBaseline, l.dur("learn")
		default:
			s.beside(c, l.words[2], from)
		}
	case "jumps":
		c.Kind, c.Window = hazard.Jump, l.dur("over")
	case "runs-away":
		c.Kind, c.Threshold, c.Window = hazard.Runaway, v/l.dur("per").Seconds(), l.dur("over")
		if l.opts["limit"] != "" {
			c.Limit, c.HasLimit = l.num("limit"), true
		}
		if volts := l.opts["volts"]; volts != "" {
			c.Drop, c.DropOver = l.num("drop"), l.dur("drop-over")
			s.beside(c, l.words[2], volts)
		}
	default:
		must(fmt.Errorf("no comparison %q", l.words[3]))
	}
}

// beside finds the point that each point of a detector is compared with: a * stands for what it stands
// for in the detector's own pattern, which has one in each part at most.
func (s *script) beside(c *hazard.Cond, pattern, other string) {
	for i := range c.Members {
		m := &c.Members[i]
		for _, p := range m.Points {
			name := other
			own := strings.FieldsFunc(s.hz.Points[p].Name, func(r rune) bool { return r == '.' })
			for k, part := range strings.Split(pattern, ".") {
				before, after, star := strings.Cut(part, "*")
				if star {
					name = strings.Replace(name, "*", strings.TrimSuffix(strings.TrimPrefix(own[k], before), after), 1)
				}
			}
			m.Ref = append(m.Ref, s.pointID(name))
		}
	}
}

func (s *script) pointID(name string) sensors.PointID {
	for i := range s.hz.Points {
		if ok, err := path.Match(name, s.hz.Points[i].Name); err == nil && ok {
			return sensors.PointID(i)
		}
	}
	must(fmt.Errorf("no point %q", name))
	return 0
}
