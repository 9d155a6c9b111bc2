package snmp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"github.com/gosnmp/gosnmp"
)

// Objects of every agent (RFC 3418).
const (
	sysObjectID = "1.3.6.1.2.1.1.2.0"
	sysUpTime   = "1.3.6.1.2.1.1.3.0"
)

// Poller reads one device.
type Poller struct {
	c       *Client
	p       *profile.Profile
	dec     *profile.Decoder
	objects []string // asked for by GET: sysObjectID and sysUpTime first
	tables  []table
	limit   int              // objects in one request: fewer than the profile says after a "too big"
	rows    uint32           // of a table in one request, likewise
	values  map[string]value // of this poll: of objects, and of tables by their column
	absent  []string         // version 1 refuses a whole request for one of them: asked for one by one, in turn
	up      uptime
	raw     []profile.Raw
	told    string // what was last logged of the agent
}

// New makes the poller of what profile p reads of the agent. points are those that p.Expand made, with their IDs.
func New(c *Client, p *profile.Profile, points []sensors.Point) (*Poller, error) {
	if c == nil || p == nil || p.Bus != profile.SNMP {
		return nil, errors.New("a device behind an SNMP agent needs a client and a profile with bus = \"snmp\"")
	}
	dec, err := profile.NewDecoder(p, points)
	if err != nil {
		return nil, err
	}
	u := &Poller{c: c, p: p, dec: dec, values: map[string]value{}, raw: make([]profile.Raw, len(points)), objects: []string{sysObjectID, sysUpTime}}
	for i := range p.Channels {
		ch, oid := &p.Channels[i], p.Channels[i].Variable
		if ch.Rows != "" {
			oid = ch.Rows
			if t := (table{column: ch.Variable, counter: ch.Rows}); !slices.Contains(u.tables, t) {
				u.tables = append(u.tables, t)
			}
		}
		if !slices.Contains(u.objects, oid) {
			u.objects = append(u.objects, oid)
		}
	}
	u.anew()
	return u, nil
}

// anew forgets what the agent could not do.
func (u *Poller) anew() {
	u.limit, u.rows, u.absent = u.p.SNMP.MaxOIDs, uint32(u.p.SNMP.Bulk), nil
}

// Poll asks for all objects. What was answered before a silence stands; the rest is bad (comm), and Poll
// tells of the silence.
func (u *Poller) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	at := now()
	clear(u.values)
	err := u.read(ctx, now)
	whole, why := u.judge()
	for i := range u.raw {
		u.raw[i] = u.rawOf(&u.p.Channels[i], at)
		if whole != sensors.NoReason && u.raw[i].Fail != sensors.Comm {
			u.raw[i] = profile.Raw{Fail: whole, At: u.raw[i].At}
		}
	}
	if err == nil {
		u.tell(why)
	}
	return u.dec.Decode(u.raw, out), err
}

// read fills u.values, as far as there are answers.
func (u *Poller) read(ctx context.Context, now func() sensors.Mono) error {
	ask := slices.DeleteFunc(slices.Clone(u.objects), func(oid string) bool { return slices.Contains(u.absent, oid) })
	for _, oid := range u.absent {
		u.values[oid] = value{fail: sensors.Sentinel, at: now()}
	}
	waits := len(u.absent) > 0
	if err := u.get(ctx, now, ask, u.limit); err != nil {
		return err
	}
	if waits { // the one that waits longest: it may be there now
		oid := u.absent[0]
		u.absent = u.absent[1:]
		if err := u.get(ctx, now, []string{oid}, 1); err != nil {
			return err
		}
	}
	for _, t := range u.tables {
		if err := u.readTable(ctx, now, t); err != nil {
			return err
		}
	}
	return nil
}

