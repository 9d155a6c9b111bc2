package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"
)

// quantity is a number with its unit, as written: "55 C", "0.33 %/m", "20".
type quantity struct {
	v    float64
	unit sensors.Unit
}

// parseQuantity reads a number and a unit; the space between them may be missing.
func parseQuantity(s string) (quantity, error) {
	s = strings.TrimSpace(s)
	n := 0
	for n < len(s) && strings.IndexByte("0123456789.+-", s[n]) >= 0 {
		n++
	}
	v, err := strconv.ParseFloat(s[:n], 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return quantity{}, fmt.Errorf(`%q does not begin with a number: write it like "55 C"`, s)
	}
	unit, err := sensors.ParseUnit(strings.TrimSpace(s[n:]))
	if err != nil {
		return quantity{}, err
	}
	return quantity{v, unit}, nil
}

// in returns the quantity in the unit of a point. A bare number is taken as in that unit only
// where the point has none: 55 of what is the question that a mistake begins with.
func (q quantity) in(unit sensors.Unit) (float64, error) {
	v, err := sensors.Convert(q.v, q.unit, unit)
	if err != nil {
		return 0, unitMismatch(q.unit, unit)
	}
	return v, nil
}

// span returns a difference in the unit of a point: offsets cancel.
func (q quantity) span(unit sensors.Unit) (float64, error) {
	v, err := sensors.ConvertRate(q.v, q.unit, unit)
	if err != nil {
		return 0, unitMismatch(q.unit, unit)
	}
	return v, nil
}

func unitMismatch(have, want sensors.Unit) error {
	switch {
	case have == sensors.None:
		return fmt.Errorf("the unit is missing: the point is in %s, write it after the number", want)
	case want == sensors.None:
		return fmt.Errorf("the unit %s does not fit: the point is a pure number", have)
	}
	return fmt.Errorf("the unit %s does not fit: the point is in %s", have, want)
}

// rate is a change per second over a window: "5 C/min over 1m".
type rate struct {
	perSecond quantity
	window    time.Duration
}

const rateForm = `write it like "5 C/min over 1m"`

func parseRate(s string) (rate, error) {
	change, window, ok := strings.Cut(s, " over ")
	if !ok {
		return rate{}, fmt.Errorf("%q has no window: %s", s, rateForm)
	}
	w, err := time.ParseDuration(strings.TrimSpace(window))
	if err != nil || w <= 0 {
		return rate{}, fmt.Errorf("%q is not a window: %s", strings.TrimSpace(window), rateForm)
	}
	q, err := parsePerTime(change)
	if err != nil {
		return rate{}, err
	}
	if q.v == 0 {
		return rate{}, fmt.Errorf("a rate of zero is always reached: %s", rateForm)
	}
	return rate{q, w}, nil
}

// parsePerTime reads "5 C/min" into a quantity per second.
func parsePerTime(s string) (quantity, error) {
	i := strings.LastIndexByte(s, '/') // the unit may hold a slash itself: %/m
	if i < 0 {
		return quantity{}, fmt.Errorf("%q is not a change per time: %s", s, rateForm)
	}
	per, ok := map[string]float64{"s": 1, "min": 60, "h": 3600}[strings.TrimSpace(s[i+1:])]
	if !ok {
		return quantity{}, fmt.Errorf("%q is not a change per s, min or h: %s", s, rateForm)
	}
	q, err := parseQuantity(s[:i])
	q.v /= per
	return q, err
}
