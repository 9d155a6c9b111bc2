package config

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testKinds are two kinds of hooks that show what a kind may ask of its table.
func testKinds() Kinds {
	return Kinds{
		Profiles: os.DirFS("testdata/profiles"),
		Packs:    os.DirFS("testdata/hazards"),
		Hooks: map[string]HookKind{
			"web": func(t *Table) any {
				t.Require("url")
				return map[string]string{"url": t.String("url", "")}
			},
			"run": func(t *Table) any {
				t.Require("argv")
				a := t.Strings("argv")
				if len(a) > 0 && !filepath.IsAbs(a[0]) {
					t.Fault("argv", "the program %q must be an absolute path", a[0])
				}
				return append(a, t.Duration("grace", time.Second, 0, time.Minute).String())
			},
			"many": func(t *Table) any { t.Require("does"); return many(t.StringMap("does")) },
			"told": func(t *Table) any { return told(t.Strings("brokers")) },
		},
	}
}

// many is a kind with several targets: what it does to each is "final", "powers-on", or anything else.
type many map[string]string

func (m many) Targets() []string { return slices.Sorted(maps.Keys(m)) }

func (m many) Traits(target string) (plugins.Traits, error) {
	does, ok := m[target]
	if !ok {
		return plugins.Traits{}, fmt.Errorf("there is no target %q: use one of %s", target, strings.Join(m.Targets(), ", "))
	}
	return plugins.Traits{Irreversible: does == "final", PowersOn: does == "powers-on"}, nil
}

// told is a kind that reaches its target over brokers, one of which is enough.
type told []string

func (b told) UsesBrokers() []string { return b }

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden compares got with a file, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := readFile(t, file); !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and look at the difference\ngot:\n%s\nwant:\n%s", file, got, want)
	}
}

func mustParse(t testing.TB, file string, data []byte, k Kinds) *Config {
	t.Helper()
	c, faults := Parse(file, data, k)
	if len(faults) > 0 {
		var lines []string
		for _, f := range faults {
			lines = append(lines, f.String())
		}
		t.Fatalf("unexpected faults:\n%s", strings.Join(lines, "\n"))
	}
	return c
}

func report(t testing.TB, c *Config) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Report(&b, c); err != nil {
		t.Fatal(err)
	}
	return bytes.Replace(b.Bytes(), []byte(c.Rules.Hash), []byte("HASH"), 1) // it changes with every field of the rules
}

func TestReport(t *testing.T) {
	c := mustParse(t, "base.toml", readFile(t, "testdata/base.toml"), testKinds())
	golden(t, "testdata/report.golden", report(t, c))
}

// What the file says arrives in the rules, with the defaults where it says nothing.
func TestCompiledRules(t *testing.T) {
	c := mustParse(t, "base.toml", readFile(t, "testdata/base.toml"), testKinds())
	checkRules(t, c)
	hz, plan := c.Rules.Hazard, c.Rules.Response.Plans[0]
	asd := c.Devices[2]
	if p := hz.Points[asd.First]; p.Name != "asd.smoke.obscuration" || p.Lag != 30*time.Second || p.Stale != 3*time.Second {
		t.Errorf("asd: lag must be 10s of the sensor and 20s of the pipe, stale three polls: %+v", p)
	}
	rise := hz.Conds[1]
	if rise.Name != "cell-rise" || math.Abs(rise.Threshold-5.0/60) > 1e-12 || rise.Window != time.Minute || len(rise.Members) != 1 || len(rise.Members[0].Points) != 2 {
		t.Errorf("cell-rise: want 5 C a minute over a minute at one member of two points: %+v", rise)
	}
	hosts := plan.Steps[2]
	ev, only := hz.Conds[hosts.EvidenceCond], hz.Conds[hosts.OnlyIf]
	if ev.Name != "leave/hosts/evidence" || ev.Kind != hazard.Below || !(ev.Threshold < 1) || 1-ev.Threshold > 1e-9 || ev.Priority != 0 {
		t.Errorf("evidence: want just below 1 A and no alarm: %+v", ev)
	}
	if only.Kind != hazard.In || only.Values[0] != 1 {
		t.Errorf("only_if: %+v", only)
	}
	if !hosts.Irreversible || hosts.After[0] != 1 || hosts.OnFailure != response.Escalate || plan.Stages[2].Countdown != 30*time.Second || plan.Stages[2].IfBlind != response.BlindProceed {
		t.Errorf("stage 3: %+v %+v", hosts, plan.Stages[2])
	}
	if limited := mustParse(t, "f", with(t, "power_loss = \"7m\"\n", "power_loss = \"7m\"\nmax_zones_2b = 3\n"), testKinds()); plan.MaxZones2b != 0 || limited.Rules.Response.Plans[0].MaxZones2b != 3 {
		t.Errorf("max_zones_2b: %d by default, %d for 3", plan.MaxZones2b, limited.Rules.Response.Plans[0].MaxZones2b)
	}
	if c.Rules.JournalBound != 100*time.Millisecond || hz.HeldTrue != 30*time.Minute || plan.ResumeMax != 15*time.Minute || plan.Mode != response.Observe {
		t.Errorf("defaults: %+v %+v", c.Rules, plan)
	}
}

