package config

import (
	"strings"
	"testing"
)

// Contacts of a fire panel at a Modbus board are what the pack for fire panels looks for: supervised (S23), and the alarm of a
// cross-zoned panel counts as two members of two kinds (S5), so that it opens stage 3 alone.
func TestFirePanelAtABoard(t *testing.T) {
	room := packRoom{devices: "panel-1=fire-panel-di@line panel-2=fire-panel-di@a ", stages: map[string]string{"1": "panel-warn", "3": "panel-alarm"}}
	c := mustParse(t, "f", room.config("fire-panel", ""), packKinds(t))
	out := string(report(t, c))
	_, quiet, _ := strings.Cut(out, "detectors that only raise alarms")
	quiet, _, _ = strings.Cut(quiet, "votes within")
	for where, wants := range map[string][]string{
		out:   {"panel-alarm          any of panel-1.panel.alarm, panel-2.panel.alarm is true, for 1s", "accepted       device panel-1 (or bus line, or supply C) opens it: a supervised contact of the fire panel"},
		quiet: {"panel-1.panel.trouble", "panel-1.panel.supervisory"},
	} {
		for _, want := range wants {
			if !strings.Contains(where, want) {
				t.Errorf("check does not say %q:\n%s", want, where)
			}
		}
	}
	if notes := c.bareContacts(); notes != nil {
		t.Errorf("contacts that are supervised: %q", notes)
	}
}
