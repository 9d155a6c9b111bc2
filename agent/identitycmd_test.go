package main

import (
	"strings"
	"testing"
)

// A device that tells who it is by function 43 alone is found by that, on an endpoint and on a line, and what it says is shown.
func TestScanIdentification(t *testing.T) {
	where, _, _ := served(t, "huawei-ups2000", "--unit", "1", "--listen", "127.0.0.1:0")
	code, out, errs := firebreak("scan", "modbus", where, "--units", "1", "--pace", "1ms")
	for _, want := range []string{"calls itself \"1=UPS2000\"\n", "huawei-ups2000: Huawei UPS2000, UPS2000-A and UPS2000-G; 45 of 45 points usable; its identity matches\n"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, want %q: %s\n%s", code, want, errs, out)
		}
	}
	if strings.Count(out, "identity matches") != 1 {
		t.Errorf("more than one profile is certain:\n%s", out)
	}
	where, _, _ = served(t, "huawei-ups2000", "--unit", "1", "--line")
	if code, out, errs = firebreak("scan", "modbus", where, "--units", "1", "--baud", "9600", "--parity", "none", "--profile", "huawei-ups2000"); code != 0 || !strings.Contains(out, "its identity matches") {
		t.Errorf("on a line: exit %d, %s\n%s", code, errs, out)
	}
	// Another unit has no such text: the profile is not said to be its.
	where, _, _ = served(t, "xy-md02", "--unit", "1", "--listen", "127.0.0.1:0")
	if code, out, errs = firebreak("scan", "modbus", where, "--units", "1", "--pace", "1ms", "--profile", "huawei-ups2000"); code != 0 || strings.Contains(out, "identity matches") || strings.Contains(out, "calls itself") {
		t.Errorf("another device: exit %d, %s\n%s", code, errs, out)
	}
}

// A unit that answers under another number is found too, by the profiles of such devices and by no others.
func TestScanOtherReplyUnit(t *testing.T) {
	t.Parallel() // it waits more than it works
	for _, args := range [][]string{{"--listen", "127.0.0.1:0"}, {"--line"}} {
		where, _, _ := served(t, append([]string{"daly-bms", "--unit", "129"}, args...)...)
		code, out, errs := firebreak("scan", "modbus", where, "--units", "129", "--baud", "9600", "--parity", "none", "--pace", "1ms")
		if code != 0 || !strings.Contains(out, "unit 129 answers") || !strings.Contains(out, "  daly-bms: Daly BMS") || strings.Count(out, "points usable") != 1 {
			t.Errorf("%v: exit %d, %s\n%s", args, code, errs, out)
		}
	}
	where, _, _ := served(t, "xy-md02", "--unit", "129", "--listen", "127.0.0.1:0")
	if code, out, errs := firebreak("scan", "modbus", where, "--units", "129", "--pace", "1ms"); code != 0 || strings.Contains(out, "daly") {
		t.Errorf("a unit that answers as itself: exit %d, %s\n%s", code, errs, out)
	}
}

// A template is shown and listed as one; nothing is served, tested or found by it.
func TestTemplateProfile(t *testing.T) {
	code, out, _ := firebreak("profile", "list")
	if code != 0 || !strings.Contains(out, "template       nothing yet    VESDA-E") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	code, out, _ = firebreak("profile", "show", "vesda-e")
	if code != 0 || !strings.Contains(out, "TEMPLATE: copy it into a directory of your own, and fill in address") || strings.Contains(out, "a poll of all points") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	code, out, errs := firebreak("profile", "test", "vesda-e")
	if code != 0 || !strings.Contains(out, "vesda-e: a template, there is nothing to test") {
		t.Errorf("exit %d: %s\n%s", code, errs, out)
	}
	if code, _, errs = firebreak("sim", "vesda-e"); code != 1 || !strings.Contains(errs, "is a template") {
		t.Errorf("sim: exit %d: %s", code, errs)
	}
	if code, out, errs = firebreak("profile", "show", "daly-bms"); code != 0 || !strings.Contains(out, "answers under its unit number -48\n") {
		t.Errorf("exit %d: %s\n%s", code, errs, out)
	}
	if code, out, errs = firebreak("profile", "show", "huawei-ups2000"); code != 0 || !strings.Contains(out, "identity: identification object 0x88 field 1 is one of [\"UPS2000\" \"UPS2000A\" \"UPS2000G\"]\n") {
		t.Errorf("exit %d: %s\n%s", code, errs, out)
	}
}