// The hash is the same for the same meaning, and another for another.
func TestHash(t *testing.T) {
	base := string(readFile(t, "testdata/base.toml"))
	hash := func(text string, k Kinds) string { return mustParse(t, "base.toml", []byte(text), k).Rules.Hash }
	want := hash(base, testKinds())
	for range 20 {
		if got := hash(base, testKinds()); got != want {
			t.Fatalf("hash %s, then %s of the same file", want, got)
		}
	}
	layout := "# a comment\n" + strings.Replace(base, "site = \"test\"\nzone = \"b3\"", "zone   = 'b3' # swapped\n\nsite = \"test\"", 1)
	layout = strings.Replace(layout, "address = 0x48", "address = 72", 1)
	if got := hash(layout, testKinds()); got != want {
		t.Errorf("comments, order of keys and spelling of numbers changed the hash: %s, want %s", got, want)
	}
	for _, change := range [][2]string{{`above = "55 C"`, `above = "56 C"`}, {`if_blind = "proceed"`, `if_blind = "hold"`}, {`url = "http://127.0.0.1/tell"`, `url = "http://127.0.0.1/other"`}, {`gateway = "sw-1"`, `gateway = "sw-9"`}} {
		if changed := strings.Replace(base, change[0], change[1], 1); changed == base || hash(changed, testKinds()) == want {
			t.Errorf("%s does not change the hash", change[1])
		}
	}
	profiles := fstest.MapFS{}
	for _, name := range []string{"string", "smoke", "chip", "load", "panel"} {
		data := readFile(t, "testdata/profiles/"+name+".toml")
		if name == "string" {
			data = bytes.Replace(data, []byte("scale    = 0.1"), []byte("scale    = 0.2"), 1)
		}
		profiles[name+".toml"] = &fstest.MapFile{Data: data}
	}
	k := testKinds()
	k.Profiles = profiles
	if hash(base, k) == want {
		t.Error("another scale in a profile does not change the hash")
	}
}

// A file that cannot be read is told apart from one with faults: it has no line.
func TestLoad(t *testing.T) {
	if _, faults := Load("testdata/none.toml", testKinds()); len(faults) != 1 || faults[0].Line != 0 || !strings.Contains(faults[0].String(), "testdata/none.toml: cannot read") {
		t.Errorf("no file: %v", faults)
	}
	if c, faults := Load("testdata/base.toml", testKinds()); c == nil || len(faults) > 0 {
		t.Errorf("base: %v", faults)
	}
	if _, faults := Parse("big", make([]byte, maxFile+1), testKinds()); len(faults) != 1 || faults[0].Line != 0 {
		t.Errorf("too large: %v", faults)
	}
}

// A kind of hook that panics is a fault, not the end of the agent.
func TestPanicIsAFault(t *testing.T) {
	k := testKinds()
	k.Hooks["web"] = func(*Table) any { panic("no such luck") }
	c, faults := Parse("f", readFile(t, "testdata/base.toml"), k)
	if c != nil || len(faults) != 1 || !strings.Contains(faults[0].Text, "no such luck") {
		t.Errorf("got %v", faults)
	}
}

