package modbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

const (
	splitsPerPoll  = 16               // a device that refuses much is taken apart over several polls
	busyRetries    = 2                // exceptions 5 and 6
	firstAbsence   = 10 * time.Second // a refused register is asked for again, ever more rarely
	lastAbsence    = 10 * time.Minute
	probesPerPoll  = 2   // refused registers asked for again in one poll
	identityEvery  = 100 // polls
	alonePolls     = 100 // one request at a time after a failure with several under way
	failuresInPoll = 2   // then the rest of the device is left for the next poll
)

// Poller reads one device. It belongs to the goroutine of its bus.
type Poller struct {
	link   Link
	unit   byte
	p      *profile.Profile
	dec    *profile.Decoder
	raw    []profile.Raw
	words  []uint16 // behind raw
	offset []int    // of each channel in words
	ids    []sensors.PointID
	all    *Part
	brief  []profile.Span // see Request.Witness

	identified int  // polls until the identity is checked again
	wrong      bool // another device answers
	seen       bool // the identity was seen right, and nothing was silent since
}

// block is one request. One that holds a single register and was refused is absent: left out,
// and asked for again at retry.
type block struct {
	profile.Block
	absence time.Duration // zero: present
	retry   sensors.Mono
}

// New makes the poller of unit on link. points are those that p.Expand made, with their IDs.
func New(link Link, unit byte, p *profile.Profile, points []sensors.Point) (*Poller, error) {
	if link == nil || p == nil || p.Bus != profile.Modbus {
		return nil, errors.New("a Modbus poller needs a link and the profile of a Modbus device")
	}
	if p.Template != "" {
		return nil, fmt.Errorf("profile %s is a template: fill in %s", p.Name, p.Template)
	}
	if p.Read.ReplyUnit != 0 && p.Read.Answers(unit) == unit {
		return nil, fmt.Errorf("profile %s: unit %d would answer as unit %d: there is no such unit", p.Name, unit, int(unit)+p.Read.ReplyUnit)
	}
	dec, err := profile.NewDecoder(p, points)
	if err != nil {
		return nil, err
	}
	d := &Poller{link: link, unit: unit, p: p, dec: dec, brief: witnessesOf(p),
		raw: make([]profile.Raw, len(p.Channels)), offset: make([]int, len(p.Channels))}
	n := 0
	for i := range p.Channels {
		d.offset[i] = n
		n += p.Channels[i].Type.Words()
		d.ids = append(d.ids, points[i].ID)
	}
	d.words = make([]uint16, n)
	all := make([]int, len(p.Channels))
	for i := range all {
		all[i] = i
	}
	d.all = d.Part(all)
	return d, nil
}

// Poll reads all points of the device once: see Part.
func (d *Poller) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	return d.all.Poll(ctx, now, out)
}

// request is a read of s; once does not sit out a back-off of the link.
func (d *Poller) request(s profile.Span, once bool) Request {
	r := RequestOf(&d.p.Read, d.unit, s)
	r.Once, r.Witness = once, d.brief
	return r
}

// RequestOf is the read of s from a unit by the rules of its profile.
func RequestOf(rules *profile.ReadRules, unit byte, s profile.Span) Request {
	r := Request{
		Unit: unit, Func: s.Func, Address: s.First, Quantity: s.Count,
		Timeout: rules.Timeout, Turnaround: rules.Turnaround, FrameGap: rules.FrameGap,
	}
	if a := rules.Answers(unit); a != unit {
		r.ReplyUnit = a
	}
	return r
}

// read sends one request, again when the device is busy.
func (d *Poller) read(ctx context.Context, r Request) (data []byte, err error) {
	for try := 0; ; try++ {
		data, err = d.link.Read(ctx, r)
		if try == busyRetries || !errors.Is(err, ErrBusy) || ctx.Err() != nil {
			return data, err
		}
	}
}
