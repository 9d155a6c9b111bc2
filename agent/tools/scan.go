package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
)

// Scan looks for units.
type Scan struct {
	Target   Target
	Bauds    []int    // of a serial line, tried in order until one is answered
	Parities []string // each with each speed
	Units    []byte
	Timeout  time.Duration // until a unit counts as absent
	Pace     time.Duration // pause before each request
	All      bool          // go on with other settings after one was answered
	Profiles []*profile.Profile
	Asks     []profile.Span // what a unit is asked for to see whether it is there
}

// Found is a unit that answers.
type Found struct {
	Unit   byte
	Target Target
	Fits   []Fit
	Says   []string // texts of its identification
}

// knock is what any unit is asked for: one register of either table. One that does not have it says so.
func knock() []profile.Span {
	return []profile.Span{{Func: profile.Holding, First: 0, Count: 1}, {Func: profile.Input, First: 0, Count: 1}}
}

// AsksOf are the first requests of profiles, for units that meet a register that they do not have with
// silence.
func AsksOf(ps []*profile.Profile) (out []profile.Span) {
	for _, p := range ps {
		if plan := p.Plan(); len(p.Identity) > 0 && p.Identity[0].Func != profile.Identification {
			out = append(out, p.Identity[0].Span)
		} else if len(plan) > 0 {
			out = append(out, plan[0].Span)
		}
	}
	return out
}

// settings are the ways in which the target is asked.
func (s *Scan) settings() (out []Target) {
	if s.Target.Serial.Path == "" {
		return []Target{s.Target}
	}
	for _, b := range s.Bauds {
		for _, p := range s.Parities {
			t := s.Target
			t.Serial.Baud, t.Serial.Parity = b, p
			if p == "none" && s.Target.Serial.ASCII {
				t.Serial.DataBits = 8
			}
			out = append(out, t)
		}
	}
	return out
}

// Plan says what Run will do, and how long it takes when nobody answers.
func (s *Scan) Plan(w io.Writer) {
	ways := s.settings()
	if s.Asks == nil {
		s.Asks = knock()
	}
	fmt.Fprintf(w, "plan: ask %d units at %s", len(s.Units), ways[0].String())
	if len(ways) > 1 {
		fmt.Fprintf(w, ", and with %d other settings until one is answered", len(ways)-1)
	}
	var asks []string
	for _, a := range s.Asks {
		asks = append(asks, fmt.Sprintf("%s %d+%d", a.Func, a.First, a.Count))
	}
	n := len(ways) * len(s.Units) * len(s.Asks)
	absent := s.Timeout + s.Pace
	if s.Target.Line() {
		absent += s.Timeout // a late reply could pass for the next one's: the line is drained for as long
	}
	each := 1 // who it is
	for _, p := range s.Profiles {
		each += len(p.Questions()) + len(p.Plan())
	}
	fmt.Fprintf(w, `
  reads only, function codes 1 to 4, and 43 (identification) of who answers: %s of each unit; nothing is written
  %d requests, one at a time, %v between two; %v until a unit counts as absent
  takes %v when nobody answers; a unit that answers is asked up to %d times more, by %d profiles
`, strings.Join(asks, ", "), n, s.Pace, s.Timeout, (time.Duration(n) * absent).Round(time.Second), each, len(s.Profiles))
	if s.Target.Line() {
		fmt.Fprintln(w, "  two masters on one line spoil each other's replies: stop whatever polls it now")
	} else {
		fmt.Fprintln(w, "  a gateway that takes one client answers nobody else meanwhile")
	}
	fmt.Fprintln(w, "  interrupt it to stop")
}

// Run asks, and prints each unit as it is found.
func (s *Scan) Run(ctx context.Context, w io.Writer) (all []Found, err error) {
	if s.Asks == nil {
		s.Asks = knock()
	}
	sent := 0
	for _, t := range s.settings() {
		l, err := t.open()
		if err != nil {
			return all, err
		}
		one := &polite{Link: l, pace: s.Pace}
		found, garbled, err := s.line(ctx, w, t, one)
		l.Close()
		all, sent = append(all, found...), sent+one.sent
		if garbled > 0 && len(found) == 0 {
			fmt.Fprintf(w, "%s: %d replies that nobody can read: another speed or parity, two units on one number, or noise (firebreak doctor bus)\n", t.String(), garbled)
		}
		if err != nil {
			fmt.Fprintf(w, "stopped after %d requests\n", sent)
			return all, err
		}
		if len(found) > 0 && !s.All {
			break
		}
	}
	fmt.Fprintf(w, "%d requests sent, %d units answer\n", sent, len(all))
	switch {
	case len(all) == 0:
		fmt.Fprintln(w, "nobody: look at power, A and B, speed, parity and unit number; a unit that is silent about registers it does not have is found with --profile")
	case !s.Target.Line() && len(all) > 3 && len(all) == len(s.Units):
		fmt.Fprintln(w, "every number that was asked answers: this endpoint may be one device that looks at no unit number")
	}
	return all, nil
}

