package config

import (
	"fmt"
	"strconv"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

// detectorWords says what a detector waits for, and on which points, so that nobody has to look for
// it in the file at night.
func detectorWords(r *hazard.Rules, k *hazard.Cond) string {
	s := pointWords(r, k) + " " + conditionWords(r, k)
	if k.OnDelay > 0 {
		s += ", for " + short(k.OnDelay)
	}
	if k.OnFault == hazard.FaultVotes {
		s += "; votes too when it is faulty"
	}
	return s
}

// conditionWords is the comparison of a detector.
func conditionWords(r *hazard.Rules, k *hazard.Cond) string {
	p := firstPoint(r, k)
	if p == nil {
		return "of no point"
	}
	switch k.Kind {
	case hazard.Above:
		return "at or above " + amount(k.Threshold, p.Unit)
	case hazard.Below:
		return "at or below " + amount(k.Threshold, p.Unit)
	case hazard.Rate:
		way, v := "rises", k.Threshold
		if v < 0 {
			way, v = "falls", -v
		}
		per, unit := 60.0, "a minute"
		if v*60 < 1 {
			per, unit = 3600, "an hour"
		}
		return fmt.Sprintf("%s by %s %s or more, over %s", way, amount(v*per, p.Unit), unit, short(k.Window))
	case hazard.In:
		return "is " + valueWords(k.Values, p.Kind)
	case hazard.NotIn:
		return "is not " + valueWords(k.Values, p.Kind)
	}
	return kindWords(r, k, p)
}

// kindWords is the comparison with something that is no constant.
func kindWords(r *hazard.Rules, k *hazard.Cond, p *sensors.Point) string {
	way := [...]string{hazard.Up: "above", hazard.Down: "below", hazard.Either: "away from"}[k.Side]
	switch k.Kind {
	case hazard.Deviation:
		s := fmt.Sprintf("%s or more %s %s", amount(k.Threshold, p.Unit), way, fromWords(r, k))
		if k.Ratio && k.Side == hazard.Down {
			s = fmt.Sprintf("at or below %s of %s", amount(k.Threshold, sensors.None), fromWords(r, k))
		} else if k.Ratio {
			s = fmt.Sprintf("at or above %s times %s, taken as %s at least", amount(k.Threshold, sensors.None), fromWords(r, k), amount(k.Floor, p.Unit))
		}
		return s
	case hazard.Jump:
		return fmt.Sprintf("%s or more %s a value of the last %s", amount(k.Threshold, p.Unit), way, short(k.Window))
	case hazard.Silent:
		return "cannot be read for " + short(k.Window) + " after it went stale or bad"
	case hazard.Runaway:
		s := fmt.Sprintf("rises by %s a second or more, over %s, and ", amount(k.Threshold, p.Unit), short(k.Window))
		limit := "is at or above " + amount(k.Limit, p.Unit)
		drop := fmt.Sprintf("its voltage is down by %s %% within %s", amount(100*k.Drop, sensors.None), short(k.DropOver))
		switch {
		case k.HasLimit && k.Drop > 0:
			return s + limit + ", or " + drop
		case k.HasLimit:
			return s + limit
		}
		return s + drop
	}
	return "is of a kind that check has no words for"
}

// fromWords is what a deviation is measured from.
func fromWords(r *hazard.Rules, k *hazard.Cond) string {
	switch k.From {
	case hazard.FromMedian:
		return "the median of them all"
	case hazard.FromDeviceMedian:
		return "the median of its device"
	case hazard.FromBaseline:
		return "its baseline, learned over " + short(k.Learn)
	}
	seen := map[string]bool{}
	var names []string
	for _, m := range k.Members {
		for _, id := range m.Ref {
			if n := r.Points[id].Name; !seen[n] {
				seen[n] = true
				names = append(names, n)
			}
		}
	}
	if len(names) > 1 {
		return fmt.Sprintf("that beside it (%s and so on)", names[0])
	}
	return strings.Join(names, "")
}

func firstPoint(r *hazard.Rules, k *hazard.Cond) *sensors.Point {
	for _, m := range k.Members {
		for _, p := range m.Points {
			return &r.Points[p]
		}
	}
	return nil
}

func amount(v float64, u sensors.Unit) string {
	return strings.TrimSpace(strconv.FormatFloat(v, 'g', 4, 64) + " " + string(u))
}

func valueWords(values []float64, kind sensors.Kind) string {
	var out []string
	for _, v := range values {
		switch {
		case kind == sensors.Binary && v != 0:
			out = append(out, "true")
		case kind == sensors.Binary:
			out = append(out, "false")
		default:
			out = append(out, strconv.FormatFloat(v, 'g', -1, 64))
		}
	}
	return strings.Join(out, " or ")
}

// maxPointsNamed is how many points of a detector are named; the rest is counted, by its devices.
const maxPointsNamed = 3

// pointWords names the points of a detector.
func pointWords(r *hazard.Rules, k *hazard.Cond) string {
	var points, devices []string
	for _, m := range k.Members {
		devices = append(devices, r.Devices[m.Device].Name)
		for _, p := range m.Points {
			points = append(points, r.Points[p].Name)
		}
	}
	switch n := len(points); {
	case n == 1:
		return points[0]
	case n <= maxPointsNamed:
		return "any of " + strings.Join(points, ", ")
	}
	of := strings.Join(devices, ", ")
	if n := len(devices) - maxPointsNamed; n > 0 {
		of = fmt.Sprintf("%s and %d more", strings.Join(devices[:maxPointsNamed], ", "), n)
	}
	return fmt.Sprintf("any of %s and %d more points of %s", points[0], len(points)-1, of)
}

// voteWords says what a vote waits for, in one line.
func voteWords(r *hazard.Rules, k *hazard.Cond) string {
	var of []string
	for _, id := range k.Of {
		n := &r.Conds[id]
		name := n.Name
		if len(n.Members) > 1 {
			name += fmt.Sprintf(" (of each of %d devices)", len(n.Members))
		}
		of = append(of, name)
	}
	s := fmt.Sprintf("%d of %s", k.Need, strings.Join(of, ", "))
	switch {
	case len(of) == 1 && k.Need == 1:
		return of[0]
	case k.Need == 1:
		s = "any of " + strings.Join(of, ", ")
	}
	if k.Independent {
		s += "; together over two physics, two devices and two paths"
	}
	return s
}

// votesBelow lists a condition and the votes that it is made of, each once and the outer ones first.
func votesBelow(r *hazard.Rules, id hazard.CondID) (out []hazard.CondID) {
	seen := map[hazard.CondID]bool{id: true}
	for queue := []hazard.CondID{id}; len(queue) > 0; queue = queue[1:] {
		out = append(out, queue[0])
		for _, of := range r.Conds[queue[0]].Of {
			if r.Conds[of].Kind == hazard.Vote && !seen[of] {
				seen[of] = true
				queue = append(queue, of)
			}
		}
	}
	return out
}
