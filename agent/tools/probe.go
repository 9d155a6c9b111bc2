package tools

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
)

// Probe shows registers of one unit as they are, under every type and word order.
type Probe struct {
	Target  Target
	Unit    byte
	Span    profile.Span
	Times   int // reads; registers that moved are marked
	Every   time.Duration
	Timeout time.Duration
}

// cell is one register: whether it could be read, and what it held first and last.
type cell struct {
	ok    bool
	word  uint16
	first uint16
	reads int
	moved bool
}

// Run reads and prints. A span that is refused as a whole is read register by register.
func (p *Probe) Run(ctx context.Context, w io.Writer) error {
	fmt.Fprintf(w, "reads %s %d+%d of unit %d at %s, %d times; nothing is written\n", p.Span.Func, p.Span.First, p.Span.Count, p.Unit, p.Target.String(), max(1, p.Times))
	l, err := p.Target.open()
	if err != nil {
		return err
	}
	defer l.Close()
	v := &polite{Link: l, pace: 20 * time.Millisecond}
	cells := make([]cell, p.Span.Count)
	for i := range max(1, p.Times) {
		if i > 0 && !sleep(ctx, p.Every) {
			break
		}
		if err := p.read(ctx, v, p.Span, cells); err != nil {
			return err
		}
	}
	if p.Span.Func.Bits() {
		return p.printBits(w, cells)
	}
	return p.print(w, cells)
}

func (p *Probe) read(ctx context.Context, l modbus.Link, s profile.Span, cells []cell) error {
	limit := uint16(125)
	if s.Func.Bits() {
		limit = 2000
	}
	if s.Count > limit {
		a, b := s, s
		a.Count = limit
		b.First, b.Count = s.First+limit, s.Count-limit
		if err := p.read(ctx, l, a, cells); err != nil {
			return err
		}
		return p.read(ctx, l, b, cells)
	}
	data, err := l.Read(ctx, modbus.Request{Unit: p.Unit, Func: s.Func, Address: s.First, Quantity: s.Count, Timeout: p.Timeout, Turnaround: p.Timeout})
	switch {
	case err == nil:
		for i, word := range wordsOf(s, data) {
			c := &cells[int(s.First-p.Span.First)+i]
			if c.reads++; c.reads == 1 {
				c.first = word
			}
			c.ok, c.word, c.moved = true, word, c.moved || word != c.first
		}
		return nil
	case refused(err) && s.Count > 1: // some of it is not there: look which
		half := s
		half.Count = s.Count / 2
		rest := profile.Span{Func: s.Func, First: s.First + half.Count, Count: s.Count - half.Count}
		if err := p.read(ctx, l, half, cells); err != nil {
			return err
		}
		return p.read(ctx, l, rest, cells)
	case refused(err):
		return nil
	}
	return err
}

func (p *Probe) printBits(w io.Writer, cells []cell) error {
	for i := range cells {
		state := "not there"
		if c := &cells[i]; c.ok {
			state = fmt.Sprint(c.word) + map[bool]string{true: "  moved"}[c.moved]
		}
		fmt.Fprintf(w, "%s %d  %s\n", p.Span.Func, int(p.Span.First)+i, state)
	}
	return nil
}

func (p *Probe) print(w io.Writer, cells []cell) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REGISTER\tHEX\tU16\tI16\tTEXT\tU32\tU32 SWAPPED\tF32\tF32 SWAPPED\tLOOKS LIKE")
	for i := range cells {
		c, at := &cells[i], int(p.Span.First)+i
		if !c.ok {
			fmt.Fprintf(t, "%d 0x%04X\t\t\t\t\t\t\t\t\tnot there\n", at, at)
			continue
		}
		hint := hints(c.word)
		long := "\t\t\t"
		if i+1 < len(cells) && cells[i+1].ok {
			a, b := uint32(c.word), uint32(cells[i+1].word)
			long = fmt.Sprintf("%d\t%d\t%s\t%s", a<<16|b, b<<16|a, float(a<<16|b), float(b<<16|a))
			hint = append(hint, pairHints(c.word, cells[i+1].word)...)
		}
		if c.moved {
			hint = append(hint, "MOVED")
		}
		fmt.Fprintf(t, "%d 0x%04X\t%04X\t%d\t%d\t%s\t%s\t%s\n", at, at, c.word, c.word, int16(c.word), text(c.word), long, strings.Join(hint, "; "))
	}
	fmt.Fprintln(t, "SWAPPED is the low word first. What it looks like is a guess: compare it with the device's display, and make it move.")
	return t.Flush()
}

func float(raw uint32) string {
	return fmt.Sprintf("%.6g", math.Float32frombits(raw))
}

func text(word uint16) string {
	b := []byte{byte(word >> 8), byte(word)}
	for i := range b {
		if b[i] < ' ' || b[i] > '~' {
			b[i] = '.'
		}
	}
	return string(b)
}

// looks are readings of one register that a battery room is full of: a raw value within the bounds may be that.
var looks = [...]struct {
	lo, hi int16
	what   string
}{
	{0, 1, "a flag or state"},
	{50, 65, "Hz"},
	{500, 650, "Hz x 0.1"},
	{4900, 6100, "Hz x 0.01"},
	{10, 45, "C, % or state"},
	{100, 450, "C x 0.1"},
	{200, 900, "%RH x 0.1"},
	{1000, 4500, "C x 0.01"},
	{46, 100, "%"},
	{100, 130, "V of mains"},
	{200, 250, "V of mains"},
	{2000, 2500, "V of mains x 0.1"},
	{2500, 4250, "mV of a lithium cell"},
	{-400, -1, "below zero, x 0.1 perhaps"},
}

// hints say what one register may hold.
func hints(word uint16) (out []string) {
	switch word {
	case 0xFFFF, 0x7FFF, 0x8000:
		return []string{"often \"no value\""}
	}
	v := int16(word)
	for _, l := range looks {
		if v >= l.lo && v <= l.hi {
			out = append(out, l.what)
		}
	}
	if hi, lo := word>>8, word&0xFF; hi >= ' ' && hi <= '~' && lo >= ' ' && lo <= '~' && alpha(hi) && alpha(lo) {
		out = append(out, "text")
	}
	return out
}

func alpha(b uint16) bool { return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' }

// pairHints say whether two registers may be a float: only few of all patterns are one of a size that is measured.
// Of two registers that begin with ones, a small negative number is likely.
func pairHints(a, b uint16) (out []string) {
	if v := int32(uint32(a)<<16 | uint32(b)); v < 0 && v > -100000 {
		out = append(out, fmt.Sprintf("i32 %d", v))
	}
	if v := int32(uint32(b)<<16 | uint32(a)); v < 0 && v > -100000 {
		out = append(out, fmt.Sprintf("i32 swapped %d", v))
	}
	for _, o := range []struct {
		raw  uint32
		what string
	}{
		{uint32(a)<<16 | uint32(b), "f32"},
		{uint32(b)<<16 | uint32(a), "f32 swapped"},
		{swapBytes(a)<<16 | swapBytes(b), "f32 with bytes swapped"},
		{swapBytes(b)<<16 | swapBytes(a), "f32 with words and bytes swapped"},
	} {
		if v := math.Float32frombits(o.raw); sane(float64(v)) {
			out = append(out, fmt.Sprintf("%s %.5g", o.what, v))
		}
	}
	return out
}

func swapBytes(w uint16) uint32 { return uint32(w>>8 | w<<8) }

func sane(v float64) bool { return math.Abs(v) >= 0.01 && math.Abs(v) <= 100000 }
