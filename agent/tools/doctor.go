package tools

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
	"firebreak/sensors/sim/slave"
)

// Doctor looks for what is wrong with a bus, with reads of one unit and with listening.
type Doctor struct {
	Target  Target
	Unit    byte
	Profile *profile.Profile // says what to read; nil: one register, and a few
	Reads   int              // of each size
	Listen  time.Duration    // on a line, before anything is sent
	Timeout time.Duration
}

// Finding is one thing that is wrong, and what to do.
type Finding struct{ What, Do string }

// tally is how requests of one size ended.
type tally struct {
	span     profile.Span
	sent     int
	ok       int // data, or an exception of the unit's own
	silent   int // not one byte
	cut      int // some bytes, and not enough
	garbled  int
	echo     int // of those: the request itself
	other    int // another unit answered
	gateway  int // a gateway said that nobody answers
	slow     int // took more than half of the time-out
	longest  time.Duration
	lastErr  error
	raw      []byte // of the last reply that could not be read
	allBytes []byte // of all that could not be read
}

// Run asks, prints what it saw, and returns what is wrong.
func (d *Doctor) Run(ctx context.Context, w io.Writer) ([]Finding, error) {
	spans := d.spans()
	fmt.Fprintf(w, "plan: ")
	if d.Target.Line() {
		fmt.Fprintf(w, "listen for %v, then ", d.Listen)
	}
	fmt.Fprintf(w, "read unit %d at %s %d times, function codes 1 to 4 alone; nothing is written\n", d.Unit, d.Target.String(), d.Reads*len(spans))
	if !d.Target.Line() {
		return d.tcp(ctx, w, spans)
	}
	return d.line(ctx, w, spans)
}

// request is a read of s, from a unit that answers as its profile says.
func (d *Doctor) request(s profile.Span) modbus.Request {
	rules := profile.ReadRules{Timeout: d.Timeout, Turnaround: d.Timeout}
	if d.Profile != nil {
		rules.ReplyUnit = d.Profile.Read.ReplyUnit
	}
	return modbus.RequestOf(&rules, d.Unit, s)
}

// spans are a short request and a long one: what spoils long replies alone is the line, what spoils all is
// somebody else who speaks.
func (d *Doctor) spans() []profile.Span {
	if d.Profile == nil {
		return []profile.Span{{Func: profile.Holding, First: 0, Count: 1}, {Func: profile.Input, First: 0, Count: 1}}
	}
	plan := d.Profile.Plan()
	size := func(b profile.Block) int {
		if b.Func.Bits() {
			return int(b.Count) / 16
		}
		return int(b.Count)
	}
	slices.SortFunc(plan, func(a, b profile.Block) int { return size(a) - size(b) })
	out := []profile.Span{plan[0].Span}
	if last := plan[len(plan)-1].Span; last != out[0] {
		out = append(out, last)
	}
	return out
}

func (d *Doctor) line(ctx context.Context, w io.Writer, spans []profile.Span) (found []Finding, err error) {
	var got []byte
	o := d.Target.Serial
	o.Tap = func(sent bool, b []byte) {
		if sent {
			got = got[:0]
			return
		}
		got = append(got, b...)
	}
	l, err := modbus.NewSerial(o)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	heard, err := l.Listen(ctx, d.Listen)
	if err != nil {
		return nil, err
	}
	found = append(found, overheard(w, heard)...)
	all, err := d.ask(ctx, w, &polite{Link: l, pace: 20 * time.Millisecond}, spans, &got)
	return append(found, judgeLine(all, len(found) > 0)...), err
}