// line asks all units on one setting.
func (s *Scan) line(ctx context.Context, w io.Writer, t Target, l modbus.Link) (found []Found, garbled int, err error) {
	hangUps := 0
	for _, u := range s.Units {
		if u == 0 && t.Line() {
			continue // broadcast: nobody may answer
		}
		v := newSurvey(l, u, s.Timeout)
		there, ps := false, s.plain()
		for _, a := range s.Asks {
			_, err := v.read(ctx, a, nil)
			if hungUp(t, err) { // some gateways do so for a unit that they do not have
				if hangUps++; hangUps < maxHangUps {
					break
				}
			}
			if e := lost(ctx, err); e != nil {
				return found, garbled, e
			}
			hangUps = 0
			if errors.Is(err, modbus.ErrGarbled) {
				if others := s.elsewhere(ctx, v); others != nil {
					ps, err = others, nil
				} else {
					garbled++
				}
			}
			if there = there || answered(err); there || errors.Is(err, modbus.ErrTargetDown) {
				break
			}
		}
		if !there {
			continue
		}
		f := Found{Unit: u, Target: t}
		if f.Fits, err = v.fits(ctx, ps); err == nil {
			f.Says, err = v.says(ctx, ps)
		}
		f.print(w)
		found = append(found, f)
		if err != nil {
			return found, garbled, err
		}
	}
	return found, garbled, nil
}

// plain are the profiles of devices that answer under the unit that they are asked under.
func (s *Scan) plain() (out []*profile.Profile) {
	for _, p := range s.Profiles {
		if p.Read.ReplyUnit == 0 {
			out = append(out, p)
		}
	}
	return out
}

// elsewhere asks a unit, whose reply was not for the request, as those are asked that answer under another unit; ps
// are the profiles that do as it does.
func (s *Scan) elsewhere(ctx context.Context, v *survey) (ps []*profile.Profile) {
	for _, p := range s.Profiles {
		if p.Read.ReplyUnit == 0 || ps != nil && p.Read.ReplyUnit != ps[0].Read.ReplyUnit {
			continue
		}
		if ps == nil {
			if _, e := v.read(ctx, p.Plan()[0].Span, &p.Read); !answered(e) {
				continue
			}
		}
		ps = append(ps, p)
	}
	return ps
}

const maxHangUps = 8 // in a row: then it wants nobody

// hungUp tells whether an endpoint that had taken the connection closed it in place of an answer.
func hungUp(t Target, err error) bool {
	var op *net.OpError
	return !t.Line() && errors.Is(err, modbus.ErrLinkDown) && (!errors.As(err, &op) || op.Op != "dial")
}

const shownValues, shownFits = 6, 3

func (f *Found) print(w io.Writer) {
	fmt.Fprintf(w, "unit %d answers at %s\n", f.Unit, f.Target.String())
	for _, text := range f.Says {
		fmt.Fprintf(w, "  calls itself %q\n", text)
	}
	if len(f.Fits) == 0 {
		fmt.Fprintf(w, "  no profile fits: firebreak probe shows its registers\n")
	}
	for i, fit := range f.Fits {
		if i == shownFits {
			fmt.Fprintf(w, "  and %d more that fit no better\n", len(f.Fits)-i)
			break
		}
		p, how := fit.Profile, "POSSIBLE: it has no identity to check, only values that make sense; compare them with the device's own display"
		if fit.Certain {
			how = "its identity matches"
		}
		fmt.Fprintf(w, "  %s: %s; %d of %d points usable; %s\n", p.Name, p.Title, fit.Usable, len(p.Channels), how)
		more := ""
		if n := len(fit.Values) - shownValues; n > 0 {
			more = fmt.Sprintf(" and %d more", n)
		}
		fmt.Fprintf(w, "    %s%s\n", strings.Join(fit.Values[:min(shownValues, len(fit.Values))], ", "), more)
	}
}

// Config prints what was found as a configuration takes it, the first fit of each unit.
func Config(w io.Writer, found []Found) {
	bus := map[string]string{}
	for _, f := range found {
		name, known := bus[f.Target.String()]
		if !known {
			name = fmt.Sprintf("bus-%d", len(bus)+1)
			bus[f.Target.String()] = name
			fmt.Fprintf(w, "\n[[bus]]\nname   = %q\n%s", name, f.Target.config())
		}
		p := "" // none fits: the file is refused until a person has said what it is
		if len(f.Fits) > 0 {
			p = f.Fits[0].Profile.Name
		}
		fmt.Fprintf(w, "\n[[device]]\nname    = \"%s-%d\"\nprofile = %q\nbus     = %q\nunit    = %d\n", strings.TrimSuffix("unit-"+p, "-"), f.Unit, p, name, f.Unit)
	}
}

func (t *Target) config() string {
	switch {
	case !t.Line():
		return fmt.Sprintf("kind   = \"modbus-tcp\"\naddress = %q\n", t.TCP)
	case t.Serial.Address != "":
		return fmt.Sprintf("kind   = \"modbus-%s\"\naddress = %q\nbaud   = %d\n", strings.TrimSuffix(t.Scheme, "+tcp"), t.Serial.Address, t.Serial.Baud)
	}
	return fmt.Sprintf("kind   = \"modbus-%s\"\ndevice = %q\nbaud   = %d\nparity = %q\nstop   = %d\n", t.Scheme, t.Serial.Path, t.Serial.Baud, t.Serial.Parity, max(1, t.Serial.StopBits))
}