// What the kinds of hooks get from a table, and where their faults are placed.
func TestHookTable(t *testing.T) {
	k := testKinds()
	var env map[string]string
	k.Hooks["web"] = func(t *Table) any {
		env = t.StringMap("headers")
		t.FaultErrors(errors.Join(errors.New("url: give https"), errors.Join(errors.New("something else"))))
		return t.Bool("strict", true)
	}
	text := strings.Replace(string(readFile(t, "testdata/base.toml")), `url = "http://127.0.0.1/tell"`, "url = \"x\"\nheaders = { A = \"b\", \"C.D\" = \"e\" }", 1)
	_, faults := Parse("f", []byte(text), k)
	if len(env) != 2 || env["A"] != "b" || env["C.D"] != "e" {
		t.Errorf("headers are %v", env)
	}
	var got []string
	for _, f := range faults {
		got = append(got, f.String())
	}
	want := "f:106:3: something else\nf:109:1: unknown key \"url\" in [hook]: use one of irreversible, strict, takes_down\nf:109:7: url: give https"
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
}

// What S5 accepts is printed with its reason.
func TestReportOfWhatIsAccepted(t *testing.T) {
	for name, want := range map[string][]string{
		"fine: a supervised panel contact opens stage 3": {
			"- device duct (or bus line)",
			"accepted       device duct (or bus line) opens it: a supervised contact of the fire panel"},
		"fine: one failure that blocks is accepted": {
			"accepted       single failures: the second detector comes in May",
			"worst case     never, when smoke has failed (accepted); with nothing failed:"},
	} {
		found := false
		for _, e := range readEdits(t, "testdata/faults.txt", string(readFile(t, "testdata/base.toml"))) {
			if e.name != name {
				continue
			}
			found = true
			c := mustParse(t, "f", e.data, testKinds())
			checkRules(t, c)
			text := string(report(t, c))
			for _, w := range want {
				if !strings.Contains(text, w) {
					t.Errorf("%s: the report does not say %q:\n%s", name, w, text)
				}
			}
		}
		if !found {
			t.Errorf("no case %q", name)
		}
	}
}

// with returns the base with one text in place of another that is there once.
func with(t testing.TB, pairs ...string) []byte {
	t.Helper()
	s := string(readFile(t, "testdata/base.toml"))
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(s, pairs[i]) != 1 {
			t.Fatalf("%q is not once in the base", pairs[i])
		}
		s = strings.Replace(s, pairs[i], pairs[i+1], 1)
	}
	return []byte(s)
}

func TestValuesThatAreEasyToGetWrong(t *testing.T) {
	c := mustParse(t, "f", with(t, `deadband = "2 C"`, `deadband = "2 K"`, `evidence = "lb.sessions == 0"`, `evidence = "lb.sessions > 7"`,
		`power_loss = "7m"`, `power_loss = "2m20s"`, `deadline = "3m"`, `deadline = "2m"`), testKinds())
	if d := c.Rules.Hazard.Conds[0].Deadband; d != 2 {
		t.Errorf("a deadband of 2 K is 2 C wide, not %g", d)
	}
	plan := c.Rules.Response.Plans[0]
	if k := c.Rules.Hazard.Conds[plan.Steps[1].EvidenceCond]; k.Kind != hazard.Above || !(k.Threshold > 7) || k.Threshold-7 > 1e-9 {
		t.Errorf("more than 7 is just above 7: %+v", k)
	}
	// 2m20s less 1m12.155s to the first hook and 30s of countdown
	if want := 37*time.Second + 845*time.Millisecond; plan.MaxHold != want || c.Plans[0].MaxHold != want {
		t.Errorf("a hold that is not stated is as long as the slack: %s, want %s", plan.MaxHold, want)
	}
}

func TestVoteHoldsSixtyFourMembers(t *testing.T) {
	var names, more strings.Builder
	for i := range 60 {
		fmt.Fprintf(&names, "\"d%d\", ", i)
		fmt.Fprintf(&more, "[[detector]]\nname = \"d%d\"\npoint = \"cab.temperature\"\nabove = \"60 C\"\n", i)
	}
	list := func(extra string) []byte {
		return append(with(t, "need = 1\n", "need = 1\npriority = 1\n", "name = \"any\"\nof = [", "name = \"any\"\nof = ["+extra), more.String()...)
	}
	if _, faults := Parse("f", list(names.String()), testKinds()); len(faults) != 1 || !strings.Contains(faults[0].Text, "65 members") {
		t.Errorf("65 members: %v", faults)
	}
	checkRules(t, mustParse(t, "f", list(strings.TrimPrefix(names.String(), `"d0", `)), testKinds()))
}
