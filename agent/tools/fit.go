package tools

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"firebreak/sensors"
	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
)

// Fit is how a profile goes with what a unit answers.
type Fit struct {
	Profile *profile.Profile
	Certain bool // its identity check was read, and matches
	Usable  int  // points with a usable value
	Values  []string
}

// survey asks one unit. A span that two profiles ask for is asked once.
type survey struct {
	link    modbus.Link
	unit    byte
	timeout time.Duration
	seen    map[question]answer
}

// question is a read, and the unit that is to answer it.
type question struct {
	profile.Span
	answers byte
}

type answer struct {
	words   []uint16
	objects map[byte][]byte // of an identification
	err     error
}

func newSurvey(l modbus.Link, unit byte, timeout time.Duration) *survey {
	return &survey{l, unit, timeout, map[question]answer{}}
}

// read reads a span, waiting as the profile says, or as the scan does when nobody says.
func (s *survey) read(ctx context.Context, span profile.Span, rules *profile.ReadRules) ([]uint16, error) {
	a := s.ask(ctx, span, nil, rules)
	return a.words, a.err
}

// ask reads a span; objects are those that are looked at, of an identification.
func (s *survey) ask(ctx context.Context, span profile.Span, objects []byte, rules *profile.ReadRules) (a answer) {
	if rules == nil {
		rules = &profile.ReadRules{Timeout: s.timeout, Turnaround: s.timeout}
	}
	r := modbus.RequestOf(rules, s.unit, span)
	q := question{span, r.ReplyUnit}
	if a, ok := s.seen[q]; ok {
		return a
	}
	if span.Func == profile.Identification {
		a.objects, a.err = modbus.Identify(ctx, s.link, r, objects)
	} else {
		var data []byte
		if data, a.err = s.link.Read(ctx, r); a.err == nil {
			a.words = wordsOf(span, data)
		}
	}
	if ctx.Err() == nil {
		s.seen[q] = a
	}
	return a
}

func wordsOf(s profile.Span, data []byte) []uint16 {
	words := make([]uint16, s.Count)
	for i := range words {
		if s.Func.Bits() {
			words[i] = uint16(data[i/8] >> (i % 8) & 1)
		} else {
			words[i] = binary.BigEndian.Uint16(data[2*i:])
		}
	}
	return words
}

// says asks the unit for maker, product and revision, as it answers profiles ps, and tells these and what else it
// has said of itself.
func (s *survey) says(ctx context.Context, ps []*profile.Profile) (texts []string, err error) {
	rules := &profile.ReadRules{Timeout: s.timeout, Turnaround: s.timeout}
	if len(ps) > 0 {
		rules.ReplyUnit = ps[0].Read.ReplyUnit
	}
	basic := profile.Span{Func: profile.Identification, First: 0x0100, Count: 1}
	err = lost(ctx, s.ask(ctx, basic, []byte{0, 1, 2}, rules).err)
	all := map[byte]string{}
	for _, a := range s.seen {
		for id, text := range a.objects {
			all[id] = string(text)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		if !strings.ContainsFunc(all[id], func(r rune) bool { return !unicode.IsPrint(r) }) { // others are numbers
			texts = append(texts, all[id])
		}
	}
	return texts, err
}

// fits returns the profiles that go with the unit, first those of which most points can be used. Where an
// identity matches, only those whose identity does.
func (s *survey) fits(ctx context.Context, ps []*profile.Profile) (out []Fit, err error) {
	for _, p := range ps {
		f, ok, err := s.fit(ctx, p)
		if err != nil {
			return out, err
		}
		if ok {
			out = append(out, f)
		}
	}
	if slices.ContainsFunc(out, func(f Fit) bool { return f.Certain }) {
		out = slices.DeleteFunc(out, func(f Fit) bool { return !f.Certain })
	}
	slices.SortStableFunc(out, func(a, b Fit) int {
		return cmp.Compare(b.Usable, a.Usable)
	})
	return out, nil
}

// fit asks for what tells p, and then for its points. err is that of the way, not of the unit.
func (s *survey) fit(ctx context.Context, p *profile.Profile) (f Fit, ok bool, err error) {
	f.Profile = p
	for i := range p.Identity {
		c := &p.Identity[i]
		a := s.ask(ctx, c.Span, p.Objects(c.Span), &p.Read)
		err := a.err
		switch {
		case err == nil && c.Func == profile.Identification && c.Names(a.objects):
			f.Certain = true
		case err == nil && c.Func != profile.Identification && c.Matches(a.words):
			// A check that zeros pass too keeps others out, and tells nobody for certain.
			f.Certain = f.Certain || !c.Matches(make([]uint16, c.Count))
		case err != nil && c.Optional && refused(err):
		default:
			return f, false, lost(ctx, err)
		}
	}
	raw := make([]profile.Raw, len(p.Channels))
	for i := range raw {
		raw[i].Fail = sensors.Comm
	}
	zero := true
	for _, b := range p.Plan() {
		words, err := s.read(ctx, b.Span, &p.Read)
		if err = lost(ctx, err); err != nil {
			return f, false, err
		}
		if words == nil && !f.Certain && 2*len(b.Items) > len(p.Channels) {
			return f, false, nil // most of its points are not there
		}
		for _, i := range b.Items {
			if c := p.Channels[i].Span(); words != nil {
				raw[i] = profile.Raw{Words: words[c.First-b.First:][:c.Count]}
				zero = zero && !slices.ContainsFunc(raw[i].Words, func(w uint16) bool { return w != 0 })
			}
		}
	}
	odd, err := f.judge(raw)
	return f, f.Certain || f.Usable > 0 && 2*f.Usable >= len(p.Channels) && odd == 0 && !zero, err
}

// judge decodes what was read: how many points are usable, and how many hold what the device cannot say.
func (f *Fit) judge(raw []profile.Raw) (odd int, err error) {
	p := f.Profile
	dec, err := profile.NewDecoder(p, p.Expand(sensors.Device{Name: "unit"}, time.Second))
	if err != nil {
		return 0, err
	}
	measured := 0
	for i, r := range dec.Decode(raw, nil) {
		c := &p.Channels[i]
		switch {
		case r.Quality.Reason() == sensors.OverRange, r.Quality.Reason() == sensors.Implausible && raw[i].Fail == sensors.NoReason:
			odd++
		case r.Quality.Usable():
			f.Usable++
			v := fmt.Sprintf("%s %s", c.Name, value(r.Value, c.Unit))
			if c.Kind == sensors.Measurement { // what a display shows comes first
				f.Values = slices.Insert(f.Values, measured, v)
				measured++
			} else {
				f.Values = append(f.Values, v)
			}
		}
	}
	return odd, nil
}

func value(v float64, u sensors.Unit) string {
	s := strconv.FormatFloat(v, 'g', 6, 64)
	if u != sensors.None {
		s += " " + string(u)
	}
	return s
}

// lost keeps the errors after which there is no use in asking anybody on the way: it is down, or the person
// has stopped.
func lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, modbus.ErrLinkDown) || errors.Is(err, modbus.ErrClosed) || errors.Is(err, modbus.ErrRefused) {
		return err
	}
	return nil
}
