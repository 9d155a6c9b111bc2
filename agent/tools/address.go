package tools

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
)

// numberAt is the holding register in which a kind of device keeps its unit number, as its document has it (the
// sources stand in firmware-notes). A device that is not here is set by its switches, or by its maker's tool.
var numberAt = map[string]uint16{
	"xy-md02":           0x0101,
	"r4dcb08":           0x00FE,
	"pta8c04":           253,
	"waveshare-relay-8": 0x4000,
}

// SetAddress gives the one unit on a line another number. It is the only write that this package makes.
type SetAddress struct {
	Target   Target
	From, To byte
	Profile  *profile.Profile
	Others   []byte // numbers that are asked whether a second unit is on the line
	Timeout  time.Duration
	Settle   time.Duration // until the unit answers under its new number
	Confirm  func(question string) bool
}

// check refuses what is never done.
func (a *SetAddress) check() (register uint16, err error) {
	register, known := numberAt[a.Profile.Name]
	switch why := a.Profile.Detects(); {
	case why != "":
		return 0, fmt.Errorf("nothing is written to a detector: %s: set its number with its switches or its maker's tool (S25)", why)
	case !known:
		return 0, fmt.Errorf("no document that is known here says where %s keeps its number; it is known of %s", a.Profile.Name, strings.Join(slices.Sorted(maps.Keys(numberAt)), ", "))
	case !a.Target.Line():
		return 0, errors.New("a number is set on the line itself, with this one unit on it: behind a gateway nobody can see who else hears it")
	case a.From == a.To || a.From < 1 || a.To < 1 || a.From > 247 || a.To > 247:
		return 0, fmt.Errorf("from %d to %d: give two different numbers from 1 to 247", a.From, a.To)
	}
	return register, nil
}

// Run looks, asks the person, writes once, and reads back.
func (a *SetAddress) Run(ctx context.Context, w io.Writer) error {
	register, err := a.check()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, `plan: on %s
  1. read whether unit %d is there and fits %s, and whether any of %d other numbers answers (up to %v)
  2. ask you
  3. WRITE %d into holding register %d (0x%04X) of unit %d, once
  4. read whether unit %d is there now, and unit %d no more
`, a.Target.String(), a.From, a.Profile.Name, len(a.Others), (time.Duration(len(a.Others)) * 2 * a.Timeout).Round(time.Second), a.To, register, register, a.From, a.To, a.From)
	l, err := a.Target.open()
	if err != nil {
		return err
	}
	defer l.Close()
	slow := &polite{Link: l, pace: 20 * time.Millisecond}
	if err := a.alone(ctx, slow); err != nil {
		return err
	}
	fmt.Fprintf(w, "unit %d is there, and nobody else answers\n", a.From)
	if !a.Confirm(fmt.Sprintf("Is exactly one unit wired to this line? Type %d to give it that number: ", a.To)) {
		return errors.New("not confirmed: nothing was written")
	}
	c := &profile.Command{Name: "unit-number", Func: profile.Holding, Address: register, Values: []uint16{uint16(a.To)}}
	err = l.Write(ctx, modbus.Request{Unit: a.From, Timeout: a.Profile.Read.Timeout, Turnaround: a.Profile.Read.Turnaround, Once: true}, c)
	if err != nil { // its answer may come under the new number already: what is read back decides
		fmt.Fprintf(w, "the write was not acknowledged: %v\n", err)
	}
	return a.readBack(ctx, w, slow)
}

// alone sees that the unit is there and that no other answers.
func (a *SetAddress) alone(ctx context.Context, l modbus.Link) error {
	v := newSurvey(l, a.From, a.Timeout)
	switch _, ok, err := v.fit(ctx, a.Profile); {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("unit %d does not answer as %s: nothing was written", a.From, a.Profile.Name)
	}
	for _, u := range a.Others {
		if u == a.From || u == 0 {
			continue
		}
		for _, ask := range append(AsksOf([]*profile.Profile{a.Profile}), knock()...) {
			_, err := newSurvey(l, u, a.Timeout).read(ctx, ask, nil)
			if e := lost(ctx, err); e != nil {
				return e
			}
			if answered(err) || errors.Is(err, modbus.ErrGarbled) {
				return fmt.Errorf("unit %d answers too: take all others off the line; nothing was written", u)
			}
		}
	}
	return nil
}

func (a *SetAddress) readBack(ctx context.Context, w io.Writer, l modbus.Link) error {
	fits := func(u byte) (bool, error) {
		_, ok, err := newSurvey(l, u, a.Timeout).fit(ctx, a.Profile)
		return ok, err
	}
	for late := time.Now().Add(a.Settle); ; {
		there, err := fits(a.To)
		if err != nil {
			return err
		}
		if there {
			break
		}
		if time.Now().After(late) {
			if still, _ := fits(a.From); still {
				return fmt.Errorf("unit %d still has its number. Some devices take the new one when they get power again: switch it off and on, then firebreak scan modbus", a.From)
			}
			return errors.New("neither number answers: switch the unit off and on, then firebreak scan modbus")
		}
		if !sleep(ctx, a.Timeout) {
			return ctx.Err()
		}
	}
	if still, err := fits(a.From); err != nil || still {
		return fmt.Errorf("both numbers answer: two units are on the line, or it keeps the old one until it gets power again; its answer: %s", said(err))
	}
	fmt.Fprintf(w, "unit %d is there, unit %d no more. Write the number on the unit\n", a.To, a.From)
	return nil
}
