package profile

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Identification is function 0x2B with MEI type 0x0E, "read device identification": it reads, as functions
// 1 to 4 do. A Span of it holds the read code in the high byte of First, the first object in the low byte.
const Identification Function = 0x2B

// IdentificationParts are the requests that one list of objects may take: one that does not end tells nobody's
// identity.
const IdentificationParts = 4

// Check is one test that the expected device answers: registers with known content, or an object of its
// identification.
type Check struct {
	Span
	Want   []uint16 // expected words; nil: OneOf
	OneOf  []Band   // every word lies within one of them
	Object byte     // of an Identification: the one that is looked at
	Field  string   // of its text "1=UPS2000;2=V1": the part that is looked at; empty: the whole
	Texts  []string // what it may be, byte for byte
	// The device may answer "illegal address", or that it does not know the function.
	Optional bool
}

// Band is a range of words, both ends in it.
type Band struct{ Min, Max uint16 }

// Matches tells whether words are what the check expects.
func (c *Check) Matches(words []uint16) bool {
	if len(words) != int(c.Count) {
		return false
	}
	for i, w := range words {
		if c.Want != nil && w != c.Want[i] || c.Want == nil && !slices.ContainsFunc(c.OneOf, func(b Band) bool { return w >= b.Min && w <= b.Max }) {
			return false
		}
	}
	return true
}

// Names tells whether the objects of an identification are what the check expects.
func (c *Check) Names(objects map[byte][]byte) bool {
	text, ok := objects[c.Object]
	if !ok {
		return false
	}
	s := string(text)
	if c.Field != "" {
		if s, ok = field(s, c.Field); !ok {
			return false
		}
	}
	return slices.Contains(c.Texts, s)
}

// field is the value of name in "1=UPS2000;2=V1". One that is there twice is none.
func field(s, name string) (value string, ok bool) {
	for _, part := range strings.Split(s, ";") {
		if k, v, is := strings.Cut(part, "="); is && k == name {
			if ok {
				return "", false
			}
			value, ok = v, true
		}
	}
	return value, ok
}

// Says is what a simulated device shows in the object of c.
func (c *Check) Says() []byte {
	if c.Field == "" {
		return []byte(c.Texts[0])
	}
	return []byte(c.Field + "=" + c.Texts[0])
}

// String says what is expected and where.
func (c *Check) String() string {
	switch {
	case c.Func == Identification:
		s := fmt.Sprintf("identification object 0x%02X", c.Object)
		if c.Field != "" {
			s += fmt.Sprintf(" field %s", c.Field)
		}
		return fmt.Sprintf("%s is one of %q", s, c.Texts)
	case c.Want != nil:
		return fmt.Sprintf("%s %d+%d = %#04x", c.Func, c.First, c.Count, c.Want)
	}
	var bands []string
	for _, b := range c.OneOf {
		if b.Min == b.Max {
			bands = append(bands, fmt.Sprint(b.Min))
		} else {
			bands = append(bands, fmt.Sprintf("%d to %d", b.Min, b.Max))
		}
	}
	return fmt.Sprintf("%s %d+%d is %s", c.Func, c.First, c.Count, strings.Join(bands, " or "))
}

