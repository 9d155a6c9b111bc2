package hazard

import (
	"sort"
	"time"

	"firebreak/sensors"
)

// device counts what can be read of a device.
type device struct {
	points, usable int          // points in service and not bypassed; usable ones, bypassed or not
	lostSince      sensors.Mono // no usable point since; 0: some are
	due            bool         // lost for the persist time
	apart          bool         // some point of it is out of the votes or on probation
	told           bool         // one of the present losses takes it along
	list           []sensors.PointID
}

// group is a set of devices that one cause takes along: a bus, a gateway or a supply.
type group struct {
	name    string // "gateway/sw-1"
	devices []sensors.DeviceID
	active  bool
	part    sensors.Mono // some of its devices are back, the last one since; 0: none is
	left    int          // those that are not; 0: not known since a restart
}

// Loss is one cause of silence, with all that it takes along (S2): one alarm, not forty.
type Loss struct {
	Name     string // "device/bms-1", "bus/upsnet", "gateway/sw-1", "supply/A"
	Devices  []string
	Children []string // points that cannot be read
	Since    sensors.Mono
}

// buildGroups finds the sets of at least two devices, largest first; of equal sets the nearest
// cause (bus before gateway before supply) stands for all.
func (e *Engine) buildGroups() {
	sets := map[string]*group{}
	var order []string
	add := func(name string, d sensors.DeviceID) {
		if sets[name] == nil {
			sets[name] = &group{name: name}
			order = append(order, name)
		}
		sets[name].devices = append(sets[name].devices, d)
	}
	for _, kind := range []string{"bus", "gateway", "supply"} {
		for i := range e.r.Devices {
			if e.devices[i].points == 0 {
				continue // nothing is read from it: it cannot fall silent
			}
			p := e.r.Devices[i].Path
			switch {
			case kind == "bus" && p.Bus != "":
				add("bus/"+p.Bus, sensors.DeviceID(i))
			case kind == "gateway" && p.Gateway != "":
				add("gateway/"+p.Gateway, sensors.DeviceID(i))
			case kind == "supply" && p.Supply != "":
				add("supply/"+p.Supply, sensors.DeviceID(i))
			}
		}
	}
	for _, name := range order {
		g := sets[name]
		if len(g.devices) >= 2 && !e.hasGroup(g.devices) {
			e.groups = append(e.groups, *g)
		}
	}
	sort.SliceStable(e.groups, func(i, j int) bool { return len(e.groups[i].devices) > len(e.groups[j].devices) })
}

func (e *Engine) hasGroup(d []sensors.DeviceID) bool {
	for _, g := range e.groups {
		if len(g.devices) != len(d) {
			continue
		}
		same := true
		for i := range d {
			same = same && g.devices[i] == d[i]
		}
		if same {
			return true
		}
	}
	return false
}

// DefaultLossPersist is how long a silence lasts before it is an alarm, unless the rules say.
const DefaultLossPersist = 10 * time.Second

func (e *Engine) lossPersist() time.Duration {
	if e.r.LossPersist > 0 {
		return e.r.LossPersist
	}
	return DefaultLossPersist
}

// returnRounds persist times after the last return, the rest of a cause is on its own.
const returnRounds = 6

// setUsable keeps the count of usable points of the point's device.
func (e *Engine) setUsable(id sensors.PointID, usable bool, at sensors.Mono) {
	p := &e.points[id]
	d := &e.devices[e.r.Points[id].Device]
	was := d.usable
	switch {
	case usable && !p.usable:
		d.usable++
		if d.lostSince != 0 {
			d.lostSince = 0
			e.scanLoss = true
		}
	case !usable && p.usable:
		d.usable--
		if d.usable == 0 {
			d.lostSince = at
			e.scanLoss = true
		}
	}
	p.usable = usable
	if d.apart && was+d.usable == 1 { // it falls silent or speaks: see silentApart
		e.markVotes()
	}
}

func (e *Engine) lost(d sensors.DeviceID) bool {
	return e.devices[d].points > 0 && e.devices[d].usable == 0 && e.devices[d].lostSince != 0
}

func (e *Engine) lostLongEnough(d sensors.DeviceID, now sensors.Mono) bool {
	return e.lost(d) && now >= e.devices[d].lostSince.Add(e.lossPersist())
}

// judgeLosses attributes every device that has been silent for the persist time to the largest
// cause all of whose devices are silent. A cause stays while its devices come back, so that their
// return, one after the other, is not a shower of alarms; what is not back a
// while after the last was not lost by it, and is told by itself.
func (e *Engine) judgeLosses(now sensors.Mono, out *Changes) {
	e.scanLoss = false
	taken := make([]bool, len(e.devices))
	var found []Loss
	for g := range e.groups {
		e.judgeGroup(&e.groups[g], now, taken)
		if e.groups[g].active {
			found = append(found, e.loss(e.groups[g].name, e.groups[g].devices))
		}
	}
	for d := range e.devices {
		id := sensors.DeviceID(d)
		if taken[d] || !e.lost(id) {
			continue
		}
		if !e.devices[d].due {
			continue
		}
		found = append(found, e.loss("device/"+e.r.Devices[d].Name, []sensors.DeviceID{id}))
	}
	if !sameLosses(found, e.losses) {
		e.losses, out.Losses = found, true
		e.markTold()
	}
}

