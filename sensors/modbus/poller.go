package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
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
	failuresInPoll = 2   // then the rest of the device is left for the next poll
)

// Poller reads one device. It belongs to the goroutine of its bus.
type Poller struct {
	link   Link
	unit   byte
	p      *profile.Profile
	dec    *profile.Decoder
	plan   []block // what is read; split where the device refused
	raw    []profile.Raw
	words  []uint16 // behind raw
	offset []int    // of each channel in words
	ids    []sensors.PointID
	first  int // block to begin with: one that the device met with silence goes last

	identified int  // polls until the identity is checked again
	wrong      bool // another device answers
	changed    bool // a register that was refused came back: plan anew
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
	dec, err := profile.NewDecoder(p, points)
	if err != nil {
		return nil, err
	}
	d := &Poller{link: link, unit: unit, p: p, dec: dec,
		raw: make([]profile.Raw, len(p.Channels)), offset: make([]int, len(p.Channels))}
	n := 0
	for i := range p.Channels {
		d.offset[i] = n
		n += p.Channels[i].Type.Words()
		d.ids = append(d.ids, points[i].ID)
	}
	d.words = make([]uint16, n)
	d.replan()
	return d, nil
}

func (d *Poller) replan() {
	d.plan = d.plan[:0]
	for _, b := range d.p.Plan() {
		d.plan = append(d.plan, block{Block: b})
	}
	d.first, d.changed = 0, false
}

// Poll reads the device once and appends one reading per point to out, stamped just before the
// request that read it was sent. A block that failed makes its points bad; the error says that
// the device did not answer at all, and then all of them are bad (comm).
func (d *Poller) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	start := now()
	for i := range d.raw {
		d.raw[i] = profile.Raw{Fail: sensors.Comm, At: start}
	}
	if err := d.identify(ctx, false); err != nil {
		return d.gone(out, err)
	}
	if d.wrong {
		for i := range d.raw {
			d.raw[i].Fail = sensors.Identity
		}
		return d.dec.Decode(d.raw, out), nil
	}
	answered, err := d.readBlocks(ctx, now)
	if !answered {
		return d.gone(out, err)
	}
	return d.dec.Decode(d.raw, out), nil
}

// gone ends a poll without an answer. Who answers next may be another device, or the same with
// other firmware, so its identity is checked then.
func (d *Poller) gone(out []sensors.Reading, err error) ([]sensors.Reading, error) {
	d.identified = 0
	return d.dec.Decode(d.raw, out), err
}

// readBlocks reads the plan, beginning with block d.first; answered is true when the device said
// anything, or nothing was asked for.
func (d *Poller) readBlocks(ctx context.Context, now func() sensors.Mono) (answered bool, err error) {
	d.begin()
	splits, probes, failures, asked := splitsPerPoll, probesPerPoll, 0, 0
	early, sent := d.readAhead(ctx, now)
	for i := 0; i < len(d.plan); i++ {
		b := &d.plan[i]
		at := now()
		if b.absence > 0 {
			if at < b.retry || probes == 0 {
				continue
			}
			probes--
		}
		asked++
		reply, have := early[b.Span]
		delete(early, b.Span)
		data, e := reply.Data, reply.Err
		if have && !errors.Is(e, ErrBusy) {
			at = sent
		} else {
			data, e = d.read(ctx, b.Span, false)
		}
		switch {
		case e == nil:
			d.changed = d.changed || b.absence > 0
			d.take(b, data, at)
			answered = true
		case errors.Is(e, ErrIllegalAddress), errors.Is(e, ErrConfig):
			answered = true
			if d.single(b) {
				b.absence = min(max(2*b.absence, firstAbsence), lastAbsence)
				b.retry = at.Add(b.absence)
				continue
			}
			n := d.split(i)
			if splits--; splits >= 0 {
				i-- // its first part is next
			} else {
				i += n - 1 // the parts are read next time
			}
		case errors.Is(e, ErrClosed), errors.Is(e, ErrTargetDown), errors.Is(e, ErrLinkDown), ctx.Err() != nil:
			return answered, e // nothing behind this link answers now
		case !trusted(e):
			err = e
			if failures++; failures >= failuresInPoll || !answered {
				// One dead unit costs its neighbours one time-out. Next time begins behind
				// this block, so that one register that is met with silence does not hide the rest.
				d.first = (i + 1) % len(d.plan)
				return answered, e
			}
		default:
			answered = true // another exception: it lives, but these points are bad
		}
	}
	return answered || asked == 0, err
}