// Questions are the reads that the checks need, each once: several may look at one identification.
func (p *Profile) Questions() (out []Span) {
	for i := range p.Identity {
		if s := p.Identity[i].Span; s.Func != Identification || !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Objects are those that the checks look at in the identification s.
func (p *Profile) Objects(s Span) (out []byte) {
	for i := range p.Identity {
		if c := &p.Identity[i]; c.Span == s {
			out = append(out, c.Object)
		}
	}
	return out
}

// check reads one [[identity]].
func check(t *table, p *Profile) Check {
	if t.vals["function"] == "identification" && p.Bus == Modbus {
		t.used["function"] = true
		return identification(t)
	}
	c := Check{Span: span(t, p), Optional: t.boolean("optional")}
	for _, w := range t.integers("want", 0, 0xFFFF) {
		c.Want = append(c.Want, uint16(w))
	}
	c.OneOf = bands(t)
	n := count(t.has("want"), t.has("one_of"), t.has("min") || t.has("max"))
	if lo, hi := uint16(t.integer("min", 0, 0xFFFF, 0)), uint16(t.integer("max", 0, 0xFFFF, 0xFFFF)); t.has("min") || t.has("max") {
		c.OneOf = append(c.OneOf, Band{lo, hi})
	}
	switch {
	case p.other():
		t.fault("function", "identity is for Modbus; the driver of the chip checks its id register")
	case c.Count > maxWords:
		t.fault("count", "one identity check reads at most %d registers", maxWords)
	case c.Want != nil && len(c.Want) != int(c.Count):
		t.fault("want", "want has %d words, count is %d", len(c.Want), c.Count)
	case n != 1 || c.Want == nil && len(c.OneOf) == 0:
		t.fault("want", "say what is expected, in one way: want = [...], one_of = [...], or min and max")
	}
	for _, b := range c.OneOf {
		if b.Min > b.Max {
			t.fault("min", "min is above max: nothing can match")
		}
	}
	t.done()
	return c
}

// bands reads one_of = [130, [515, 516]].
func bands(t *table) (out []Band) {
	list, _ := get[[]any](t, "one_of", "a list of words, and of ranges such as [515, 516]")
	for _, v := range list {
		ends, ok := v.([]any)
		if !ok {
			ends = []any{v, v}
		}
		b, ok := band(ends)
		if !ok {
			t.fault("one_of", "one_of must hold words from 0 to 65535, and ranges of them such as [515, 516], not %v", v)
			continue
		}
		out = append(out, b)
	}
	return out
}

func band(ends []any) (b Band, ok bool) {
	if len(ends) != 2 {
		return b, false
	}
	lo, okLo := ends[0].(int64)
	hi, okHi := ends[1].(int64)
	if !okLo || !okHi || lo < 0 || hi > 0xFFFF || lo > hi {
		return b, false
	}
	return Band{uint16(lo), uint16(hi)}, true
}

// identification reads a check of function 0x2B.
func identification(t *table) Check {
	c := Check{Optional: t.boolean("optional"), Field: t.str("field")}
	c.Object = byte(t.integer("object", 0, 0xFF, 0))
	from := byte(t.integer("from", 0, 0xFF, int64(c.Object)))
	// The read code tells which class of objects is asked for: basic, regular or extended (Modbus application
	// protocol 1.1b3, 6.21).
	class := func(object byte) uint16 {
		switch {
		case object < 0x03:
			return 1
		case object < 0x80:
			return 2
		}
		return 3
	}
	c.Span = Span{Identification, class(c.Object)<<8 | uint16(from), 1}
	if c.Texts = t.texts("text"); t.has("bytes") {
		for _, h := range t.texts("bytes") {
			b, err := hex.DecodeString(strings.ReplaceAll(h, " ", ""))
			if err != nil || len(b) == 0 {
				t.fault("bytes", "bytes must hold texts of hexadecimal digits such as \"00 00 00 01\", not %q", h)
			}
			c.Texts = append(c.Texts, string(b))
		}
	}
	t.used["bytes"] = true
	switch {
	case !t.has("object"):
		t.fault("object", "object (0 vendor, 1 product code, 2 revision, 0x80 and above the device's own) is needed")
	case t.has("text") == t.has("bytes") || len(c.Texts) == 0:
		t.fault("text", "say what is expected, in one way: text = [\"UPS2000\", ...] or bytes = [\"00 00 00 01\", ...]")
	case from > c.Object:
		t.fault("from", "the list of objects begins at %d: it would not hold object %d", from, c.Object)
	case class(from) != class(c.Object):
		t.fault("from", "object %d is of another class than %d: the list begins within the class", from, c.Object)
	}
	t.done()
	return c
}
