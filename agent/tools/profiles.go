package tools

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"text/tabwriter"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// ListProfiles prints one line a profile.
func ListProfiles(w io.Writer, l Library) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var bad []string
	fmt.Fprintln(t, "NAME\tBUS\tPOINTS\tIDENTITY\tCONFIRMED\tWHAT IT IS")
	for _, n := range l.Names() {
		p, _, err := l.Load(n)
		if err != nil {
			bad = append(bad, err.Error())
			continue
		}
		identity, confirmed := "none", "by its source"
		if p.Bus == profile.I2C {
			identity = "by its driver"
		} else if len(p.Identity) > 0 || len(p.SNMP.Systems) > 0 {
			identity = "checked"
		}
		switch {
		case p.Template != "":
			identity, confirmed = "template", "nothing yet"
		case p.Unverified != "":
			confirmed = "not all"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\n", p.Name, p.Bus, len(p.Channels), identity, confirmed, p.Title)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if bad != nil {
		return fmt.Errorf("these have faults:\n%s", strings.Join(bad, "\n"))
	}
	return nil
}

// ShowProfile prints what a profile says, with the requests that a poll of it makes.
func ShowProfile(w io.Writer, p *profile.Profile) error {
	fmt.Fprintf(w, "%s: %s (%s), %s\nsource: %s\n", p.Name, p.Title, p.Maker, p.Bus, p.Source)
	if p.Unverified != "" {
		fmt.Fprintf(w, "NOT CONFIRMED: %s\n", p.Unverified)
	}
	if p.Template != "" {
		fmt.Fprintf(w, "TEMPLATE: copy it into a directory of your own, and fill in %s\n", p.Template)
	}
	if p.Read.ReplyUnit != 0 {
		fmt.Fprintf(w, "answers under its unit number %+d\n", p.Read.ReplyUnit)
	}
	for i := range p.Identity {
		fmt.Fprintf(w, "identity: %s\n", &p.Identity[i])
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nPOINT\tREGISTER\tFORM\tUNIT\tPHYSICS\tHAZARD\tRANGE\tLAG\tNOTE")
	for i := range p.Channels {
		c := &p.Channels[i]
		place := fmt.Sprintf("%s %d", c.Func, c.Address)
		if c.Variable != "" {
			place = c.Variable
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Name, place, form(c), c.Unit, c.Physics, toward(c.Hazard), span(c), c.Lag, notes(p, c))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if p.Bus == profile.Modbus && p.Template == "" {
		fmt.Fprintln(w, "\na poll of all points is:")
		for _, b := range p.Plan() {
			fmt.Fprintf(w, "  %s %d+%d (0x%04X): %d points\n", b.Func, b.First, b.Count, b.First, len(b.Items))
		}
	}
	for _, c := range p.Commands {
		fmt.Fprintf(w, "command %s: function %d, %s %d = %d, %s\n", c.Name, c.Code(), c.Func, c.Address, c.Values, c.Direction)
	}
	return nil
}

func form(c *profile.Channel) string {
	s := c.Type.String()
	switch {
	case c.Word != "":
		s = "word " + c.Word
	case c.Variable != "":
		s = "number"
	}
	if c.Swapped {
		s += " swapped"
	}
	if c.Mask != 0 {
		s += fmt.Sprintf(" mask %#x", c.Mask)
	}
	if c.Invert {
		s += " inverted"
	}
	if c.Kind == sensors.Measurement && c.Scale != 1 {
		s += fmt.Sprintf(" x %g", c.Scale)
	}
	if c.Offset != 0 {
		s += fmt.Sprintf(" %+g", c.Offset)
	}
	return s
}

func toward(h int8) string {
	return [...]string{"falls", "", "rises"}[max(-1, min(1, h))+1]
}

func span(c *profile.Channel) string {
	if c.Min == c.Max {
		return ""
	}
	return fmt.Sprintf("%g..%g", c.Min, c.Max)
}

func notes(p *profile.Profile, c *profile.Channel) string {
	var n []string
	if len(c.Sentinels) > 0 {
		n = append(n, fmt.Sprintf("none = %#x", c.Sentinels))
	}
	for _, g := range c.Gates {
		n = append(n, "gated by "+p.Channels[g.Channel].Name)
	}
	if c.Unverified != "" {
		n = append(n, "NOT CONFIRMED: "+c.Unverified)
	}
	return strings.Join(n, "; ")
}

// TestProfile runs the recorded cases of a profile, and what else can be said of it without a device. It
// prints what it did, and returns what is wrong.
func TestProfile(w io.Writer, p *profile.Profile, cases fs.FS, files []string) (wrong []string) {
	if len(files) == 0 {
		files = profile.CaseFiles(cases, p.Name)
	}
	if p.Template != "" {
		fmt.Fprintf(w, "%s: a template, there is nothing to test: fill in %s\n", p.Name, p.Template)
		return nil
	}
	wrong = append(wrong, roundTrip(p)...)
	seen, n := map[string]bool{}, 0
	for _, f := range files {
		text, err := fs.ReadFile(cases, f)
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		o := p.Cases(f, string(text))
		n += o.Cases
		wrong = append(wrong, o.Wrong...)
		for k := range o.Seen {
			seen[k] = true
		}
	}
	fmt.Fprintf(w, "%s: %d points, %d recorded cases\n", p.Name, len(p.Channels), n)
	switch missing := p.Untold(seen); {
	case p.Bus == profile.I2C && len(files) == 0:
		fmt.Fprintln(w, "a chip: its driver converts, and is tested with the bytes of its wire when the agent is built (sensors/i2c/testdata)")
	case len(files) == 0:
		wrong = append(wrong, fmt.Sprintf("%s: no recorded case: write registers and what must come of them into %s", p.Name, path.Join(p.Name, "NAME.txt")))
	case len(missing) > 0:
		wrong = append(wrong, fmt.Sprintf("%s: in no recorded case: %s", p.Name, strings.Join(missing, ", ")))
	}
	if p.Unverified != "" {
		fmt.Fprintf(w, "NOT CONFIRMED: %s\n", p.Unverified)
	}
	return wrong
}

// roundTrip writes values of each channel into registers as a device would and reads them back: a range
// that the registers cannot hold, or a value that reads as none, shows here.
func roundTrip(p *profile.Profile) (wrong []string) {
	if p.Bus == profile.I2C || p.Bus == profile.NUT || p.Bus == profile.SNMP {
		return nil
	}
	for i := range p.Channels {
		c := &p.Channels[i]
		if c.Kind != sensors.Measurement || c.Min == c.Max {
			continue
		}
		for _, v := range []float64{c.Min, c.Max, (c.Min + c.Max) / 2} {
			words := make([]uint16, c.Type.Words())
			c.Encode(v, words)
			got, q := c.Decode(words)
			if !q.Usable() || math.Abs(got-v) > math.Max(math.Abs(c.Scale), 1e-5*math.Abs(c.Max)) {
				wrong = append(wrong, fmt.Sprintf("%s: point %s cannot hold %g %s of its range: it reads %g, %s: look at type, scale and sentinels", p.Name, c.Name, v, c.Unit, got, q))
			}
		}
	}
	return wrong
}