// readAhead sends all that is to be read at once where the profile and the link allow; the replies
// are by span, stamped with the time before the first was sent.
func (d *Poller) readAhead(ctx context.Context, now func() sensors.Mono) (map[profile.Span]Reply, sensors.Mono) {
	link, ok := d.link.(Pipeliner)
	if d.p.Read.Window < 2 || !ok || len(d.plan) < 2 {
		return nil, 0
	}
	var rs []Request
	for i := range d.plan {
		if d.plan[i].absence == 0 {
			rs = append(rs, d.request(d.plan[i].Span, false))
		}
	}
	if len(rs) == 0 {
		return nil, 0
	}
	sent := now()
	out := make(map[profile.Span]Reply, len(rs))
	for i, reply := range link.ReadAll(ctx, rs, d.p.Read.Window) {
		r := &rs[i]
		out[profile.Span{Func: r.Func, First: r.Address, Count: r.Quantity}] = reply
	}
	return out, sent
}

// begin makes the plan ready for a poll: anew when the device changed, and rotated to d.first.
func (d *Poller) begin() {
	if d.changed {
		d.replan()
	}
	at := min(d.first, len(d.plan)-1)
	d.plan = append(d.plan[at:len(d.plan):len(d.plan)], d.plan[:at]...)
	d.first = 0
}

// single is true for a block that is one register, whatever number of channels it holds.
func (d *Poller) single(b *block) bool {
	for _, i := range b.Items {
		if d.p.Channels[i].Span() != b.Span {
			return false
		}
	}
	return true
}

// request is a read of s; once does not sit out a back-off of the link.
func (d *Poller) request(s profile.Span, once bool) Request {
	return Request{
		Unit: d.unit, Func: s.Func, Address: s.First, Quantity: s.Count, Once: once,
		Timeout: d.p.Read.Timeout, Turnaround: d.p.Read.Turnaround, FrameGap: d.p.Read.FrameGap,
	}
}

// read asks for one span, again when the device is busy.
func (d *Poller) read(ctx context.Context, s profile.Span, once bool) (data []byte, err error) {
	r := d.request(s, once)
	for try := 0; ; try++ {
		data, err = d.link.Read(ctx, r)
		if try == busyRetries || !errors.Is(err, ErrBusy) || ctx.Err() != nil {
			return data, err
		}
	}
}

// take hands the words of a block to the channels that it serves.
func (d *Poller) take(b *block, data []byte, at sensors.Mono) {
	for _, i := range b.Items {
		s := d.p.Channels[i].Span()
		words := d.words[d.offset[i]:][:s.Count]
		for k := range words {
			words[k] = wordAt(b.Func, data, int(s.First-b.First)+k)
		}
		d.raw[i] = profile.Raw{Words: words, At: at}
	}
}

func wordAt(f profile.Function, data []byte, i int) uint16 {
	if f.Bits() {
		return uint16(data[i/8] >> (i % 8) & 1)
	}
	return binary.BigEndian.Uint16(data[2*i:])
}

// split replaces block i, which the device refused, by two halves of its registers, or, when it
// has one register only, by that without the gaps around it. It returns the number of parts.
func (d *Poller) split(i int) int {
	items := slices.Clone(d.plan[i].Items)
	address := func(k int) uint16 { return d.p.Channels[items[k]].Address }
	slices.SortStableFunc(items, func(x, y int) int {
		return int(d.p.Channels[x].Address) - int(d.p.Channels[y].Address)
	})
	var starts []int // index of the first item of each register
	for k := range items {
		if k == 0 || address(k) != address(k-1) {
			starts = append(starts, k)
		}
	}
	cut := starts[len(starts)/2]
	var parts []block
	for _, part := range [][]int{items[:cut], items[cut:]} {
		if len(part) > 0 {
			parts = append(parts, block{Block: profile.Block{Span: d.cover(part), Items: part}})
		}
	}
	d.plan = slices.Replace(d.plan, i, i+1, parts...)
	return len(parts)
}

// cover is the smallest span over items, which are in address order.
func (d *Poller) cover(items []int) profile.Span {
	s := d.p.Channels[items[0]].Span()
	end := s.End()
	for _, i := range items {
		end = max(end, d.p.Channels[i].Span().End())
	}
	s.Count = uint16(end - int(s.First))
	return s
}

// identify checks that the expected device answers: after each silence and every so many polls.
func (d *Poller) identify(ctx context.Context, once bool) error {
	if d.identified--; d.identified > 0 && !d.wrong {
		return nil
	}
	wrong := false
	for i := range d.p.Identity {
		c := &d.p.Identity[i]
		data, err := d.read(ctx, c.Span, once)
		switch {
		case err == nil:
			words := make([]uint16, c.Count)
			for k := range words {
				words[k] = wordAt(c.Func, data, k)
			}
			wrong = wrong || !c.Matches(words)
		case c.Optional && (errors.Is(err, ErrIllegalAddress) || errors.Is(err, ErrConfig)):
		case errors.Is(err, ErrIllegalAddress), errors.Is(err, ErrConfig):
			wrong = true
		case errors.Is(err, ErrBusy), errors.Is(err, ErrDeviceFault):
			return nil // it lives; asked again at the next poll
		default:
			return fmt.Errorf("identity of the device: %w", err)
		}
	}
	d.wrong, d.identified = wrong, identityEvery
	return nil
}
