package config

import (
	"cmp"
	"slices"
	"time"

	"firebreak/agent/hazard"
	"firebreak/sensors/bus"
	"firebreak/sensors/profile"
)

// Part is one named part of a worst case.
type Part struct {
	Name string
	Dur  time.Duration
}

// WorstCase is the longest time from the condition at the sensor to the start of a stage's first
// hook, countdown apart: at the slowest member of the slowest smallest quorum that is left when
// any one member has failed.
type WorstCase struct {
	Never     bool     // no quorum is left
	Lost      string   // the member whose failure makes it so slow; empty: it is so slow anyway
	Member    string   // the slowest
	Quorum    []string // the members that it waits with
	Parts     []Part
	Total     time.Duration
	Countdown time.Duration
}

// memberParts is how long one member takes from the condition at its sensor to its own verdict.
func (c *compiler) memberParts(l *leaf) []Part {
	k := &c.hz.Conds[l.cond]
	d := &c.cfg.Devices[l.device]
	lag := time.Duration(0)
	for _, p := range k.Members[l.index].Points {
		lag = max(lag, c.hz.Points[p].Lag)
	}
	for _, p := range k.Members[l.index].Ref {
		if p != hazard.NoPoint {
			lag = max(lag, c.hz.Points[p].Lag)
		}
	}
	poll := c.poll(&k.Members[l.index])
	parts := []Part{{"sensor lag", lag - d.Transport}}
	if d.Transport > 0 {
		parts = append(parts, Part{"pipe transport", d.Transport})
	}
	parts = append(parts, Part{"poll", poll})
	if r := c.refresh(&k.Members[l.index]); r > 0 {
		parts = append(parts, Part{"refresh of the device", r})
	}
	parts = append(parts, Part{"bus round with one dead unit", c.busRound(d)})
	parts = append(parts, c.kindParts(k, &k.Members[l.index])...)
	return append(parts, Part{"on-delay", k.OnDelay})
}

// kindParts is what a kind of detector adds.
func (c *compiler) kindParts(k *hazard.Cond, m *hazard.Member) (parts []Part) {
	switch k.Kind {
	case hazard.Rate:
		return []Part{{"rate window", k.Window}}
	case hazard.Silent:
		stale := time.Duration(0)
		for _, p := range m.Points {
			stale = max(stale, c.hz.Points[p].Stale)
		}
		return []Part{{"until it is stale", stale}, {"silence", k.Window}}
	case hazard.Runaway:
		parts = []Part{{"rate window", k.Window}}
		for _, p := range m.Ref {
			if p != hazard.NoPoint && c.hz.Points[p].Device != m.Device {
				return append(parts, Part{"poll of the voltage", c.hz.Points[p].Poll})
			}
		}
	}
	return parts
}

// poll is the longest period of a point of m.
func (c *compiler) poll(m *hazard.Member) (d time.Duration) {
	for _, p := range m.Points {
		d = max(d, c.hz.Points[p].Poll)
	}
	return d
}

// busRound is the time until every other unit of the bus has been served once and this one has
// been read, while one of the others is dead. Most probes of a dead unit are short, but now and
// then one has the whole budget of a poll (sensors/bus): the worst case counts that one.
func (c *compiler) busRound(d *Device) time.Duration {
	if c.cfg.Buses[d.Bus].Kind == TelegrafBus {
		return 0 // inputs gather beside each other
	}
	sum, dead := c.exchange(d), time.Duration(0)
	for i := range c.cfg.Devices {
		o := &c.cfg.Devices[i]
		if o.Bus != d.Bus || o.ID == d.ID {
			continue
		}
		x := c.exchange(o)
		sum += x
		dead = max(dead, bus.DefaultTimeout-x)
	}
	return sum + dead
}

// exchange estimates how long one poll of a device keeps the bus busy when it answers.
func (c *compiler) exchange(d *Device) time.Duration {
	b := &c.cfg.Buses[d.Bus]
	if b.Kind == AgentBus || b.Kind == TelegrafBus {
		return 0 // nobody is asked: it tells
	}
	requests, bytes := traffic(d)
	switch b.Kind {
	case "modbus-rtu", "modbus-ascii":
		if b.Kind == "modbus-ascii" {
			bytes *= 2 // and colon, CR and LF in place of one byte of the CRC
		}
		onLine := time.Duration(bytes) * 11 * time.Second / time.Duration(b.Baud)
		return onLine + time.Duration(requests)*(rtuTurnaround+max(b.FrameGap, d.Profile.Read.FrameGap))
	case "gpio":
		return gpioExchange
	case "snmp":
		return time.Duration(d.Profile.Requests()) * snmpExchange
	case "i2c":
		if d.Mux != 0 {
			requests *= 5 // setting a switch and looking at it, twice
		}
		return time.Duration(requests)*i2cExchange + d.Profile.Wait
	}
	return time.Duration(requests) * (tcpExchange + d.Profile.Read.FrameGap)
}

