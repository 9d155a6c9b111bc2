package hazard

import (
	"sort"
	"time"

	"firebreak/sensors"
)

// device counts what can be read of a device.
type device struct {
	points, usable int
	lostSince      sensors.Mono // no usable point since; 0: some are
}

// group is a set of devices that one cause takes along: a bus, a gateway or a supply.
type group struct {
	name    string // "gateway/sw-1"
	devices []sensors.DeviceID
	active  bool
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

func (e *Engine) lossPersist() time.Duration {
	if e.r.LossPersist > 0 {
		return e.r.LossPersist
	}
	return 10 * time.Second
}

// setUsable keeps the count of usable points of the point's device.
func (e *Engine) setUsable(id sensors.PointID, usable bool, at sensors.Mono) {
	p := &e.points[id]
	d := &e.devices[e.r.Points[id].Device]
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
}

func (e *Engine) lost(d sensors.DeviceID) bool {
	return e.devices[d].points > 0 && e.devices[d].usable == 0 && e.devices[d].lostSince != 0
}

func (e *Engine) lostLongEnough(d sensors.DeviceID, now sensors.Mono) bool {
	return e.lost(d) && now >= e.devices[d].lostSince.Add(e.lossPersist())
}

// judgeLosses attributes every device that has been silent for the persist time to the largest
// cause all of whose devices are silent. A cause stays until all of its devices are back, so that
// their return, one after the other, is not a shower of alarms.
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
		if due := e.devices[d].lostSince.Add(e.lossPersist()); now < due {
			e.wakeAt(due)
			continue
		}
		found = append(found, e.loss("device/"+e.r.Devices[d].Name, []sensors.DeviceID{id}))
	}
	if !sameLosses(found, e.losses) {
		e.losses, out.Losses = found, true
		for c := range e.conds { // a fault may vote from now on (S2): look once more
			e.conds[c].dirty = e.conds[c].dirty || e.conds[c].vote != nil
		}
		e.next = now
	}
}

func (e *Engine) judgeGroup(g *group, now sensors.Mono, taken []bool) {
	all, any, due := true, false, false
	for _, d := range g.devices {
		if taken[d] { // a larger cause has it
			g.active = false
			return
		}
		l := e.lost(d)
		all, any = all && l, any || l
		due = due || e.lostLongEnough(d, now)
	}
	g.active = any && (g.active || all && due)
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
		for i := range e.r.Points {
			if e.r.Points[i].Device == d {
				l.Children = append(l.Children, e.r.Points[i].Name)
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
