package nut

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"
)

// fixedVars say what stands behind the port. They do not change.
var fixedVars = map[string]string{
	"device.mfr": "Firebreak", "device.model": "shutdown zone", "device.type": "ups", "ups.mfr": "Firebreak", "ups.model": "shutdown zone",
}

// ownDescs describe the variables that are ours.
var ownDescs = map[string]string{
	"ups.status":                   "UPS status: OL; OB while the dead-man mode is set; FSD OL when the hosts are to shut down",
	"ups.alarm":                    "Readings that cannot be used now; no reason to shut down",
	"experimental.firebreak.stage": "Stage of response of the zone: 0, 1, 2a, 2b, 3, 4",
	"experimental.firebreak.mode":  "Mode of the plan: observe or armed",
}

// units are those of the registry of names, by the last word of a variable that is not a threshold
// or a state.
var units = map[string]sensors.Unit{
	"temperature": sensors.Celsius, "voltage": sensors.Volt, "current": sensors.Ampere, "frequency": sensors.Hertz,
	"runtime": sensors.Second, "charge": sensors.Percent, "load": sensors.Percent, "humidity": sensors.RelHum,
	"power": sensors.VoltAmp, "realpower": sensors.Watt,
}

// variable is one NUT variable that shows a point.
type variable struct {
	name    string
	point   sensors.Point
	unit    sensors.Unit // that it is shown in
	contact bool         // active or inactive
}

// entry is a variable with its value, as a client sees it.
type entry struct{ name, value string }

func newVars(u *UPS, find func(string) (sensors.Point, bool)) (out []variable, err error) {
	var faults []error
	take := func(name, point string, contact bool) {
		p, ok := find(point)
		if !ok {
			faults = append(faults, fmt.Errorf("%s: there is no point %q", name, point))
			return
		}
		v := variable{name: name, point: p, unit: p.Unit, contact: contact}
		if contact && p.Kind != sensors.Binary {
			faults = append(faults, fmt.Errorf("%s: the point %q is no binary one: a contact shows active or inactive", name, point))
		}
		if want, ok := units[name[strings.LastIndexByte(name, '.')+1:]]; ok && !contact && p.Kind == sensors.Measurement {
			if _, err := sensors.Convert(0, p.Unit, want); err != nil {
				faults = append(faults, fmt.Errorf("%s is in %q, and the point %q in %q: choose another variable, or a name below experimental", name, string(want), point, string(p.Unit)))
			}
			v.unit = want
		}
		out = append(out, v)
	}
	for name, point := range u.Vars {
		take(name, point, false)
	}
	for _, k := range u.Contacts {
		take(fmt.Sprintf("ambient.%d.contacts.%d.status", k.N, k.X), k.Point, true)
	}
	slices.SortFunc(out, func(a, b variable) int { return strings.Compare(a.name, b.name) })
	return out, errors.Join(faults...)
}

// statusLocked is what a connection is told of the UPS. FSD covers all, on line power as well:
// upsmon obeys it in either state. ALARM, OFF and BYPASS are never said: newer clients shut down for
// them. What a connection has seen of FSD it goes on seeing (S20).
func (h *Hook) statusLocked(c *conn, z *zone) string {
	switch {
	case z.fsd() || c.sawFSD[z]:
		return "FSD OL"
	case z.ob:
		return "OB"
	}
	return "OL"
}

// varsLocked lists the variables by name. A point without a usable reading is left out.
func (h *Hook) varsLocked(c *conn, z *zone) []entry {
	out := []entry{{"ups.status", h.statusLocked(c, z)}}
	for n, v := range fixedVars {
		out = append(out, entry{n, v})
	}
	ambient := 0
	for i := range z.cfg.Contacts {
		k := &z.cfg.Contacts[i]
		base := fmt.Sprintf("ambient.%d.contacts.%d.", k.N, k.X)
		conf := k.Config
		if conf == "" {
			conf = "normal-opened"
		}
		out = append(out, entry{base + "config", conf})
		if k.Name != "" {
			out = append(out, entry{base + "name", k.Name})
		}
		ambient = max(ambient, k.N)
	}
	if ambient > 0 {
		out = append(out, entry{"ambient.count", strconv.Itoa(ambient)})
	}
	var bad []string
	for i := range z.vars {
		v := &z.vars[i]
		if text, ok := h.valueLocked(v); ok {
			out = append(out, entry{v.name, text})
		} else if !slices.Contains(bad, v.point.Name) {
			bad = append(bad, v.point.Name)
		}
	}
	if len(bad) > 0 {
		names := strings.Join(bad, " ")
		out = append(out, entry{"experimental.firebreak.bad", cut(names)}, entry{"ups.alarm", cut("no usable reading of " + names)})
	}
	if p := z.plan(h.plans); p != nil {
		const own = "experimental.firebreak."
		out = append(out, entry{own + "stage", p.state.Stage}, entry{own + "mode", p.state.Mode}, entry{own + "plan", p.state.Plan},
			entry{own + "episode", strconv.FormatUint(p.open, 10)})
	}
	slices.SortFunc(out, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return out
}

func (h *Hook) valueLocked(v *variable) (string, bool) {
	r, have := h.readings[v.point.ID]
	if !have || !r.ok || v.point.Stale > 0 && time.Since(r.at) > v.point.Stale {
		return "", false
	}
	if v.contact {
		if r.value != 0 {
			return "active", true
		}
		return "inactive", true
	}
	x, err := sensors.Convert(r.value, v.point.Unit, v.unit)
	if err != nil {
		return "", false
	}
	return number(x)
}

// number writes a value as the protocol wants it: decimal, with a point, without an exponent.
func number(x float64) (string, bool) {
	if math.IsNaN(x) || math.Abs(x) > 1e12 {
		return "", false
	}
	x = math.Round(x*1e4) / 1e4
	if x == 0 {
		x = 0 // not -0
	}
	return strconv.FormatFloat(x, 'f', -1, 64), true
}

func cut(s string) string {
	if len(s) > 255 {
		return strings.ToValidUTF8(s[:252], "") + "..."
	}
	return s
}

// logins are the addresses of the connections that are logged in to a UPS, one each.
func (h *Hook) logins(z *zone) (out []netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		if c.login == z {
			out = append(out, c.addr)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// lists tells whether a host must be there.
func (z *zone) lists(a netip.Addr) bool { return slices.Contains(z.listed, a) }