// traffic counts the requests of one poll, as the poller plans them, and the bytes of requests and
// replies: 8 and 5 around the data. It counts the identity checks that every hundredth poll makes.
func traffic(d *Device) (requests, bytes int) {
	p := d.Profile
	count := func(s profile.Span) {
		requests++
		data := 2 * int(s.Count)
		if s.Func.Bits() {
			data = (int(s.Count) + 7) / 8
		}
		bytes += 8 + 5 + data
	}
	for _, g := range d.Groups {
		for _, b := range p.PlanOf(p.Needs(g.Channels)) {
			count(b.Span)
		}
	}
	for _, s := range p.Questions() {
		if s.Func != profile.Identification {
			count(s)
			continue
		}
		requests += profile.IdentificationParts // a list of texts may come in so many
		bytes += profile.IdentificationParts * (7 + 256)
	}
	return requests, bytes
}

// worstCase finds the slowest member of any smallest quorum. A quorum that does not hold everybody
// is still there when some member outside of it has failed, so the slowest one left is the slowest
// one of all, unless none is left: then the answer is never.
func (c *compiler) worstCase(m *model, whens []hazard.CondID) WorstCase {
	scope := m.scope(whens)
	slices.SortStableFunc(scope, func(a, b int) int { return cmp.Compare(c.delay(m, b), c.delay(m, a)) }) // slowest first
	all := make([]bool, len(m.leaves))
	for _, i := range scope {
		all[i] = true
	}
	var w WorstCase
	for _, i := range scope {
		q := m.smallestWith(whens, scope, all, i)
		if q == nil {
			continue
		}
		w.Member = m.leaves[i].name
		for _, o := range q {
			w.Quorum = append(w.Quorum, m.leaves[o].name)
		}
		w.Parts = append(c.memberParts(&m.leaves[i]), Part{"decision", decisionTime},
			Part{"journal bound", c.cfg.Rules.JournalBound}, Part{"hook start", hookStart})
		break
	}
	for _, p := range w.Parts {
		w.Total += p.Dur
	}
	for _, lost := range scope {
		all[lost] = false
		if !m.holds(whens, all) {
			w.Never, w.Lost = true, m.leaves[lost].name
			break
		}
		all[lost] = true
	}
	return w
}

func (c *compiler) delay(m *model, l int) time.Duration {
	var d time.Duration
	for _, p := range c.memberParts(&m.leaves[l]) {
		d += p.Dur
	}
	return d
}

// maxExhaustive is the size up to which every subset is looked at for a quorum.
const maxExhaustive = 12

// smallestWith finds a smallest quorum within left that needs member i; nil when i is in none. It
// takes the others out one by one until nobody more can be spared: in the order given, from each
// place in turn and in both directions. What that misses, all subsets find while they are few.
func (m *model) smallestWith(whens []hazard.CondID, scope []int, left []bool, i int) []int {
	n := len(scope)
	order := make([]int, n)
	for try := range 2 * n {
		for k := range n {
			if order[k] = scope[(try+k)%n]; try >= n {
				order[k] = scope[(try+n-1-k)%n]
			}
		}
		if q := m.reduce(whens, order, slices.Clone(left), i); q != nil {
			return q
		}
	}
	if n > maxExhaustive {
		return nil
	}
	for bits := range 1 << n {
		set := make([]bool, len(left))
		for k, o := range scope {
			set[o] = left[o] && bits>>k&1 == 1
		}
		if !set[i] || !m.holds(whens, set) {
			continue
		}
		if q := m.reduce(whens, scope, set, i); q != nil {
			return q
		}
	}
	return nil
}

// reduce spares members of set other than i, in order, as long as the conditions hold. It returns
// what remains if that needs i.
func (m *model) reduce(whens []hazard.CondID, order []int, set []bool, i int) []int {
	for _, o := range order {
		if o != i && set[o] {
			set[o] = false
			set[o] = !m.holds(whens, set)
		}
	}
	set[i] = false
	if m.holds(whens, set) {
		return nil
	}
	q := []int{i}
	for o := range set {
		if set[o] {
			q = append(q, o)
		}
	}
	return q
}
