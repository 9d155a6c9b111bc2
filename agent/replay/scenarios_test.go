package replay

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/configs"
	"firebreak/plugins"
)

var update = flag.Bool("update", false, "write the timelines of the scenarios anew")

// played is one replay and what it printed.
type played struct {
	*Result
	text string
}

// playScenario replays under the scenario's own site; once for all tests, since it is the same each time.
func playScenario(t *testing.T, name string) *played {
	t.Helper()
	once, _ := plays.LoadOrStore(name, sync.OnceValue(func() any { return playAnew(name) }))
	switch p := once.(func() any)().(type) {
	case *played:
		return p
	case error:
		t.Fatalf("%s: %v", name, p)
	}
	return nil
}

var plays sync.Map // by name

// left tells whether a scenario is left out here: one goroutine computes for seconds, which the race detector makes
// minutes, and it could find nothing in it. The tests without it play all of them.
func left(name string) bool {
	switch name {
	case "nirs-daejeon-2025", "ovh-sbg2-2021", "maintenance-day", "vrla-runaway":
		return raceOn
	}
	return false
}

func playAnew(name string) any {
	var out bytes.Buffer
	r, err := Run(context.Background(), Options{What: name, Kinds: app.Kinds(), Out: &out})
	if err != nil {
		return err
	}
	return &played{Result: r, text: out.String()}
}

// opened is when a stage opened first.
func (p *played) opened(stage plugins.Stage) (time.Duration, bool) {
	for _, s := range p.Stages {
		if s.Stage == stage.String() {
			return time.Duration(s.AtS * float64(time.Second)), true
		}
	}
	return 0, false
}

func (p *played) highest(t *testing.T) plugins.Stage {
	t.Helper()
	high := plugins.Watch
	for _, s := range p.Stages {
		st, err := plugins.ParseStage(s.Stage)
		if err != nil {
			t.Fatal(err)
		}
		high = max(high, st)
	}
	return high
}

// step is how a step of the plan stood in the end.
func (p *played) step(name string) string {
	for _, l := range strings.Split(p.text, "\n") {
		if rest, ok := strings.CutPrefix(l, "  step "+name+": "); ok {
			return rest
		}
	}
	return "idle"
}

// within is what must come of a scenario, whatever else its timeline says.
type within struct {
	highest  plugins.Stage
	from, to time.Duration // when stage 2b opens; from == to: not looked at
	alarms   int           // raised; -1: not looked at
	why      string
}

var expected = map[string]within{
	"pangyo-2022":                      {plugins.Isolate, 0, 7 * time.Minute, -1, "the racks are to be left before the first loss of power, 8 min after the spark"},
	"ovh-sbg2-2021":                    {plugins.SwitchOver, 0, 7 * time.Minute, -1, "smoke alone is one kind of evidence; the humidity of an hour before opens stage 1"},
	"nirs-daejeon-2025":                {plugins.Isolate, 0, 5 * time.Minute, -1, "the fire is seen although the room is under maintenance"},
	"alibaba-hk-2022":                  {plugins.SwitchOver, 0, 94 * time.Minute, -1, "inlets alone never shed; they switch over before the persons of the record shed"},
	"hypothetical-fans-lost":           {plugins.Shed, 0, 15 * time.Minute, -1, "inlets and air flow are two kinds on two paths"},
	"hypothetical-single-cell-venting": {plugins.Shed, 0, 8 * time.Minute, -1, "smoke of the vent comes before the cell is hot where the thermistor is"},
	"vrla-runaway":                     {plugins.SwitchOver, time.Hour, 24 * time.Hour, -1, "the charger comes off long before anything burns"},
	"sensors-burn":                     {plugins.Isolate, 0, 100 * time.Second, -1, "stages opened before the sensors burn stay open"},
	"battery-test":                     {plugins.Watch, 0, 0, 1, "the one alarm tells that the UPS is on battery"},
	"maintenance-day":                  {plugins.Notify, 0, 0, -1, "nothing above stage 1"},
	"sensor-lies":                      {plugins.Notify, 0, 0, -1, "one sensor opens stage 1 at most"},
	"quiet-year":                       {plugins.Watch, 0, 0, 0, "no alarm in a year"},
}