// ask reads each span so often, in turn.
func (d *Doctor) ask(ctx context.Context, w io.Writer, l modbus.Link, spans []profile.Span, got *[]byte) ([]tally, error) {
	all := make([]tally, len(spans))
	for i := range all {
		all[i].span = spans[i]
	}
	for n := range d.Reads * len(spans) {
		t := &all[n%len(spans)]
		began := time.Now()
		r := d.request(t.span)
		_, err := l.Read(ctx, r)
		if ctx.Err() != nil || errors.Is(err, modbus.ErrLinkDown) && d.Target.Line() {
			return all, cmpErr(ctx.Err(), err)
		}
		took := time.Since(began)
		var raw []byte
		if got != nil {
			raw = *got
		}
		t.count(err, raw, took, d.Unit, d.Timeout)
	}
	for i := range all {
		t := &all[i]
		fmt.Fprintf(w, "%s %d+%d: %d reads, %d answered (the slowest in %v), %d silent, %d cut short, %d garbled, %d from another unit, %d refused by a gateway\n",
			t.span.Func, t.span.First, t.span.Count, t.sent, t.ok, t.longest.Round(time.Millisecond), t.silent, t.cut, t.garbled, t.other, t.gateway)
		if t.raw != nil {
			fmt.Fprintf(w, "  the last that could not be read: % X\n", t.raw)
		}
	}
	return all, nil
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (t *tally) count(err error, raw []byte, took time.Duration, unit byte, timeout time.Duration) {
	t.sent++
	if answered(err) {
		t.ok++
		t.longest = max(t.longest, took)
		if took > timeout/2 {
			t.slow++
		}
		return
	}
	t.lastErr = err
	if errors.Is(err, modbus.ErrEcho) {
		t.echo++
	}
	switch {
	case errors.Is(err, modbus.ErrTargetDown):
		t.gateway++
		return
	case errors.Is(err, modbus.ErrTimeout) && len(raw) == 0:
		t.silent++
		return
	case len(raw) > 0 && raw[0] != unit && wholeFrame(raw):
		t.other++
	case errors.Is(err, modbus.ErrTimeout):
		t.cut++
	default:
		t.garbled++
	}
	t.raw = slices.Clone(raw)
	t.allBytes = append(t.allBytes, raw[:min(len(raw), 32)]...)
}

// wholeFrame tells whether b is one RTU frame with a right checksum, of a request or of a reply.
func wholeFrame(b []byte) bool {
	return len(b) >= 4 && slave.CRC16(b[:len(b)-2]) == binary.LittleEndian.Uint16(b[len(b)-2:])
}

// overheard judges what was said while this tool kept silent.
func overheard(w io.Writer, heard []modbus.Burst) (found []Finding) {
	frames, bytes := 0, 0
	var last []byte
	for _, b := range heard {
		bytes += len(b.Bytes)
		if frameIn(b.Bytes) {
			frames++
		}
		last = b.Bytes
	}
	fmt.Fprintf(w, "while nobody was asked: %d bytes in %d bursts, %d of them Modbus\n", bytes, len(heard), frames)
	switch {
	case bytes == 0:
	case frames > 0:
		found = append(found, Finding{fmt.Sprintf("a second master: it speaks while this one is silent (last: % X)", last[:min(len(last), 24)]),
			"find who else polls this line (a building system, a UPS card, a laptop, another agent) and give it a line of its own: one line has one master"})
	default:
		found = append(found, Finding{fmt.Sprintf("the line is not quiet: %d bytes that are no frame at this speed and parity (last: % X)", bytes, last[:min(len(last), 24)]),
			"either a second master at another speed or parity, or an idle line that floats: look at bias and termination, and whether A and B are swapped"})
	}
	return found
}

// frameIn finds one whole RTU frame within a burst, which may hold a request and its reply.
func frameIn(b []byte) bool {
	for from := 0; from+4 <= len(b); from++ {
		for to := from + 4; to <= min(len(b), from+256); to++ {
			if f := b[from:to]; f[1]&0x7F >= 1 && f[1]&0x7F <= 43 && f[0] <= 247 && wholeFrame(f) {
				return true
			}
		}
	}
	return false
}

// judgeLine says what the counts mean. master: somebody else was heard already.
func judgeLine(all []tally, master bool) (found []Finding) {
	var sum tally
	for i := range all {
		t := &all[i]
		sum.sent, sum.ok, sum.silent, sum.cut, sum.garbled, sum.other = sum.sent+t.sent, sum.ok+t.ok, sum.silent+t.silent, sum.cut+t.cut, sum.garbled+t.garbled, sum.other+t.other
		sum.slow += t.slow
		sum.echo += t.echo
		sum.allBytes = append(sum.allBytes, t.allBytes...)
	}
	spoilt := sum.cut + sum.garbled
	switch {
	case sum.sent == 0:
		return nil
	case sum.echo > 0:
		found = append(found, Finding{"the request itself comes back: the adapter hears what it sends",
			"switch its local echo off: a jumper or a switch of the adapter, or its receiver's enable (RE) tied to that of its transmitter (DE); then ask again"})
	case sum.other > 0:
		found = append(found, Finding{"another unit answers than the one that was asked",
			"two units with numbers that were mixed up, a device that answers under another number (its profile must say so), or a second master whose replies are heard"})
	case sum.ok == 0 && spoilt == 0:
		found = append(found, Finding{"nobody answers, not with one byte",
			"in this order: does the unit have power; are A and B swapped (exchange them: nothing breaks); is the unit's number, its speed and its parity this one (firebreak scan modbus); is the adapter an RS-485 one that switches its transmitter"})
	case sum.ok == 0 && idle(sum.allBytes):
		found = append(found, Finding{"nothing but 0x00 and 0xFF comes back: A and B are swapped, or the line has no bias",
			"exchange A and B at one end; then look at the bias and at one resistor of 120 ohm at each end of the line, and none between"})
	case sum.ok == 0:
		found = append(found, Finding{"something answers, and not one reply can be read",
			"another speed or parity (firebreak scan modbus tries them), two units on one number that answer at once, or A and B swapped"})
	case spoilt > 0:
		found = append(found, spoiltSome(all, spoilt, sum.sent, master))
	}
	if sum.ok > 0 && 10*sum.silent > sum.sent {
		found = append(found, Finding{fmt.Sprintf("%d of %d requests met silence", sum.silent, sum.sent),
			"a loose wire, a unit that is busy for longer than the time-out (--timeout), a supply that breaks down, or two units on one number of which one is slow"})
	}
	if 10*sum.slow > sum.sent {
		found = append(found, Finding{fmt.Sprintf("%d of %d replies took more than half of the time-out", sum.slow, sum.sent),
			"the next one that is late is lost: raise the profile's timeout, or ask a gateway for less"})
	}
	return found
}

// spoiltSome is a line on which some replies are good: does it depend on their length?
func spoiltSome(all []tally, spoilt, sent int, master bool) Finding {
	rate := func(t *tally) float64 { return float64(t.cut+t.garbled) / float64(max(1, t.sent)) }
	short, long := &all[0], &all[len(all)-1]
	what := fmt.Sprintf("%d of %d replies cannot be read", spoilt, sent)
	switch {
	case master:
		return Finding{what + ", and somebody else speaks on the line", "two masters spoil each other's replies: see above"}
	case len(all) > 1 && long.span.Count > 4*short.span.Count && rate(long) > 3*rate(short):
		return Finding{what + ", long ones above all: the line itself", "one resistor of 120 ohm at each end and none between, bias at one place, no star, ground of the units joined; then a lower speed"}
	}
	return Finding{what + ", short ones too", "most often two units on one number: take one off the line and ask again; else noise: look at termination (120 ohm at both ends alone), bias and the shield"}
}

// idle tells whether bytes are what a line gives that floats or is swapped.
func idle(b []byte) bool {
	n := 0
	for _, c := range b {
		if c == 0 || c == 0xFF {
			n++
		}
	}
	return len(b) > 0 && 10*n >= 9*len(b)
}
