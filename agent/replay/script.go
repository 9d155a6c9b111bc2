package replay

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/core"
	"firebreak/sensors"
)

// script is a scenario at work: it polls the points that its signals speak of, each device at its own
// pace.
type script struct {
	sc      *scenario
	rules   *core.Rules
	plants  *plants
	devices []polled
	buf     []sensors.Reading
	unbound []string // patterns that no point meets
	silent  []string // devices of which nothing speaks
	bound   int
}

type polled struct {
	every    time.Duration
	next     sensors.Mono
	channels []channel
}

// channel is one point with what it shows.
type channel struct {
	point *sensors.Point
	sig   *signal
	read  func(p *plants, n int) float64
	n     int // in place of the *
	rng   *rand.Rand
	qual  sensors.Qualifier
	acts  []int // indices into the scenario's acts
	last  float64
	hold  float64 // value at which it is stuck
	held  bool
	pipe  []corner // on its way to the sensor
	felt  corner   // what the sensor has come to
	fed   bool
}

func newScript(sc *scenario, r *core.Rules, w *works) *script {
	s := &script{sc: sc, rules: r, plants: newPlants(sc)}
	byDevice := make([][]channel, len(r.Hazard.Devices))
	taken := map[sensors.PointID]bool{}
	for i := range sc.signals {
		sig := &sc.signals[i]
		for _, pattern := range sig.points {
			met := false
			for k := range r.Hazard.Points {
				p := &r.Hazard.Points[k]
				star, ok := match(pattern, p.Name)
				met = met || ok
				if !ok || taken[p.ID] || w.spoken[p.ID] && !w.derived[p.ID] {
					continue // the first signal that names a point has it
				}
				taken[p.ID] = true
				byDevice[p.Device] = append(byDevice[p.Device], s.channel(p, sig, star))
			}
			if !met {
				s.unbound = append(s.unbound, pattern)
			}
		}
	}
	w.silence(func(id sensors.PointID) bool { return taken[id] })
	s.bound = len(taken)
	for d := range byDevice {
		dev := &r.Hazard.Devices[d]
		if len(byDevice[d]) > 0 {
			s.devices = append(s.devices, polled{max(dev.Poll, time.Millisecond), base, byDevice[d]})
			continue
		}
		if !slices.ContainsFunc(r.Hazard.Points, func(p sensors.Point) bool { return int(p.Device) == d && w.spoken[p.ID] }) {
			s.silent = append(s.silent, dev.Name)
		}
	}
	return s
}

func (s *script) channel(p *sensors.Point, sig *signal, star string) channel {
	h := fnv.New64a()
	h.Write([]byte(p.Name))
	c := channel{point: p, sig: sig, rng: rand.New(rand.NewPCG(s.sc.seed, h.Sum64()))}
	if sig.from != "" {
		key, n, _ := quantity(sig.from) // it was checked when the file was read
		c.read, c.n = quantities[key], n
		if n == 0 {
			c.n, _ = strconv.Atoi(star)
		}
	}
	for i := range s.sc.acts {
		if slices.ContainsFunc(s.sc.acts[i].points, func(pattern string) bool { _, ok := match(pattern, p.Name); return ok }) {
			c.acts = append(c.acts, i)
		}
	}
	return c
}

// match tells whether a name meets a pattern in which * stands for any text, and what the last * is.
func match(pattern, name string) (star string, ok bool) {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return "", pattern == name
	}
	if !strings.HasPrefix(name, head) {
		return "", false
	}
	name = name[len(head):]
	for i := 0; i <= len(name); i++ {
		if s, ok := match(rest, name[i:]); ok {
			if s == "" {
				s = name[:i]
			}
			return s, true
		}
	}
	return "", false
}

// heading says what of the scenario and of the configuration has no part in the replay.
func (s *script) heading() []string {
	out := []string{fmt.Sprintf("%d of %d points are read.", s.bound, len(s.rules.Hazard.Points))}
	if len(s.unbound) > 0 {
		out = append(out, "The configuration has no points for: "+strings.Join(s.unbound, ", ")+".")
	}
	if len(s.silent) > 0 {
		out = append(out, "The scenario speaks of no point of: "+strings.Join(s.silent, ", ")+". They stay silent.")
	}
	return out
}

// poll implements feed.
func (s *script) poll(now sensors.Mono, put func([]sensors.Reading)) sensors.Mono {
	next := never
	for i := range s.devices {
		d := &s.devices[i]
		if now >= d.next {
			since := now.Sub(base)
			s.plants.advance(since)
			s.buf = s.buf[:0]
			for k := range d.channels {
				s.buf = append(s.buf, s.reading(&d.channels[k], now, since))
			}
			d.next = now.Add(d.every)
			put(s.buf)
		}
		next = min(next, d.next)
	}
	return next
}