// get asks for oids, few enough in one request for the agent. A refusal costs one object, or makes requests
// smaller: it ends.
func (u *Poller) get(ctx context.Context, now func() sensors.Mono, oids []string, limit int) error {
	for len(oids) > 0 {
		n := min(limit, len(oids))
		part, at := oids[:n], now()
		a, err := u.c.ask(ctx, request{verb: get, oids: part, rules: &u.p.SNMP})
		if err != nil {
			return err
		}
		culprit := int(a.ErrorIndex) - 1
		switch {
		case a.Error == gosnmp.NoError:
			if err := u.take(part, a, at); err != nil {
				return err
			}
			oids = oids[n:]
		case n == 1:
			u.refuse(part[0], a.Error, at)
			oids = oids[1:]
		case a.Error == gosnmp.TooBig:
			limit = n / 2
			u.limit = limit
		case culprit >= 0 && culprit < n:
			u.refuse(part[culprit], a.Error, at)
			oids = slices.Delete(slices.Clone(oids), culprit, culprit+1)
		default: // it does not say whose: each for itself
			if err := u.get(ctx, now, part, 1); err != nil {
				return err
			}
			oids = oids[n:]
		}
	}
	return nil
}

// take keeps the values of a reply, if they are those that were asked for.
func (u *Poller) take(oids []string, a *gosnmp.SnmpPacket, at sensors.Mono) error {
	if len(a.Variables) != len(oids) {
		u.c.drop()
		return fmt.Errorf("SNMP agent at %s: %d values for %d objects: not the answer to what was asked", u.c.opt.Address, len(a.Variables), len(oids))
	}
	for i, v := range a.Variables {
		if name := v.Name; name != "."+oids[i] {
			u.c.drop()
			return fmt.Errorf("SNMP agent at %s: it answers %.80q where .%s belongs", u.c.opt.Address, name, oids[i])
		}
	}
	for i, v := range a.Variables {
		u.values[oids[i]] = valueOf(v, at)
	}
	return nil
}

// refuse marks the object that the agent has an error for.
func (u *Poller) refuse(oid string, e gosnmp.SNMPError, at sensors.Mono) {
	v := value{fail: sensors.Comm, at: at}
	if e == gosnmp.NoSuchName {
		if v.fail = sensors.Sentinel; !slices.Contains(u.absent, oid) {
			u.absent = append(u.absent, oid)
		}
	}
	u.values[oid] = v
}

// judge looks at the agent itself: a reason for which none of its values counts, and what there is to tell.
func (u *Poller) judge() (sensors.Reason, string) {
	if id, answered := u.values[sysObjectID]; answered && len(u.p.SNMP.Systems) > 0 {
		text, fail := id.as(object)
		if fail != sensors.NoReason || !slices.ContainsFunc(u.p.SNMP.Systems, func(s string) bool { return profile.Below(text, s) }) {
			return sensors.Identity, fmt.Sprintf("another device answers (sysObjectID %.80q): its values do not count; see address and profile", text)
		}
	}
	v := u.values[sysUpTime]
	ticks, err := strconv.ParseUint(v.text, 10, 32)
	if v.fail != sensors.NoReason || v.form != number || err != nil {
		return sensors.NoReason, "" // without a clock nothing is known of it
	}
	if u.up.take(uint32(ticks), v.at) {
		u.anew()
		u.c.opt.Log.Info("SNMP agent has restarted", "agent", u.c.opt.Address, "profile", u.p.Name)
	}
	switch {
	case u.up.young(u.p.SNMP.Settle):
		return sensors.NotReady, "the agent has started just now: its values count after the time settle of the profile"
	case u.up.stands():
		return sensors.Stale, "the clock of the agent stands (sysUpTime): its values are from before, and do not count"
	}
	return sensors.NoReason, ""
}

// tell logs what is new about the agent.
func (u *Poller) tell(why string) {
	switch {
	case why == u.told:
	case why == "":
		u.c.opt.Log.Info("the values of the SNMP agent count again", "agent", u.c.opt.Address, "profile", u.p.Name)
	default:
		u.c.opt.Log.Warn("the values of an SNMP agent do not count", "agent", u.c.opt.Address, "profile", u.p.Name, "why", why)
	}
	u.told = why
}

// rawOf is what came of one channel. at is for what was not answered.
func (u *Poller) rawOf(c *profile.Channel, at sensors.Mono) profile.Raw {
	v, answered := u.values[c.Variable]
	if !answered {
		return profile.Raw{Fail: sensors.Comm, At: at}
	}
	want := number
	if c.Digits || c.Rows != "" {
		want = digits
	}
	text, fail := v.as(want)
	return profile.Raw{Text: text, Fail: fail, At: v.at}
}
