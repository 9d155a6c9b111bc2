package config

import (
	"fmt"
	"strings"
	"testing"
)

// What the report says of the search for failures must be what was searched.
func TestReportOfTheSearch(t *testing.T) {
	set := func(n int) []FailureSet { return make([]FailureSet, n) }
	for _, k := range []struct {
		sets   []FailureSet
		causes int
		want   string
	}{
		{nil, 40, "    x no one, two or three failures\n"},
		{nil, 41, "    x no one or two failures\n      (triples were not searched: there are 41 causes of failure, more than 40)\n"},
		{nil, 201, "    x no single failure\n      (pairs were not searched: there are 201 causes of failure, more than 200)\n"},
		{[]FailureSet{{"a", "b"}}, 41, "    x\n      - a and b\n"},
		{[]FailureSet{{"a"}}, 201, "    x\n      - a\n      (pairs were not searched: there are 201 causes of failure, more than 200)\n"},
		{set(9), 300, "    x\n" + strings.Repeat("      - \n", 8) + "      - and 1 more of this size\n      (pairs were not searched: there are 300 causes of failure, more than 200)\n"},
	} {
		var b strings.Builder
		p := &printer{w: &b}
		p.sets("x", k.sets, k.causes)
		if b.String() != k.want {
			t.Errorf("%d sets of %d causes:\n%swant\n%s", len(k.sets), k.causes, b.String(), k.want)
		}
	}
}

// rooms is the base with n more chips, each on a bus and a supply of its own that it shares with
// nobody, in both votes.
func rooms(t *testing.T, n int) []byte {
	var names, more strings.Builder
	for i := range n {
		fmt.Fprintf(&names, "\"d%d\", ", i)
		fmt.Fprintf(&more, "[[bus]]\nname = \"x%d\"\nkind = \"i2c\"\nadapter = \"/dev/i2c-%d\"\nsupply = \"S%d\"\n[[device]]\nname = \"c%d\"\nprofile = \"chip\"\nbus = \"x%d\"\naddress = 0x48\n[[detector]]\nname = \"d%d\"\npoint = \"c%d.temperature\"\nabove = \"60 C\"\n", i, 10+i, i, i, i, i, i)
	}
	return append(with(t, "name = \"any\"\nof = [", "name = \"any\"\nof = ["+names.String()), more.String()...)
}

// Sets of three are searched only while there are few causes, and where no smaller set does it.
func TestTriples(t *testing.T) {
	text := string(report(t, mustParse(t, "f", rooms(t, 0), testKinds())))
	stage1, _, _ := strings.Cut(text, "stage 2b")
	if want := "blocked by\n      - device bms (or bus upsnet, or gateway sw-1, or supply A) and supply C and device asd (or bus asdnet, or gateway sw-2, or supply B)\n"; !strings.Contains(stage1, want) {
		t.Errorf("stage 1 is blocked by three failures and no fewer:\n%s", stage1)
	}
	if c := mustParse(t, "f", rooms(t, 1), testKinds()); len(c.Plans[0].Stages[0].Blocks) != 0 || !strings.Contains(string(report(t, c)), "blocked by no one, two or three failures") {
		t.Errorf("one more room: four failures at least block stage 1: %v", c.Plans[0].Stages[0].Blocks)
	}
	c := mustParse(t, "f", rooms(t, 40), testKinds())
	if s := &c.Plans[0].Stages[0]; s.Causes <= maxTriples || len(s.Blocks) != 0 {
		t.Errorf("%d causes, %v", s.Causes, s.Blocks)
	}
	if text := string(report(t, c)); !strings.Contains(text, "(triples were not searched: there are 45 causes of failure, more than 40)") {
		t.Errorf("the report does not say what was not searched:\n%s", text)
	}
}

// A TCP bus without gateway counts as independent: the report says that this is an assumption,
// where a stage with irreversible steps rests on it.
func TestReportOfBusesWithoutGateway(t *testing.T) {
	note := func(bus string) string {
		return "\n  note: bus " + bus + " names no gateway: check assumes that no switch is shared\n"
	}
	for _, k := range []struct {
		drop string // the gateway that is left out
		edit []string
		has  string
	}{
		{"sw-1", nil, "upsnet"},
		{"sw-2", nil, "asdnet"},
		{"sw-2", []string{"of = [\"cell-hot\", \"cell-rise\", \"cab-hot\", \"smoke\", \"duct-smoke\"]\nneed = 2", "of = [\"cell-hot\", \"cell-rise\", \"cab-hot\", \"duct-smoke\"]\nneed = 2",
			"if_blind = \"proceed\"", "if_blind = \"proceed\"\naccept_single = \"test\""}, ""},
	} {
		text := string(report(t, mustParse(t, "f", with(t, append([]string{"gateway = \"" + k.drop + "\"\n", ""}, k.edit...)...), testKinds())))
		for _, bus := range []string{"upsnet", "asdnet", "i2c1", "line"} {
			if strings.Contains(text, note(bus)) != (bus == k.has) {
				t.Errorf("without %s and with %v: a note on %s is there or lacks:\n%s", k.drop, k.edit, bus, text)
			}
		}
	}
	if text := string(report(t, mustParse(t, "f", with(t, `protects = ["b3"]`, `protects = ["b3", "b4"]`), testKinds()))); strings.Count(text, "opens this plan") != 1 || !strings.Contains(text, "\n  note: no sensor in zone b4 opens this plan") {
		t.Errorf("the report does not say that a zone has no sensor:\n%s", text)
	}
	if text := string(report(t, mustParse(t, "f", with(t), testKinds()))); !strings.Contains(text, "\n  the agent itself (zone corridor, feed B): alone blocks every stage\n") {
		t.Errorf("the report does not speak of the agent itself:\n%s", text)
	}
}
