package profile

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"firebreak/sensors"
)

// statusVariable is where a word stands that no other variable is named for.
const statusVariable = "ups.status"

func variableForm() *regexp.Regexp {
	return regexp.MustCompile(`^[A-Za-z0-9]+([-_.][A-Za-z0-9]+)*$`)
}

// text reads which variable of a UPS a channel is, and as what.
func (p *Profile) text(t *table, c *Channel) {
	c.Variable, c.Word = t.str("variable"), t.str("word")
	c.None = t.texts("none")
	if p.Bus == SNMP {
		return // see object
	}
	if p.Bus != NUT {
		for _, k := range []string{"variable", "word", "none"} {
			if t.has(k) {
				t.fault(k, "%s belongs to what is read through NUT or SNMP: bus = \"nut\" or \"snmp\"", k)
			}
		}
		c.Variable = ""
		return
	}
	for _, k := range []string{"address", "type", "word_order", "bit", "mask", "sentinels", "binary_point", "zeros", "panel", "count"} {
		if t.has(k) {
			t.fault(k, "%s is for registers and contacts: a variable of a UPS is a number, or words", k)
		}
	}
	if c.Word != "" {
		c.Type = Bool
		if c.Variable == "" {
			c.Variable = statusVariable
		}
	}
	switch {
	case c.Variable == "":
		t.fault("variable", "say which variable of the UPS: variable = \"battery.temperature\", or word = \"OB\" of %s", statusVariable)
		c.Variable = "missing"
	case !variableForm().MatchString(c.Variable):
		t.fault("variable", "variable %q is no name of a NUT variable, such as \"battery.charge\"", c.Variable)
	case strings.ContainsAny(c.Word, " \t"):
		t.fault("word", "word %q: one word, without blanks", c.Word)
	}
}

// Text is the channel's raw value among the variables of a UPS. One that the UPS does not have is no
// value of this point, and not a loss of the device.
func (c *Channel) Text(vars map[string]string) Raw {
	v, ok := vars[c.Variable]
	if !ok {
		return Raw{Fail: sensors.Sentinel}
	}
	return Raw{Text: v}
}

// DecodeText turns the text of a variable into a value in the channel's unit. No text, and a word of None,
// is no value; what is no plain number (NUT has no exponents) is implausible. A status without
// a single word says nothing, least of all that all is well.
func (c *Channel) DecodeText(s string) (float64, sensors.Quality) {
	words := strings.Fields(s)
	if len(words) == 0 || slices.ContainsFunc(words, func(w string) bool { return slices.Contains(c.None, w) }) {
		return 0, sensors.BadQuality(c.SentinelReason)
	}
	if !c.plausible(words) {
		return 0, sensors.BadQuality(sensors.Implausible)
	}
	if c.Word != "" {
		if slices.Contains(words, c.Word) != c.Invert {
			return 1, sensors.GoodQuality
		}
		return 0, sensors.GoodQuality
	}
	if strings.Trim(words[0], "+-.0123456789") != "" || len(words) > 1 {
		return 0, sensors.BadQuality(sensors.Implausible)
	}
	v, err := strconv.ParseFloat(words[0], 64)
	if err != nil {
		return 0, sensors.BadQuality(sensors.Implausible)
	}
	return v*c.Scale + c.Offset, sensors.GoodQuality
}
