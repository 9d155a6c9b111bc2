package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// Part polls some of the points of a device, with a plan of its own; that of all of them is the
// device's own. Parts of one device share its connection, its identity and the goroutine of its bus.
type Part struct {
	*Poller
	emit    []int // channels whose points it reads
	need    []int // those, and the ones that decide on their quality
	plan    []block
	first   int  // block to begin with: one that the device met with silence goes last
	changed bool // a register that was refused came back: plan anew
	alone   int  // polls until several requests are under way again: one that meets silence costs all of them
}

// Part makes the poller of some channels, by their places in the profile, in order.
func (d *Poller) Part(channels []int) *Part {
	p := &Part{Poller: d, emit: channels, need: d.p.Needs(channels)}
	p.replan()
	return p
}

func (d *Part) replan() {
	d.plan = d.plan[:0]
	for _, b := range d.p.PlanOf(d.need) {
		d.plan = append(d.plan, block{Block: b})
	}
	d.first, d.changed = 0, false
}

// Poll reads the part once and appends one reading per point to out, stamped just before the request
// that read it was sent. A block that failed makes its points bad; the error says that the device did
// not answer at all, and then all of them are bad (comm).
func (d *Part) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	start := now()
	for _, i := range d.need {
		d.raw[i] = profile.Raw{Fail: sensors.Comm, At: start}
	}
	if err := d.identify(ctx, false); err != nil {
		return d.gone(out, err)
	}
	if d.wrong {
		for _, i := range d.need {
			d.raw[i].Fail = sensors.Identity
		}
		return d.dec.DecodeOf(d.emit, d.need, d.raw, out), nil
	}
	answered, err := d.readBlocks(ctx, now)
	if !answered {
		return d.gone(out, err)
	}
	return d.dec.DecodeOf(d.emit, d.need, d.raw, out), nil
}

// gone ends a poll without an answer. Who answers next may be another device, or the same with
// other firmware, so its identity is checked then.
func (d *Part) gone(out []sensors.Reading, err error) ([]sensors.Reading, error) {
	d.identified, d.seen = 0, false
	return d.dec.DecodeOf(d.emit, d.need, d.raw, out), err
}

// readBlocks reads the plan, beginning with block d.first; answered is true when the device said
// anything, or nothing was asked for.
func (d *Part) readBlocks(ctx context.Context, now func() sensors.Mono) (answered bool, err error) {
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
			data, e = d.read(ctx, d.request(b.Span, false))
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
func (d *Part) readAhead(ctx context.Context, now func() sensors.Mono) (map[profile.Span]Reply, sensors.Mono) {
	link, ok := d.link.(Pipeliner)
	if d.p.Read.Window < 2 || !ok || len(d.plan) < 2 {
		return nil, 0
	}
	if d.alone > 0 {
		d.alone--
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
		if !trusted(reply.Err) {
			d.alone = alonePolls
		}
		out[profile.Span{Func: r.Func, First: r.Address, Count: r.Quantity}] = reply
	}
	return out, sent
}

// begin makes the plan ready for a poll: anew when the device changed, and rotated to d.first.
func (d *Part) begin() {
	if d.changed {
		d.replan()
	}
	at := min(d.first, len(d.plan)-1)
	d.plan = append(d.plan[at:len(d.plan):len(d.plan)], d.plan[:at]...)
	d.first = 0
}

// single is true for a block that is one register, whatever number of channels it holds.
func (d *Part) single(b *block) bool {
	for _, i := range b.Items {
		if d.p.Channels[i].Span() != b.Span {
			return false
		}
	}
	return true
}

// take hands the words of a block to the channels that it serves.
func (d *Part) take(b *block, data []byte, at sensors.Mono) {
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
func (d *Part) split(i int) int {
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
func (d *Part) cover(items []int) profile.Span {
	s := d.p.Channels[items[0]].Span()
	end := s.End()
	for _, i := range items {
		end = max(end, d.p.Channels[i].Span().End())
	}
	s.Count = uint16(end - int(s.First))
	return s
}
