package profile

import (
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// testdata/tables holds maps of devices once more, typed from the documents by their own numbers and not from the profiles.
// Each line is a register that a channel of the profile must have as it stands there, or that is left out with a reason; and
// no channel may lie elsewhere.
//
//	base holding 10000          added to the addresses below
//	1000 u16 0.1 V none 0x7FFF  address, type, and of a measurement scale, offset when there is one, and unit
//	40156 bit 3                 a bit of it
//	0x48 out                    left out
func TestRetypedTables(t *testing.T) {
	files, _ := filepath.Glob("testdata/tables/*.txt")
	if len(files) < 8 {
		t.Errorf("only %d tables", len(files))
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		t.Run(name, func(t *testing.T) {
			var p *Profile
			for _, q := range shipped(t) {
				if q.Name == name {
					p = q
				}
			}
			text, err := os.ReadFile(f)
			if err != nil || p == nil {
				t.Fatalf("no such profile, or no table: %v", err)
			}
			wanted, out := retyped(t, string(text))
			have := map[string]bool{}
			for i := range p.Channels {
				c := &p.Channels[i]
				have[retypedForm(c)] = true
				if !wanted[retypedForm(c)] {
					t.Errorf("%s is %q, and that is not in the table", c.Name, retypedForm(c))
				}
				if c.Mask == 0 && out[fmt.Sprintf("%s 0x%04X", c.Func, c.Address)] {
					t.Errorf("%s is said to be left out", c.Name)
				}
			}
			for w := range wanted {
				if !have[w] {
					t.Errorf("no channel is %q", w)
				}
			}
		})
	}
}

// retypedForm is a channel as a line of a table that has its base added.
func retypedForm(c *Channel) string {
	s := fmt.Sprintf("%s 0x%04X %s", c.Func, c.Address, c.Type)
	switch {
	case c.Mask != 0 && bits.OnesCount32(c.Mask) == 1:
		s += fmt.Sprintf(" bit %d", bits.TrailingZeros32(c.Mask))
	case c.Mask != 0:
		s += fmt.Sprintf(" mask 0x%04X", c.Mask)
	case c.Unit != "" || c.Scale != 1:
		s += fmt.Sprintf(" %g", c.Scale)
		if c.Offset != 0 {
			s += fmt.Sprintf(" %+g", c.Offset)
		}
		s = strings.TrimSpace(s + " " + string(c.Unit))
	}
	if c.Swapped {
		s += " swapped"
	}
	for i, n := range c.Sentinels {
		s += fmt.Sprintf("%s 0x%X", map[bool]string{true: " none"}[i == 0], n)
	}
	return s
}

func retyped(t *testing.T, text string) (wanted, out map[string]bool) {
	wanted, out = map[string]bool{}, map[string]bool{}
	table, base := "", int64(0)
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		last := f[len(f)-1]
		number := f[0]
		if f[0] == "base" && len(f) == 3 {
			table, number = f[1], f[2]
		}
		v, err := strconv.ParseInt(number, 0, 32)
		if err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		if f[0] == "base" {
			base = v
			continue
		}
		place := fmt.Sprintf("%s 0x%04X", table, base+v)
		if last == "out" {
			out[place] = out[place] || len(f) == 2
			continue
		}
		if f[1] == "bit" || f[1] == "mask" {
			f[1] = "u16 " + f[1]
		}
		if k := len(f) - 1; f[k-1] == "mask" || f[k-1] == "u16 mask" {
			m, err := strconv.ParseUint(f[k], 0, 32)
			if err != nil || bits.OnesCount64(m) == 0 {
				t.Fatalf("line %d: %v", n+1, err)
			}
			if bits.OnesCount64(m) == 1 {
				f[k-1], f[k] = strings.Replace(f[k-1], "mask", "bit", 1), fmt.Sprint(bits.TrailingZeros64(m))
			}
		}
		wanted[place+" "+strings.Join(f[1:], " ")] = true
	}
	return wanted, out
}