func (s *script) reading(c *channel, now sensors.Mono, since time.Duration) sensors.Reading {
	origin := s.rules.Hazard.Origin
	r := sensors.Reading{Point: c.point.ID, At: now, Value: s.value(c, since), Quality: sensors.GoodQuality.WithOrigin(origin)}
	stuck := false
	for _, i := range c.acts {
		a := &s.sc.acts[i]
		if since < a.at || since >= a.at+a.lasts {
			continue
		}
		part := 1.0
		if a.over > 0 {
			part = min(1, float64(since-a.at)/float64(a.over))
		}
		switch a.does {
		case "silent":
			r.Quality = sensors.BadQuality(sensors.Comm).WithOrigin(origin)
		case "bad":
			r.Quality = sensors.BadQuality(reasonNamed(a.reason)).WithOrigin(origin)
		case "set":
			r.Value += part * (a.value - r.Value)
		case "add":
			r.Value += part * a.value
		case "noise":
			r.Value += a.value * c.rng.NormFloat64()
		case "stuck":
			if stuck = true; !c.held {
				c.held, c.hold = true, c.last
			}
			r.Value = c.hold
		}
	}
	c.held = c.held && stuck
	c.last = r.Value
	if math.IsNaN(r.Value) { // an open wire
		r.Value, r.Quality = 0, sensors.BadQuality(sensors.Sentinel).WithOrigin(origin)
	}
	return c.qual.Qualify(c.point, r)
}

// value is what the point would show if nothing were wrong with it.
func (s *script) value(c *channel, since time.Duration) float64 {
	sig := c.sig
	v := sig.value
	switch {
	case c.read != nil:
		v = c.read(s.plants, c.n)
	case len(sig.curve) > 0:
		v = along(sig.curve, since)
	}
	if sig.delay > 0 || sig.lag > 0 {
		v = c.feel(v, since)
	}
	v = v*sig.scale + sig.offset
	if sig.noise > 0 {
		v += sig.noise * c.rng.NormFloat64()
	}
	if sig.daily != 0 || sig.yearly != 0 {
		wall := s.sc.begins.Add(since)
		hour := float64(wall.Hour()) + float64(wall.Minute())/60 + float64(wall.Second())/3600
		v += sig.daily*math.Cos(2*math.Pi*(hour-15)/24) + sig.yearly*math.Cos(2*math.Pi*(float64(wall.YearDay())+hour/24-196)/365)
	}
	return max(v, sig.least)
}

// feel is what a sensor shows of a quantity that reaches it late, and that it follows slowly.
func (c *channel) feel(v float64, since time.Duration) float64 {
	if c.sig.delay > 0 {
		c.pipe = append(c.pipe, corner{since, v})
		for len(c.pipe) > 1 && c.pipe[1].at <= since-c.sig.delay {
			c.pipe = c.pipe[1:]
		}
		v = c.pipe[0].v
	}
	if c.sig.lag <= 0 {
		return v
	}
	if !c.fed {
		c.fed, c.felt = true, corner{since, v}
	}
	c.felt.v += (v - c.felt.v) * -math.Expm1(-math.Ln10*float64(since-c.felt.at)/float64(c.sig.lag))
	c.felt.at = since
	return c.felt.v
}

// along is a curve's value at an instant: level before its first corner and behind its last.
func along(curve []corner, since time.Duration) float64 {
	i, _ := slices.BinarySearchFunc(curve, since, func(c corner, t time.Duration) int {
		if c.at > t {
			return 1
		}
		return -1
	})
	switch {
	case i == 0:
		return curve[0].v
	case i == len(curve):
		return curve[i-1].v
	}
	a, b := curve[i-1], curve[i]
	return a.v + (b.v-a.v)*float64(since-a.at)/float64(b.at-a.at)
}

// schedule gives the player what is on record, what happens to sensors, and what persons order.
func (sc *scenario) schedule(p *player, s *script) {
	for _, f := range sc.facts {
		p.later(at(f.at), func() { p.tl.add(p.now, Entry{Kind: "record", Text: f.text, Source: f.source}) })
	}
	for i := range sc.acts {
		a := &sc.acts[i]
		text := a.why
		if a.unseen != "" {
			text += "; nothing can tell: " + a.unseen
		}
		p.later(at(a.at), func() { p.tl.add(p.now, Entry{Kind: "happens", Text: text}) })
	}
	for _, o := range sc.orders {
		p.later(at(o.at), func() {
			p.tl.add(p.now, Entry{Kind: "order", Name: o.o.Name, State: string(o.o.Kind), Text: "by " + o.o.By})
			p.step(core.Event{Kind: core.OrderGiven, Order: o.o})
		})
	}
}

// reasonNamed is 0 where there is no such reason for a bad reading.
func reasonNamed(name string) sensors.Reason {
	r, err := sensors.ParseReason(name)
	if err != nil || name == "" {
		return sensors.NoReason
	}
	return r
}
