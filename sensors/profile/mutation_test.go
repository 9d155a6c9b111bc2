package profile

import (
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"firebreak/sensors"
)

// mutant is one profile with one fault that a typist makes.
type mutant struct {
	what  string
	spoil func(c *Channel)
}

// mutants are the faults that are possible in c: a wrong word order, scale, offset, sign, bit or address, and
// a sentinel or gate that was forgotten.
func mutants(c *Channel) (ms []mutant) {
	if c.Type.Words() == 2 {
		ms = append(ms, mutant{"word order", func(c *Channel) { c.Swapped = !c.Swapped }})
	}
	if c.Kind == sensors.Measurement {
		ms = append(ms, mutant{"scale", func(c *Channel) { c.Scale *= 10 }}, mutant{"scale sign", func(c *Channel) { c.Scale = -c.Scale }},
			mutant{"offset", func(c *Channel) { c.Offset++ }})
		if c.Min != c.Max {
			ms = append(ms, mutant{"upper end of the range", func(c *Channel) { c.Max = math.Nextafter(c.Min, c.Max) }})
		}
	}
	if c.Kind == sensors.Binary {
		ms = append(ms, mutant{"inversion", func(c *Channel) { c.Invert = !c.Invert }})
	}
	if bits.OnesCount32(c.Mask) == 1 {
		ms = append(ms, mutant{"bit", func(c *Channel) { c.Mask = bits.RotateLeft32(c.Mask, 1) }})
	}
	if c.Variable != "" {
		ms = append(ms, mutant{"object", func(c *Channel) { c.Variable += ".9" }})
	}
	if c.Word != "" {
		ms = append(ms, mutant{"word", func(c *Channel) { c.Word += "99" }})
	}
	if len(c.None) > 0 {
		ms = append(ms, mutant{"words for no value", func(c *Channel) { c.None = nil }})
	}
	for i := range c.Sentinels {
		ms = append(ms, mutant{fmt.Sprintf("no sentinel 0x%X", c.Sentinels[i]), func(c *Channel) {
			c.Sentinels = slices.Delete(slices.Clone(c.Sentinels), i, i+1)
		}})
	}
	for i := range c.Gates {
		ms = append(ms, mutant{fmt.Sprintf("no gate %d", i+1), func(c *Channel) {
			c.Gates = slices.Delete(slices.Clone(c.Gates), i, i+1)
		}})
	}
	return ms
}

// harmless are faults that change nothing that a case could see, each with the reason.
func harmless() map[string]string {
	return map[string]string{
		"alarmline heat.alarm.*: no sentinel 0xFFFF": "its gate on the distance makes the same number bad for the same reason",
	}
}

// A profile with one fault is found by its own recorded cases. Chips whose driver converts have their cases
// in sensors/i2c, and no layout in the profile that could be wrong.
func TestMutants(t *testing.T) {
	excused := harmless()
	total := 0
	for _, p := range shipped(t) {
		cases := casesOf(t, p.Name)
		for i := range p.Channels {
			if len(cases) == 0 {
				break
			}
			if slices.ContainsFunc(p.Channels[:i], func(c Channel) bool { return written(&c) == written(&p.Channels[i]) }) {
				continue
			}
			whole := slices.Clone(p.Channels)
			for _, m := range mutants(&whole[i]) {
				total++
				for j := i; j < len(p.Channels); j++ {
					if written(&whole[j]) == written(&whole[i]) {
						m.spoil(&p.Channels[j])
					}
				}
				red := found(p, cases, whole[i].Name)
				copy(p.Channels, whole)
				name := p.Name + " " + written(&whole[i]) + ": " + m.what
				_, excuse := excused[name]
				delete(excused, name)
				if red == excuse {
					t.Errorf("%s: found by a case: %v, excused: %v", name, red, excuse)
				}
			}
		}
	}
	for _, p := range shipped(t) {
		total += identityMutants(t, p)
	}
	for name := range excused {
		t.Errorf("%q is excused and is no fault of a shipped profile", name)
	}
	t.Logf("%d mutants", total)
	if total < 1800 {
		t.Errorf("only %d mutants: the profiles had 1854 when this was written", total)
	}
}

// identityMutants are the faults of who answers: a check that was forgotten, or that allows one value less or another. An
// optional check may be passed over, and is looked at all the same where the registers are there.
func identityMutants(t *testing.T, p *Profile) (total int) {
	cases, whole := casesOf(t, p.Name), p.Identity
	defer func() { p.Identity = whole }()
	try := func(what string, spoiled []Check) {
		total++
		p.Identity = spoiled
		if !slices.ContainsFunc(cases, func(c string) bool { return len(p.Cases("", c).Wrong) > 0 }) {
			t.Errorf("%s: %s is found by no case", p.Name, what)
		}
	}
	for i := range whole {
		c := &whole[i]
		try(fmt.Sprintf("without the check %q", c), slices.Delete(slices.Clone(whole), i, i+1))
		spoil := func(what string, f func(c *Check)) {
			m := slices.Clone(whole)
			f(&m[i])
			try(fmt.Sprintf("%s in the check %q", what, c), m)
		}
		for k := range c.Texts {
			spoil("one text less", func(c *Check) { c.Texts = slices.Delete(slices.Clone(c.Texts), k, k+1) })
		}
		if len(c.OneOf) > 1 {
			for k := range c.OneOf {
				spoil("one value less", func(c *Check) { c.OneOf = slices.Delete(slices.Clone(c.OneOf), k, k+1) })
				if more := c.OneOf[k].Max + 1; slices.ContainsFunc(c.OneOf, func(b Band) bool { return b.Min <= more && more <= b.Max }) {
					continue // it is allowed by another
				}
				spoil("one value more", func(c *Check) { c.OneOf = slices.Clone(c.OneOf); c.OneOf[k].Max++ })
			}
		}
		for k := range c.Want {
			spoil("another word", func(c *Check) { c.Want = slices.Clone(c.Want); c.Want[k]++ })
		}
		if c.Field != "" {
			spoil("another field", func(c *Check) { c.Field += "0" })
		}
		if c.Func == Identification {
			spoil("another object", func(c *Check) { c.Object++ })
		}
	}
	return total
}

// written is the name as the profile writes it: the elements of an array come from one table, and are wrong together.
func written(c *Channel) string {
	parts := strings.Split(c.Name, ".")
	for i, p := range parts {
		if i > 0 && strings.Trim(p, "0123456789") == "" {
			parts[i] = "*"
		}
	}
	return strings.Join(parts, ".")
}

func casesOf(t *testing.T, name string) (cases []string) {
	t.Helper()
	files, _ := filepath.Glob("testdata/" + name + "/*.txt")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, strings.Split(string(text), "---\n")...)
	}
	slices.SortStableFunc(cases, func(a, b string) int { return len(a) - len(b) }) // the short ones are the quick ones
	return cases
}

// found tells whether any case fails with p. Those that speak of the spoiled channel are tried first.
func found(p *Profile, cases []string, name string) bool {
	for _, speaks := range []bool{true, false} {
		for _, c := range cases {
			if strings.Contains(c, "want "+name+" ") != speaks {
				continue
			}
			if len(p.Cases("", c).Wrong) > 0 {
				return true
			}
		}
	}
	return false
}
