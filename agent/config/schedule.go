package config

import (
	"strconv"
	"strings"
	"time"

	"firebreak/plugins"
)

// DrillSchedule is a drill that the agent begins by itself: so long after the last good one, when
// everything is at rest.
type DrillSchedule struct {
	Plan   string
	Every  time.Duration
	Stage  string             // tripped; empty: the injected values open what they open
	Inject map[string]float64 // by point
}

// drillSchedule reads the table "drill" of a plan.
func (c *compiler) drillSchedule(t *Table, plan string) {
	d := t.Table("drill")
	if d == nil {
		return
	}
	d.Require("every")
	s := DrillSchedule{Plan: plan, Every: d.Duration("every", 0, time.Hour, 2160*time.Hour), Stage: d.String("stage", ""), Inject: map[string]float64{}}
	if st, err := plugins.ParseStage(s.Stage); s.Stage != "" && (err != nil || !st.Latches()) {
		d.Fault("stage", "a drill trips one of the stages 2a, 2b, 3 and 4, in quotes")
	}
	for _, text := range d.Strings("inject") {
		point, value, _ := strings.Cut(text, "=")
		point = strings.TrimSpace(point)
		v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil {
			c.fault(d.itemPos("inject", text), `%q is not "POINT = VALUE"`, text)
			continue
		}
		if _, ok := c.points[point]; !ok {
			c.noPoint(d.itemPos("inject", text), point)
			continue
		}
		s.Inject[point] = v
	}
	if s.Stage == "" && !d.Has("inject") {
		d.src.fault(d.at, "a drill of nothing: give a stage to trip, or values to inject")
	}
	d.Unknown()
	c.cfg.Drills = append(c.cfg.Drills, s)
}
