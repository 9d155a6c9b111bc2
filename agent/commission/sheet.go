package commission

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Site is what stands at the head of a sheet.
type Site struct {
	Site, Zone, Agent, Hash, Version string
	Consumers                        []string
}

// Sheet writes the acceptance sheet: what was proven, by whom and when, what was not and why, and what a person
// still has to sign for.
func Sheet(w io.Writer, s Site, by string, at time.Time, results []Result) error {
	proven := 0
	var b strings.Builder
	for i := range results {
		r := &results[i]
		state, when, what := "**not proven**", "", cell(r.Why)
		if r.Proven {
			proven++
			state, when, what = "proven", r.At.Format(time.DateTime), r.moved()
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Point, r.Physics, cell(r.Serial), state, what, when)
	}
	_, err := fmt.Fprintf(w, `# Acceptance sheet

Site %s, zone %s, agent %s, firebreak %s, configuration %s.
%s, by %s. %d of %d points proven.

| point | physics | serial number | result | what was seen | when |
|---|---|---|---|---|---|
%s
To be done by a person, and signed:

- [ ] each sensor bears the name of its point, and stands where its zone says
- [ ] each supply of a bus was switched off once, and the alarm that names it came
- [ ] each line was pulled once, and its loss/bus alarm came within loss_persist
- [ ] the fire panel's own detectors, alarms and extinguishing work with this agent switched off
- [ ] consumers have shown an alarm of this agent: %s
- [ ] each plan was drilled, and its report is good
- [ ] what each step does has been agreed with who owns the load

Firebreak is not a fire alarm, gas-detection or extinguishing-control system, and replaces none. This sheet is no proof of safety.

Name, date, signature: ______________________________
`, s.Site, s.Zone, s.Agent, s.Version, s.Hash, at.Format(time.DateTime), by, proven, len(results), b.String(), orNone(s.Consumers))
	return err
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none is named in the configuration"
	}
	return strings.Join(names, ", ")
}

// cell keeps a text within one cell of the table.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "/")
}
