package core

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/agent/near"
)

// unknown is the error of an order about what is not there. What was meant instead is looked for by whoever reads the error,
// and not by the loop: ten thousand names take it milliseconds.
type unknown struct {
	what, name string
	names      func() []string // called from any goroutine: it sees rules, which nobody changes, and nothing of the core
	where      string          // the names are told, where none is near and they are too many
}

func (u *unknown) Error() string {
	hint := near.Hint(u.name, u.names())
	if hint == "" {
		hint = ": " + u.where
	}
	return fmt.Sprintf("no %s %q%s", u.what, u.name, hint)
}

func (c *Core) noPoint(name string) error {
	r := c.r.Hazard
	return &unknown{what: "point", name: name, where: "firebreak watch shows them", names: func() (names []string) {
		for i := range r.Points {
			names = append(names, r.Points[i].Name)
		}
		return names
	}}
}

// noInput is of a point, or a whole device: of one that no detector looks at there is nothing to bypass or to learn.
func (c *Core) noInput(name string) error {
	r := c.r.Hazard
	return &unknown{what: "point or device that a detector watches is called", name: name, where: "firebreak watch shows the points", names: func() (names []string) {
		for i := range r.Conds {
			for k := range r.Conds[i].Members {
				m := &r.Conds[i].Members[k]
				for _, p := range slices.Concat(m.Points, m.Ref) {
					if p != hazard.NoPoint {
						names = append(names, r.Points[p].Name, r.Devices[r.Points[p].Device].Name)
					}
				}
			}
		}
		return names
	}}
}

// noAlarm counts the alarms that may come too: they are shelved before the work that would raise them.
func (c *Core) noAlarm(o Order) error {
	if c.hasCond(o.Name, func(r *hazard.Cond) bool { return r.Priority > 0 }) {
		return fmt.Errorf("alarm %q has never come: %s does not apply", o.Name, o.Kind)
	}
	var there []string
	c.book.All(func(a hazard.Alarm) { there = append(there, a.Name) })
	r := c.r.Hazard
	return &unknown{what: "alarm", name: o.Name, where: "firebreak status lists them", names: func() []string {
		names := slices.Clone(there) // the error may be read by several
		for i := range r.Conds {
			if r.Conds[i].Priority > 0 {
				names = append(names, r.Conds[i].Name)
			}
		}
		return names
	}}
}

func (c *Core) noConsumer(name string) error {
	if len(c.r.Consumers) == 0 {
		return fmt.Errorf("no consumer %q: the configuration names none under consumers: who takes its alarms?", name)
	}
	return fmt.Errorf("no consumer %q: the configuration names %s", name, strings.Join(c.r.Consumers, ", "))
}
