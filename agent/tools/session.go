package tools

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
	"firebreak/sensors/sim/slave"
)

// Recorder keeps what a unit answers, poll by poll. What it writes is a file of recorded cases too (profile.Cases): a
// session from the field becomes a test as it is.
type Recorder struct {
	Target  Target
	Unit    byte
	Profile *profile.Profile
	Every   time.Duration
	For     time.Duration
}

// Run polls until the time is over or ctx ends, and writes each poll to out.
func (r *Recorder) Run(ctx context.Context, out, w io.Writer) error {
	plan := r.Profile.Plan()
	fmt.Fprintf(w, "plan: read unit %d at %s as %s, %d requests each %v, for %v; nothing is written\n", r.Unit, r.Target.String(), r.Profile.Name, len(plan), r.Every, r.For)
	l, err := r.Target.open()
	if err != nil {
		return err
	}
	defer l.Close()
	began := time.Now()
	if _, err := fmt.Fprintf(out, "# a session of %s, unit %d at %s, from %s\n", r.Profile.Name, r.Unit, r.Target.String(), began.UTC().Format(time.RFC3339)); err != nil {
		return err
	}
	polls, failed := 0, 0
	for next := began; ; {
		bad, err := r.poll(ctx, &polite{Link: l}, plan, out, time.Since(began), polls > 0)
		if ctx.Err() != nil && polls > 0 {
			break
		}
		if err != nil {
			return err
		}
		polls, failed = polls+1, failed+bad
		if next = next.Add(r.Every); next.Sub(began) >= r.For || !sleep(ctx, max(0, time.Until(next))) {
			break
		}
	}
	fmt.Fprintf(w, "%d polls, %d requests failed\n", polls, failed)
	return nil
}

// poll reads once. A request that failed stands as a remark, and its points want "bad:comm".
func (r *Recorder) poll(ctx context.Context, l modbus.Link, plan []profile.Block, out io.Writer, at time.Duration, more bool) (failed int, err error) {
	raw := make([]profile.Raw, len(r.Profile.Channels))
	for i := range raw {
		raw[i].Fail = sensors.Comm
	}
	var b strings.Builder
	if more {
		b.WriteString("---\n")
	}
	fmt.Fprintf(&b, "# at %.3f\n", at.Seconds())
	for _, s := range plan {
		rules := &r.Profile.Read
		data, err := l.Read(ctx, modbus.RequestOf(rules, r.Unit, s.Span))
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if err != nil {
			failed++
			fmt.Fprintf(&b, "# %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		words := wordsOf(s.Span, data)
		fmt.Fprintf(&b, "%s %#x =", s.Func, s.First)
		for _, v := range words {
			fmt.Fprintf(&b, " %#x", v)
		}
		b.WriteByte('\n')
		for _, i := range s.Items {
			c := r.Profile.Channels[i].Span()
			raw[i] = profile.Raw{Words: words[c.First-s.First:][:c.Count]}
		}
	}
	wants, err := r.Profile.Wants(raw)
	if err != nil {
		return failed, err
	}
	_, err = io.WriteString(out, b.String()+strings.Join(wants, "\n")+"\n")
	return failed, err
}

// Frame is one poll of a session.
type Frame struct {
	At    time.Duration
	Words map[profile.Span][]uint16
}

const maxFrames = 1 << 20

// ReadSession reads what a Recorder wrote.
func ReadSession(file string, in io.Reader) (out []Frame, err error) {
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, 1<<20)
	for line := 1; sc.Scan(); line++ {
		text := sc.Text()
		if s, ok := strings.CutPrefix(text, "# at "); ok {
			sec, err := strconv.ParseFloat(s, 64)
			if err != nil || sec < 0 || sec > 1e9 || len(out) > 0 && sec < out[len(out)-1].At.Seconds() || len(out) == maxFrames {
				return nil, fmt.Errorf("%s:%d: %q: seconds since the beginning, rising", file, line, text)
			}
			out = append(out, Frame{At: time.Duration(sec * float64(time.Second)), Words: map[profile.Span][]uint16{}})
			continue
		}
		text, _, _ = strings.Cut(text, "#")
		f := strings.Fields(text)
		if len(f) < 4 || f[2] != "=" {
			continue // what must come of it, which is decoded anew
		}
		fn := slices.IndexFunc([]profile.Function{profile.Register, profile.Coil, profile.Discrete, profile.Holding, profile.Input}, func(x profile.Function) bool { return x.String() == f[0] })
		first, err := strconv.ParseUint(f[1], 0, 16)
		if fn < 1 || err != nil || len(out) == 0 {
			return nil, fmt.Errorf("%s:%d: %q: write \"holding 0x2100 = 0x01F4\", below a line \"# at 0.000\"", file, line, text)
		}
		span := profile.Span{Func: profile.Function(fn), First: uint16(first), Count: uint16(len(f) - 3)}
		for _, w := range f[3:] {
			v, err := strconv.ParseUint(w, 0, 16)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %q is no register", file, line, w)
			}
			out[len(out)-1].Words[span] = append(out[len(out)-1].Words[span], uint16(v))
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no line \"# at SECONDS\": this is no session", file)
	}
	return out, nil
}

// Replay decodes a session by a profile as an agent would that polls it, one decoder over all of it, and prints each reading
// that differs from the one before.
func Replay(w io.Writer, p *profile.Profile, frames []Frame) error {
	points := p.Expand(sensors.Device{Name: "unit"}, time.Minute)
	for i := range points {
		points[i].ID = sensors.PointID(i)
	}
	dec, err := profile.NewDecoder(p, points)
	if err != nil {
		return err
	}
	before := make([]string, len(points))
	bad := 0
	for _, f := range frames {
		for i, r := range dec.Decode(f.raw(p), nil) {
			s := r.Quality.String()
			if r.Quality.Usable() {
				s = value(r.Value, points[i].Unit) + ", " + s
			} else {
				bad++
			}
			if s != before[i] {
				fmt.Fprintf(w, "%9.3f s  %s  %s\n", f.At.Seconds(), p.Channels[i].Name, s)
			}
			before[i] = s
		}
	}
	_, err = fmt.Fprintf(w, "%d polls, %d of %d readings cannot be used\n", len(frames), bad, len(frames)*len(points))
	return err
}

// raw is what a poll held of each channel.
func (f *Frame) raw(p *profile.Profile) []profile.Raw {
	out := make([]profile.Raw, len(p.Channels))
	for i := range out {
		c := p.Channels[i].Span()
		out[i] = profile.Raw{Fail: sensors.Comm, At: sensors.Mono(f.At) + 1}
		for s, words := range f.Words {
			if s.Holds(c) {
				out[i].Words, out[i].Fail = words[c.First-s.First:][:c.Count], sensors.NoReason
			}
		}
	}
	return out
}

// play shows a session on a device, poll by poll, over and over, until ctx ends.
func (d *Device) play(ctx context.Context, frames []Frame, speed float64) {
	for {
		at := time.Duration(0)
		for _, f := range frames {
			if !sleep(ctx, time.Duration(float64(f.At-at)/max(speed, 0.001))) {
				return
			}
			at = f.At
			d.show(f)
		}
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

func (d *Device) show(f Frame) {
	d.bank.Update(func(set slave.Setter) {
		for s, words := range f.Words {
			set(slave.Table(s.Func), s.First, words...)
		}
	})
}
