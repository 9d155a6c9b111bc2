package profile

import (
	"fmt"
	"math/bits"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The table of a note has one row for each channel, with where and how it lies in the registers, and no other:
// a register that is corrected in one of the two fails here.
func TestNoteTables(t *testing.T) {
	const head = "| channel | table | address | form | meaning |\n|---|---|---|---|---|\n"
	for _, p := range shipped(t) {
		if p.Bus != Modbus {
			continue
		}
		note, err := os.ReadFile("../../firmware-notes/" + p.Name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		_, table, ok := strings.Cut(string(note), head)
		if !ok {
			t.Errorf("firmware-notes/%s.md lacks the table with the head\n%s", p.Name, head)
			continue
		}
		table, _, _ = strings.Cut(table, "\n\n")
		rows := unrolled(strings.Split(table, "\n"))
		if len(rows) != len(p.Channels) {
			t.Errorf("the table of firmware-notes/%s.md has %d rows for %d channels", p.Name, len(rows), len(p.Channels))
		}
		for i := range p.Channels {
			c := &p.Channels[i]
			row := fmt.Sprintf("| `%s` | %s | %d | %s | ", c.Name, c.Func, c.Address, form(c))
			if !slices.ContainsFunc(rows, func(r string) bool { return strings.HasPrefix(r, row) }) {
				t.Errorf("the table of firmware-notes/%s.md lacks the row\n%s", p.Name, row)
			}
		}
	}
}

// unrolled replaces the row of an array, such as "| `module.*.temperature`, 1 to 16 | holding | 11264 to 11279 | ...",
// by those of its elements, so that a page stays readable.
func unrolled(rows []string) (out []string) {
	array := regexp.MustCompile("^\\| `([^`]*)\\*([^`]*)`, (\\d+) to (\\d+) \\| (\\w+) \\| (\\d+) to (\\d+) (\\|.*)$")
	for _, r := range rows {
		m := array.FindStringSubmatch(r)
		if m == nil {
			out = append(out, r)
			continue
		}
		var n [4]int // first and last number, first and last address
		for i, s := range []string{m[3], m[4], m[6], m[7]} {
			n[i], _ = strconv.Atoi(s)
		}
		if n[1] <= n[0] || (n[3]-n[2])%(n[1]-n[0]) != 0 {
			out = append(out, r)
			continue
		}
		for i := range n[1] - n[0] + 1 {
			out = append(out, fmt.Sprintf("| `%s%d%s` | %s | %d %s", m[1], n[0]+i, m[2], m[5], n[2]+i*(n[3]-n[2])/(n[1]-n[0]), m[8]))
		}
	}
	return out
}

// The row of an array stands for its elements and no others.
func TestNoteRowOfArray(t *testing.T) {
	got := unrolled([]string{"| `a.*.b`, 3 to 5 | input | 10 to 14 | u32 | x |", "| `c` | input | 1 | u16 | y |", "| `d.*`, 1 to 3 | input | 10 to 13 | u16 | uneven |"})
	want := []string{"| `a.3.b` | input | 10 | u32 | x |", "| `a.4.b` | input | 12 | u32 | x |", "| `a.5.b` | input | 14 | u32 | x |", "| `c` | input | 1 | u16 | y |", "| `d.*`, 1 to 3 | input | 10 to 13 | u16 | uneven |"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// form is how a note writes what the register holds: "i16 x 0.1 C, none 0x8000".
func form(c *Channel) string {
	s := c.Type.String()
	if c.Swapped {
		s += " swapped"
	}
	if bits.OnesCount32(c.Mask) == 1 {
		s += fmt.Sprintf(" bit %d", bits.TrailingZeros32(c.Mask))
	} else if c.Mask != 0 {
		s += fmt.Sprintf(" mask 0x%X", c.Mask)
	}
	if c.Invert {
		s += " inverted"
	}
	if c.Scale != 1 {
		s += fmt.Sprintf(" x %g", c.Scale)
	}
	if c.Offset != 0 {
		s += fmt.Sprintf(" %+g", c.Offset)
	}
	if c.Unit != "" {
		s += " " + string(c.Unit)
	}
	for i, raw := range c.Sentinels {
		s += fmt.Sprintf("%s 0x%X", map[bool]string{true: ", none", false: ""}[i == 0], raw)
	}
	return s
}

// The same of a UPS behind an upsd: which variable is what.
func TestNoteTablesOfUPSes(t *testing.T) {
	for _, p := range shipped(t) {
		if p.Bus != NUT {
			continue
		}
		note, err := os.ReadFile("../../firmware-notes/" + p.Name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		_, table, _ := strings.Cut(string(note), "| channel | variable | form | meaning |\n|---|---|---|---|\n")
		table, _, _ = strings.Cut(table, "\n\n")
		if n := strings.Count(table, "\n") + 1; n != len(p.Channels) {
			t.Errorf("the table of firmware-notes/%s.md has %d rows for %d channels", p.Name, n, len(p.Channels))
		}
		for i := range p.Channels {
			c := &p.Channels[i]
			what := "word " + c.Word
			if c.Word == "" {
				what = strings.TrimSpace("number " + string(c.Unit))
			}
			if row := fmt.Sprintf("| `%s` | `%s` | %s | ", c.Name, c.Variable, what); !strings.Contains("\n"+table, "\n"+row) {
				t.Errorf("the table of firmware-notes/%s.md lacks the row\n%s", p.Name, row)
			}
		}
	}
}

// The same of an SNMP agent: which object is what.
func TestNoteTablesOfObjects(t *testing.T) {
	for _, p := range shipped(t) {
		if p.Bus != SNMP {
			continue
		}
		note, err := os.ReadFile("../../firmware-notes/" + p.Name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		_, table, _ := strings.Cut(string(note), "| channel | object | form | meaning |\n|---|---|---|---|\n")
		table, _, _ = strings.Cut(table, "\n\n")
		if n := strings.Count(table, "\n") + 1; n != len(p.Channels) {
			t.Errorf("the table of firmware-notes/%s.md has %d rows for %d channels", p.Name, n, len(p.Channels))
		}
		for i := range p.Channels {
			c := &p.Channels[i]
			if row := fmt.Sprintf("| `%s` | `%s` | %s | ", c.Name, c.Variable, objectForm(c)); !strings.Contains("\n"+table, "\n"+row) {
				t.Errorf("the table of firmware-notes/%s.md lacks the row\n%s", p.Name, row)
			}
		}
	}
}

// objectForm is how a note writes what an object holds: "number x 0.1 V", "number 5 of 1 to 7", "row OID of OID".
func objectForm(c *Channel) string {
	switch {
	case c.Rows != "":
		return "row " + c.Word + " of " + c.Rows
	case c.Word != "":
		return fmt.Sprintf("number %s of %d to %d", c.Word, c.Enum[0], c.Enum[1])
	}
	s := map[bool]string{true: "text", false: "number"}[c.Digits]
	if c.Scale != 1 {
		s += fmt.Sprintf(" x %g", c.Scale)
	}
	if c.Offset != 0 {
		s += fmt.Sprintf(" %+g", c.Offset)
	}
	if c.Unit != "" {
		s += " " + string(c.Unit)
	}
	if len(c.None) > 0 {
		s += ", none " + strings.Join(c.None, " ")
	}
	return s
}