// TestScenarios: what each built-in scenario comes to, and its timeline to the letter.
func TestScenarios(t *testing.T) {
	if len(expected) != len(Names()) {
		t.Errorf("%d scenarios, and %d are expected", len(Names()), len(expected))
	}
	for _, name := range Names() {
		if left(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if name == "quiet-year" && testing.Short() {
				t.Skip("a year takes half a minute")
			}
			t.Parallel()
			want, ok := expected[name]
			if !ok {
				t.Fatal("nobody has said what is to come of it")
			}
			if name == "quiet-year" && raceOn {
				quietMonth(t)
				return
			}
			p := playScenario(t, name)
			if got := p.highest(t); got != want.highest {
				t.Errorf("highest stage %s, want %s: %s", got, want.highest, want.why)
			}
			if at, ok := p.opened(plugins.SwitchOver); want.from != want.to && (!ok || at < want.from || at > want.to) {
				t.Errorf("stage 2b at %v, %v; want it from %v to %v: %s", at, ok, want.from, want.to, want.why)
			}
			if want.alarms >= 0 && p.Alarms != want.alarms {
				t.Errorf("%d alarms, want %d: %s", p.Alarms, want.alarms, want.why)
			}
			golden(t, name, p.text)
		})
	}
}

// quietMonth is as much of the quiet year as the race detector can bear.
func quietMonth(t *testing.T) {
	t.Helper()
	sc, err := loadScenario("quiet-year")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Kinds: app.Kinds(), Out: &bytes.Buffer{}}
	c, err := sc.config(o, sc.site)
	if err != nil {
		t.Fatal(err)
	}
	sc.lasts = 30 * 24 * time.Hour
	if r, err := sc.play(t.Context(), o, c, nil); err != nil || r.Alarms != 0 || len(r.Stages) != 0 {
		t.Errorf("%+v, %v: want no alarm and no stage", r, err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "scenarios", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := string(b); want != got {
		w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
		for i := range g {
			if i >= len(w) || w[i] != g[i] {
				t.Fatalf("%s:%d: it came otherwise than expected (accept with -update):\n%s", file, i+1, g[i])
			}
		}
		t.Fatalf("%s: its end is missing", file)
	}
}

// TestRecordOpensNothingEarly: before the fire or the failure of the record no stage opens but for what the record
// itself has, the humidity at OVH.
func TestRecordOpensNothingEarly(t *testing.T) {
	for name, first := range map[string]time.Duration{"pangyo-2022": 0, "nirs-daejeon-2025": 0, "alibaba-hk-2022": 0, "ovh-sbg2-2021": -80 * time.Minute} {
		if left(name) {
			continue
		}
		p := playScenario(t, name)
		if len(p.Stages) == 0 || p.Stages[0].AtS < first.Seconds() {
			t.Errorf("%s: the first stage opens at %+v, before %v", name, p.Stages[:min(1, len(p.Stages))], first)
		}
	}
	if left("ovh-sbg2-2021") {
		return
	}
	p := playScenario(t, "ovh-sbg2-2021")
	for _, s := range p.Stages {
		if s.AtS < 0 && s.Stage != "1" {
			t.Errorf("OVH: humidity alone has opened stage %s", s.Stage)
		}
	}
}

// TestPangyoInTime: the racks are left before the first loss of power, and the sensors of the time open no stage 3.
func TestPangyoInTime(t *testing.T) {
	p := playScenario(t, "pangyo-2022")
	for _, step := range []string{"replicate", "drain", "migrate", "vm-stop", "os-stop", "outlets-off"} {
		if got := p.step(step); got != "done, by evidence" {
			t.Errorf("step %s: %s", step, got)
		}
	}
	if i := strings.Index(p.text, "outlets-off done"); i < 0 || i > strings.Index(p.text, "about 15:27 first services fail") {
		t.Error("the outlets are not off before the first services failed")
	}
	if p.Then == nil || len(p.Then.Stages) == 0 || p.Then.highest(t) != plugins.SwitchOver {
		t.Errorf("with the sensors of 2022: %+v, want stage 2b and no more", p.Then)
	}
}

func (r *Result) highest(t *testing.T) plugins.Stage { return (&played{Result: r}).highest(t) }

// TestMedianIsBlind: of a loss that all inlets share their deviation from the median sees nothing: a rate or a
// threshold does.
func TestMedianIsBlind(t *testing.T) {
	for _, name := range []string{"alibaba-hk-2022", "hypothetical-fans-lost"} {
		if text := playScenario(t, name).text; strings.Contains(text, "inlet-odd") || !strings.Contains(text, "inlet-hot") {
			t.Errorf("%s: want inlet-hot and no inlet-odd", name)
		}
	}
}

// TestNotIsolated: where the voltage stays the step is never done, whatever the breaker says (S15).
func TestNotIsolated(t *testing.T) {
	if left("nirs-daejeon-2025") {
		return
	}
	p := playScenario(t, "nirs-daejeon-2025")
	if got := p.step("isolate"); got != "capped" {
		t.Errorf("step isolate: %s, want it capped", got)
	}
}

// TestBurntSensorsHoldTheStages: with every sensor gone the plan stands where it stood, and what was to be isolated
// waits for a person (S4, S6).
func TestBurntSensorsHoldTheStages(t *testing.T) {
	p := playScenario(t, "sensors-burn")
	if p.Plans[0].Stage != "4" || p.Plans[0].Asking == "" || p.step("isolate") != "withheld" {
		t.Errorf("in the end %+v, isolate %s", p.Plans[0], p.step("isolate"))
	}
	if got := p.step("outlets-off"); got != "done, by evidence" {
		t.Errorf("stage 3 was to go on blind: outlets-off %s", got)
	}
}

// TestLiesAreSeen: each lie is told by an alarm while it lasts, but for those of which the scenario says why none can.
func TestLiesAreSeen(t *testing.T) {
	sc, err := loadScenario("sensor-lies")
	if err != nil {
		t.Fatal(err)
	}
	c, err := sc.config(Options{Kinds: app.Kinds()}, sc.site)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := sc.play(t.Context(), Options{Out: &out, JSON: true, What: sc.name}, c, nil); err != nil {
		t.Fatal(err)
	}
	raised := entries(t, out.Bytes(), "alarm")
	unseen := 0
	for i := range sc.acts {
		a := &sc.acts[i]
		seen := slices.ContainsFunc(raised, func(e Entry) bool {
			at := time.Duration(e.AtS*float64(time.Second)) + sc.zero
			return at > a.at && at < a.at+a.lasts && strings.HasPrefix(e.State, "unacknowledged")
		})
		if a.unseen != "" {
			unseen++
		}
		if seen != (a.unseen == "") {
			t.Errorf("%s: seen %v, and the scenario says: unseen %q", a.why, seen, a.unseen)
		}
	}
	if len(sc.acts) < 30 || unseen > 10 {
		t.Errorf("%d lies, %d of them unseen", len(sc.acts), unseen)
	}
}

// TestMaintenanceDay: on the day of maintenance one detector at a time is out of the votes (S19).
func TestMaintenanceDay(t *testing.T) {
	if left("maintenance-day") {
		return
	}
	p := playScenario(t, "maintenance-day")
	for _, want := range []string{"refused: bypassed already: asd-1", "loss/device/ups-a P2 unacknowledged", "loss/device/bms-1 P2 unacknowledged", "STAGE 0 of evacuate again"} {
		if !strings.Contains(p.text, want) {
			t.Errorf("the timeline lacks %q", want)
		}
	}
	if p.Plans[0].Stage != "0" {
		t.Errorf("in the end stage %s", p.Plans[0].Stage)
	}
}

// TestEqualToTheByte: the same scenario gives the same output.
func TestEqualToTheByte(t *testing.T) {
	again, ok := playAnew("hypothetical-fans-lost").(*played)
	if !ok || again.text != playScenario(t, "hypothetical-fans-lost").text {
		t.Error("two replays of one scenario differ")
	}
}

// TestSitesPassCheck: the configuration of each site has no fault of its own, and is one that somebody may copy.
func TestSitesPassCheck(t *testing.T) {
	for _, dir := range []string{"../../configs/scenarios/sites"} {
		files, err := filepath.Glob(dir + "/*.toml")
		if err != nil || len(files) < 6 {
			t.Fatalf("%d sites: %v", len(files), err)
		}
		for _, f := range files {
			o := Options{Kinds: app.Kinds()}
			c, err := parseFile(f, o.kinds())
			if err != nil {
				t.Errorf("%v", err)
				continue
			}
			if err := config.Report(&bytes.Buffer{}, c); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestOtherConfiguration: a scenario under the annotated example: what its points have in common is read, and the rest is
// said.
func TestOtherConfiguration(t *testing.T) {
	var out bytes.Buffer
	r, err := Run(t.Context(), Options{What: "pangyo-2022", Config: "../../configs/firebreak.toml", Kinds: app.Kinds(), Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.highest(t); got < plugins.Shed {
		t.Errorf("stage %s under the example, want 3 at least\n%s", got, out.String())
	}
	if !strings.Contains(out.String(), "The configuration has no points for: ") {
		t.Errorf("it does not say what it has no points for:\n%.600s", out.String())
	}
	if r.Then != nil {
		t.Error("the sensors of the time belong to the scenario's own site")
	}
}

// TestScenarioFaults: a scenario is read as strictly as a configuration.
func TestScenarioFaults(t *testing.T) {
	const good = `name = "x"
title = "t"
record = "r"
site = "battery-room"
begins = "2026-01-01T00:00:00Z"
lasts = "1h"
`
	for text, want := range map[string]string{
		good:                               "",
		good + "[battery]\nsparc = \"1m\"": `x.toml:8:1: unknown key "sparc" in [battery] (did you mean "spark"?)`,
		good + "[[signal]]\npoints = [\"a\"]\nvalue = 1\nfrom = \"hall.inlet-c\"\n[hall]":               `a signal has one of "from", "value" and "curve"`,
		good + "[[signal]]\npoints = [\"a\"]\nfrom = \"hall.inlet-c\"":                                  `"hall.inlet-c" needs the table [hall]`,
		good + "[battery]\n[[signal]]\npoints = [\"a\"]\nfrom = \"battery.colour\"":                     `there is no quantity "battery.colour"`,
		good + "[[signal]]\npoints = [\"a\"]\ncurve = [\"1m 2\", \"0s 3\"]":                             `"0s 3" goes back in time`,
		good + "[[signal]]\npoints = [\"a\"]\ncurve = [\"soon 2\"]":                                     `"soon 2" is no corner of a curve`,
		good + "[[act]]\nat = \"1m\"\npoints = [\"a\"]\ndoes = \"vanish\"\nwhy = \"w\"":                 `"does" cannot be "vanish": use one of silent, bad, stuck, set, add, noise`,
		good + "[[act]]\nat = \"1m\"\npoints = [\"a\"]\ndoes = \"bad\"\nreason = \"mood\"\nwhy = \"w\"": `"mood" is no reason for a bad reading`,
		good + "[[fact]]\nat = \"1m\"\ntext = \"t\"":                                                    `[fact] needs the key "source"`,
		good + "[[fact]]\nat = \"-1m\"\ntext = \"t\"\nsource = \"s\"":                                   `"at" is -1m: it must be from 0s`,
		good + "shows = \"nowhere\"":                                                                    `nowhere.toml`,
		strings.Replace(good, `name = "x"`, `name = "y"`, 1):                                            `name and file must agree`,
		strings.Replace(good, "begins = \"2026-01-01T00:00:00Z\"", "begins = \"yesterday\"", 1):         `"yesterday" is no instant`,
	} {
		_, err := parseScenario("x.toml", "x", []byte(text))
		switch {
		case want == "" && err != nil:
			t.Errorf("a good scenario: %v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: %v, want %q", text[len(good)-1:], err, want)
		}
	}
}

// TestFactsHaveSources: what is on record says where it stands; every scenario but the hypothetical ones has some.
func TestFactsHaveSources(t *testing.T) {
	for _, name := range Names() {
		sc, err := loadScenario(name)
		if err != nil {
			t.Fatal(err)
		}
		if year := strings.ContainsAny(name, "0123456789"); year != (len(sc.facts) > 0) {
			t.Errorf("%s has %d facts", name, len(sc.facts))
		}
		if _, err := configs.Scenarios().Open("sites/" + sc.site + ".toml"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCancelled: a replay ends when its context does.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{What: "quiet-year", Kinds: app.Kinds(), Out: &bytes.Buffer{}}); err == nil {
		t.Error("a cancelled replay went on to its end")
	}
}
