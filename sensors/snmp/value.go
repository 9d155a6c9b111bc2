package snmp

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"

	"github.com/gosnmp/gosnmp"
)

// form is what kind of value an object holds.
type form uint8

const (
	number  form = iota
	digits       // text, which may be one
	object       // the OID of another one
	foreign      // anything else
)

// value is what an agent says of one object.
type value struct {
	text string
	form form
	fail sensors.Reason // not NoReason: the rest does not count
	at   sensors.Mono
}

// as is the text of v if it has the form f. A value of another type is no value of that quantity.
func (v value) as(f form) (string, sensors.Reason) {
	switch {
	case v.fail != sensors.NoReason:
		return "", v.fail
	case v.form != f:
		return "", sensors.Implausible
	}
	return v.text, sensors.NoReason
}

// valueOf reads a variable of a reply. One that the agent does not have is no loss of the device.
func valueOf(v gosnmp.SnmpPDU, at sensors.Mono) value {
	out := value{form: number, at: at}
	switch v.Type {
	case gosnmp.NoSuchObject, gosnmp.NoSuchInstance, gosnmp.EndOfMibView, gosnmp.Null:
		out.fail = sensors.Sentinel
		return out
	}
	switch x := v.Value.(type) {
	case int:
		out.text = strconv.Itoa(x)
	case uint:
		out.text = strconv.FormatUint(uint64(x), 10)
	case uint32:
		out.text = strconv.FormatUint(uint64(x), 10)
	case uint64:
		out.text = strconv.FormatUint(x, 10)
	case float32:
		out.text = strconv.FormatFloat(float64(x), 'f', -1, 32)
	case float64:
		out.text = strconv.FormatFloat(x, 'f', -1, 64)
	case []byte:
		out.text, out.form = string(x), digits
	case string:
		if out.text, out.form = strings.TrimPrefix(x, "."), object; v.Type != gosnmp.ObjectIdentifier {
			out.form = foreign
		}
	default:
		out.form = foreign
	}
	return out
}

// after tells whether OID a comes behind b, as a walk has to go.
func after(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.ParseUint(as[i], 10, 64)
		y, errY := strconv.ParseUint(bs[i], 10, 64)
		if errX != nil || errY != nil {
			return false
		}
		if n := cmp.Compare(x, y); n != 0 {
			return n > 0
		}
	}
	return len(as) > len(bs)
}

// A clock of an agent that moves no more is one of an agent that serves what it had before.
const (
	frozen   = 10 * time.Second
	wrapSlip = time.Minute // what sysUpTime and our clock may differ by over a wrap
)

// uptime follows sysUpTime of an agent, in hundredths of a second.
type uptime struct {
	ticks   uint32
	at      sensors.Mono // when it was taken
	moved   sensors.Mono // when it was first this
	seen    bool
	wrapped bool // since the last restart: it says nothing of how young the agent is
}

// take takes a reading. It tells whether the agent has restarted since the last one; after 497 days
// sysUpTime begins anew, and that is none.
func (u *uptime) take(ticks uint32, at sensors.Mono) (restarted bool) {
	if u.seen && ticks < u.ticks {
		expected := uint64(u.ticks) + uint64(at.Sub(u.at)/(10*time.Millisecond))
		slip := time.Duration(int32(ticks-uint32(expected))) * 10 * time.Millisecond
		u.wrapped = expected+uint64(wrapSlip/(10*time.Millisecond)) > math.MaxUint32 && slip.Abs() < wrapSlip
		restarted = !u.wrapped
	}
	if !u.seen || ticks != u.ticks {
		u.moved = at
	}
	u.ticks, u.at, u.seen = ticks, at, true
	return restarted
}

// young tells whether the agent runs for less than settle.
func (u *uptime) young(settle time.Duration) bool {
	return u.seen && !u.wrapped && time.Duration(u.ticks)*10*time.Millisecond < settle
}

// stands tells whether it has not moved for too long.
func (u *uptime) stands() bool { return u.seen && u.at.Sub(u.moved) >= frozen }
