package hazard

import "firebreak/sensors"

// jumps applies a jump detector: the value has come away by Threshold from one that it had within
// Window. It stays true until that value has left the window, so that one reading is enough for a
// person to find it, and it is weak: nothing rose before it (S3).
func (e *Engine) jumps(in *input, c *Cond, p *point, held bool) Tri {
	lo, hi, n := p.val, p.val, 0
	for _, s := range e.series[in.series].samples {
		if p.at.Sub(s.At) <= c.Window {
			lo, hi, n = min(lo, s.Val), max(hi, s.Val), n+1
		}
	}
	if n < 2 { // this reading alone: there is nothing that it could have come from
		return Unknown
	}
	far := func(d float64) bool { return d >= c.Threshold || held && d > c.Threshold-c.Deadband }
	return tri(c.Side != Down && far(p.val-lo) || c.Side != Up && far(hi-p.val))
}

// runsAway applies the rule of GB 38031 for a confirmed thermal runaway: (the voltage has dropped, or
// the temperature is at the maker's limit) and it rises by so much a second. That it persists is the
// on-delay's part. The rate decides first: a harness that comes off loses the voltage of a module
// that stays cold, and a battery test warms it slowly. Once it was confirmed it stays so until a person
// resets it, whatever is read: a cell that has burnt out is warm, steady and without a voltage, and
// its neighbours are next.
func (e *Engine) runsAway(in *input, c *Cond, p *point, held bool) Tri {
	if in.latched {
		return True
	}
	rate := e.rises(in, c, held)
	if rate == False {
		return False
	}
	sign := e.dropped(in, c, p.at)
	if c.HasLimit && p.val >= c.Limit {
		sign = True
	}
	switch {
	case sign == False:
		return False
	case rate == True:
		return sign
	}
	return Unknown
}

// dropped tells whether the voltage beside a temperature is Drop below the highest of the last
// DropOver. That it is not, is known only once it has been read for most of that time.
func (e *Engine) dropped(in *input, c *Cond, at sensors.Mono) Tri {
	if c.Drop <= 0 || in.ref == NoPoint {
		return False // by the rules it is no part of this
	}
	v, ok := e.beside(in.ref, at)
	if !ok {
		return Unknown
	}
	was, first := v, at
	for _, s := range e.series[in.volts].samples {
		if at.Sub(s.At) <= c.DropOver+c.DropOver/4 {
			was, first = max(was, s.Val), min(first, s.At)
		}
	}
	switch {
	case v < was*(1-c.Drop) && was > 0:
		return True
	case at.Sub(first) < c.DropOver*4/5:
		return Unknown
	}
	return False
}
