package config

import (
	"fmt"
	"math"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

const exprForm = `write it like "lb.sessions == 0", "ups-a.input.ok" or "!x.y"`

// expr is a condition on one point: evidence and only_if are written so.
type expr struct {
	point string
	op    string // empty: the point itself; "!": its opposite
	text  string // right side
}

func parseExpr(s string) (expr, error) {
	s = strings.TrimSpace(s)
	for _, op := range []string{"==", "!=", "<=", ">=", "<", ">"} { // the longer first
		if l, r, ok := strings.Cut(s, op); ok {
			e := expr{strings.TrimSpace(l), op, strings.TrimSpace(r)}
			if e.point == "" || e.text == "" || strings.ContainsAny(e.text, "<>=!&|") {
				return expr{}, fmt.Errorf("%q is not one comparison: %s", s, exprForm)
			}
			return e, e.check(s)
		}
	}
	e := expr{point: s}
	if p, ok := strings.CutPrefix(s, "!"); ok {
		e = expr{point: strings.TrimSpace(p), op: "!"}
	}
	return e, e.check(s)
}

func (e expr) check(s string) error {
	switch {
	case e.point == "" || strings.ContainsAny(e.point, " \t=&|()!"):
		return fmt.Errorf("%q is not a condition on one point: %s", s, exprForm)
	case strings.Contains(e.point, "*"):
		return fmt.Errorf("%q must name one point: a wildcard would hold as soon as any one of its points does", s)
	}
	return nil
}

// cond compiles the expression into a condition without an alarm.
func (e expr) cond(name string, p *sensors.Point) (hazard.Cond, error) {
	c := hazard.Cond{Name: name, Kind: hazard.In, Members: []hazard.Member{{Device: p.Device, Points: []sensors.PointID{p.ID}}}}
	if e.op == "" || e.op == "!" {
		if p.Kind != sensors.Binary {
			return c, fmt.Errorf("%s is a %s, not a yes or no: compare it, as in \"%s == 0\"", p.Name, p.Kind, p.Name)
		}
		c.Values = []float64{1}
		if e.op == "!" {
			c.Values = []float64{0}
		}
		return c, nil
	}
	v, err := e.value(p)
	if err != nil {
		return c, err
	}
	switch e.op {
	case "==":
		c.Values = []float64{v}
	case "!=":
		c.Kind, c.Values = hazard.NotIn, []float64{v}
	case ">=":
		c.Kind, c.Threshold = hazard.Above, v
	case ">":
		c.Kind, c.Threshold = hazard.Above, math.Nextafter(v, math.Inf(1))
	case "<=":
		c.Kind, c.Threshold = hazard.Below, v
	case "<":
		c.Kind, c.Threshold = hazard.Below, math.Nextafter(v, math.Inf(-1))
	}
	return c, nil
}

func (e expr) value(p *sensors.Point) (float64, error) {
	equal := e.op == "==" || e.op == "!="
	switch {
	case p.Kind == sensors.Binary && e.text == "true", p.Kind == sensors.Binary && e.text == "1":
		if equal {
			return 1, nil
		}
	case p.Kind == sensors.Binary && e.text == "false", p.Kind == sensors.Binary && e.text == "0":
		if equal {
			return 0, nil
		}
	}
	if p.Kind == sensors.Binary {
		return 0, fmt.Errorf("%s is binary: compare it with == or != to true or false", p.Name)
	}
	q, err := parseQuantity(e.text)
	if err != nil {
		return 0, err
	}
	v, err := q.in(p.Unit)
	if err == nil && p.Min != p.Max && p.Kind == sensors.Measurement && (v < p.Min || v > p.Max || v == p.Min && e.op == "<" || v == p.Max && e.op == ">") {
		return 0, fmt.Errorf("%s goes from %g to %g %s: %g is never reached", p.Name, p.Min, p.Max, p.Unit, v)
	}
	return v, err
}
