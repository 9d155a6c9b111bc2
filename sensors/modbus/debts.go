package modbus

import (
	"context"
	"fmt"
	"time"

	"firebreak/sensors/profile"
)

// A reply on a serial line does not say to which request it belongs. One that comes after its time-out
// and the quarantine, from the right unit, with the right function and length, looks like the reply to
// the next request. So a link remembers what it was not answered. A server answers in the order in
// which it was asked: a reply that none of these could have had proves that theirs are past.

const (
	forgetAfter = 2 * time.Minute // no server answers later than that: serial servers and gateways give up within seconds
	maxOwed     = 64              // of one unit; the bus's back-off sends fewer within forgetAfter
	witnesses   = 4               // reads of a profile that may serve as proof
)

// owed is a request whose reply may still come.
type owed struct {
	code    byte
	size    int // of the PDU of a good reply
	address uint16
	at      time.Time
}

// debts of one unit, oldest first.
type debts struct {
	list  []owed
	first int // the witness to begin with: one that met silence goes last
}

// ask books r as asked for.
func (d *debts) ask(r Request, now time.Time) {
	d.expire(now)
	if len(d.list) == maxOwed {
		d.list = append(d.list[:0], d.list[1:]...)
	}
	d.list = append(d.list, owed{r.code(), r.replyLen(), r.Address, now})
}

func (d *debts) expire(now time.Time) {
	for len(d.list) > 0 && now.Sub(d.list[0].at) >= forgetAfter {
		d.list = append(d.list[:0], d.list[1:]...)
	}
}

// same: the good replies to both could be taken for each other.
func (o owed) same(r Request) bool { return o.code == r.code() && o.size == r.replyLen() }

// owes: a reply may still come that looks like the one to r.
func (d *debts) owes(r Request) bool {
	for _, o := range d.list {
		if o.same(r) {
			return true
		}
	}
	return false
}

// answered takes a reply, good or an exception, while r is the newest that was asked for. What was
// asked before the oldest request that it may belong to is past; certain: it can belong to r alone.
func (d *debts) answered(r Request, exception bool) (certain bool) {
	for i, o := range d.list {
		if o.same(r) || exception && o.code == r.code() {
			certain = i == len(d.list)-1
			d.list = append(d.list[:0], d.list[i+1:]...)
			return certain
		}
	}
	return true
}

// alike: whatever comes late is of the very registers of r.
func (d *debts) alike(r Request) bool {
	for _, o := range d.list {
		if !o.same(r) || o.address != r.Address {
			return false
		}
	}
	return true
}

// witness is a read whose reply cannot be taken for the one to r; if possible, for none that is owed.
func (d *debts) witness(r Request, fresh bool) (w Request, ok bool) {
	for i := range r.Witness {
		s := r.Witness[(d.first+i)%len(r.Witness)]
		v := r
		v.Func, v.Address, v.Quantity = s.Func, s.First, s.Count
		switch {
		case v.code() == r.code() && v.replyLen() == r.replyLen():
		case !ok, fresh && d.owes(w) && !d.owes(v):
			w, ok = v, true
		}
	}
	return w, ok
}

// prove makes sure that no reply is under way that could be taken for the one to r. An error is that
// of the unit: r was not sent.
//
// Of a unit without a witness, or that refuses it, r itself is asked for and what comes is thrown
// away, with the quarantine before and, unless it can only be an old state of the same registers, behind: the
// late reply that is waited for is the first to come.
func (l *SerialLink) prove(ctx context.Context, r Request, d *debts) error {
	w, ok := d.witness(r, false)
	for range len(d.list) + 1 {
		if !ok {
			break
		}
		_, _, err := l.ask(ctx, w, d)
		switch {
		case !d.owes(r):
			return nil
		case !trusted(err):
			d.first++
			return fmt.Errorf("%s: proof that no late reply is on the line: %w", r, err)
		case err != nil:
			ok = false // it is refused: an exception may be of any request of that function
		default:
			w, ok = d.witness(r, true)
		}
	}
	alike := d.alike(r)
	if _, _, err := l.ask(ctx, r, d); !trusted(err) {
		return fmt.Errorf("%s: proof that no late reply is on the line: %w", r, err)
	}
	d.list = d.list[:0]
	if !alike {
		l.distrust(r)
	}
	return nil
}

// witnessesOf are the shortest reads that a profile allows, one of each function and length.
func witnessesOf(p *profile.Profile) (out []profile.Span) {
	shape := func(s profile.Span) owed {
		r := Request{Func: s.Func, Quantity: s.Count}
		return owed{code: r.code(), size: r.replyLen()}
	}
	for len(out) < witnesses {
		var best *profile.Span
		for _, b := range alone(p) {
			known := false
			for _, o := range out {
				known = known || shape(o) == shape(b)
			}
			if !known && (best == nil || shape(b).size < shape(*best).size) {
				best = &b
			}
		}
		if best == nil {
			return out
		}
		out = append(out, *best)
	}
	return out
}

// alone are the reads of single channels, the blocks that a profile demands whole, what tells the identity, and the
// requests of a round.
func alone(p *profile.Profile) (out []profile.Span) {
	for i := range p.Identity {
		if s := p.Identity[i].Span; s.Func != profile.Identification { // of no certain length
			out = append(out, s)
		}
	}
	for i := range p.Channels {
		out = append(out, p.PlanOf([]int{i})[0].Span)
	}
	for _, b := range p.Plan() { // where all channels are of one length
		out = append(out, b.Span)
	}
	return out
}