// fallDue notes which devices have been lost for the persist time. A fault may vote from then on
// (S2), so the votes are looked at once more.
func (e *Engine) fallDue(now sensors.Mono) {
	for d := range e.devices {
		due := e.lostLongEnough(sensors.DeviceID(d), now)
		if due != e.devices[d].due {
			e.devices[d].due = due
			e.markVotes()
		}
		if !due && e.lost(sensors.DeviceID(d)) {
			e.wakeAt(e.devices[d].lostSince.Add(e.lossPersist()))
		}
	}
}

func (e *Engine) markVotes() {
	for c := range e.conds {
		if e.conds[c].vote != nil {
			e.mark(CondID(c))
		}
	}
}

func (e *Engine) markTold() {
	told := map[string]bool{}
	for _, l := range e.losses {
		for _, d := range l.Devices {
			told[d] = true
		}
	}
	for d := range e.devices {
		e.devices[d].told = told[e.r.Devices[d].Name]
	}
}

// LossExplains is true when every member that a condition cannot read sits on a device whose loss
// is told already: then its being inhibited is no alarm of its own (S2). What a person took out is
// explained by no loss.
func (e *Engine) LossExplains(id CondID) bool {
	c := &e.conds[id]
	for _, of := range e.r.Conds[id].Of {
		if !e.LossExplains(of) {
			return false
		}
	}
	for m := c.m0; m < c.m1; m++ {
		mb := &e.members[m]
		if mb.v.Is == Unknown && (mb.v.Basis == Bypassed || !e.devices[mb.device].told && !e.refTold(mb)) {
			return false
		}
	}
	return true
}

// SilenceTold tells whether every member of a detector of silence that is true sits on a device whose
// loss is told already, or is heard again and only serves its off-delay.
func (e *Engine) SilenceTold(id CondID) bool {
	c, any := &e.conds[id], false
	for m := c.m0; m < c.m1; m++ {
		if e.members[m].v.Is == True {
			any = true
			if !e.devices[e.members[m].device].told && !e.heardAgain(&e.members[m]) {
				return false
			}
		}
	}
	return any
}

func (e *Engine) heardAgain(m *member) bool {
	for i := m.i0; i < m.i1; i++ {
		if in := &e.inputs[i]; in.active && in.lost {
			return false
		}
	}
	return true
}

// refTold: what the member is compared with is on a device whose loss is told, or its median has lost
// one.
func (e *Engine) refTold(m *member) bool {
	for i := m.i0; i < m.i1; i++ {
		in := &e.inputs[i]
		if in.ref != NoPoint && e.devices[e.r.Points[in.ref].Device].told {
			return true
		}
		if c := &e.r.Conds[in.cond]; c.Kind == Deviation && (c.From == FromMedian || c.From == FromDeviceMedian) && e.medianTold(in) {
			return true
		}
	}
	return false
}

func (e *Engine) medianTold(in *input) bool {
	c := &e.conds[in.cond]
	for m := c.m0; m < c.m1; m++ {
		mb := &e.members[m]
		if e.inputs[mb.i0].median == in.median && e.devices[mb.device].told {
			return true
		}
	}
	return false
}

func (e *Engine) judgeGroup(g *group, now sensors.Mono, taken []bool) {
	all, any, due, n, left := true, false, false, 0, 0
	for _, d := range g.devices {
		if taken[d] { // a larger cause has it
			g.active = false
			return
		}
		if e.devices[d].points == 0 {
			continue // out of service or bypassed as a whole: it speaks neither for nor against
		}
		n++
		l := e.lost(d)
		all, any = all && l, any || l
		if l {
			left++
		}
		due = due || e.devices[d].due
	}
	g.active = any && (g.active || n >= 2 && all && due)
	switch {
	case !g.active || all:
		g.part = 0
	case g.part == 0 || g.left != 0 && left != g.left:
		g.part = now
	}
	g.left = left
	if end := g.part.Add(returnRounds * e.lossPersist()); g.part != 0 && now >= end {
		g.active, g.part = false, 0
	} else if g.part != 0 {
		e.wakeAt(end)
		e.scanLoss = true
	}
	if !g.active {
		return
	}
	for _, d := range g.devices {
		taken[d] = true
	}
}

func (e *Engine) loss(name string, devices []sensors.DeviceID) Loss {
	l := Loss{Name: name, Since: never}
	for _, d := range devices {
		if !e.lost(d) {
			continue
		}
		l.Devices = append(l.Devices, e.r.Devices[d].Name)
		l.Since = min(l.Since, e.devices[d].lostSince)
		for _, p := range e.devices[d].list {
			if !e.points[p].away {
				l.Children = append(l.Children, e.r.Points[p].Name)
			}
		}
	}
	return l
}

func sameLosses(a, b []Loss) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name || len(a[i].Children) != len(b[i].Children) {
			return false
		}
	}
	return true
}

// Losses returns the present causes of silence.
func (e *Engine) Losses() []Loss { return e.losses }
