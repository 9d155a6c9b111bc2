package demo

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/configs"
	"firebreak/plugins"
	"firebreak/sensors"
	"firebreak/sensors/sim"
)

// play runs a scenario through the demo's own configuration, core and simulated devices, in
// simulated time and without any socket: hours pass in seconds. Hooks start the simulated work at
// once, and give the evidence that the step waits for as soon as it is done.
type play struct {
	t     *testing.T
	plan  []response.Step
	waits map[string]plugins.Evidence // by the work that it is evidence of
	world *sim.World
	c     *core.Core
	fx    []core.Effect
	told  []string // what happened, with its simulated time after T+0
	spark sensors.Mono
	now   sensors.Mono
}

func newPlay(t *testing.T, scenario, tmpl string, poll time.Duration) (*play, *sim.Source) {
	t.Helper()
	sc, err := sim.Find(scenario)
	if err != nil {
		t.Fatal(err)
	}
	world, err := sim.New(sc, nil, configs.Profiles())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c, _, err := configure(tmpl, map[string]any{"Dir": dir, "Proof": dir, "Broker": "mqtt://127.0.0.1:1", "Speed": 60.0,
		"HTTP": "http://127.0.0.1:1", "Topic": "site/failover/x", "Consumer": consumer, "NUT": nutListen, "Users": dir + "/nut.users", "Hosts": hostAddresses(),
		"Power": "127.0.0.1:2", "Smoke": "127.0.0.1:3", "Load": "127.0.0.1:4", "Line": "/dev/null",
		"Poll": poll.String(), "Stale": max(30*time.Second, 3*poll).String()})
	if err != nil {
		t.Fatal(err)
	}
	c.Rules.Hazard.Origin = sensors.Simulated
	src, err := world.Source(sources(c)...)
	if err != nil {
		t.Fatal(err)
	}
	co, err := core.New(c.Rules, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &play{t: t, plan: c.Rules.Response.Plans[0].Steps, waits: map[string]plugins.Evidence{}, world: world, c: co, spark: sensors.Mono(sc.SparkAt())}
	p.step(core.Event{Kind: core.Resumed, Resumed: core.ResumeInfo{Resumed: response.Resumed{SameBoot: true, AgeKnown: true, EpisodeBase: 1}}})
	return p, src
}

func sources(c *config.Config) []sim.SourceDevice {
	var out []sim.SourceDevice
	for i := range c.Devices {
		d := &c.Devices[i]
		out = append(out, sim.SourceDevice{Device: c.Rules.Hazard.Devices[i], Is: d.Name, Profile: d.Profile,
			Points: c.Rules.Hazard.Points[d.First : int(d.First)+d.Count]})
	}
	return out
}

func (p *play) step(ev core.Event) (wake sensors.Mono) {
	p.fx, wake = p.c.Step(p.now, ev, p.fx[:0])
	var starts []plugins.Call
	for _, e := range p.fx {
		switch {
		case e.Kind == core.Start:
			starts = append(starts, e.Call)
		case e.Kind == core.Tell && e.Update.Alarm != nil && e.Update.Alarm.Active:
			p.tell("alarm " + e.Update.Alarm.Name)
		case e.Kind == core.Tell && e.Update.Event != nil && strings.HasPrefix(e.Update.Event.Type, "stage."):
			p.tell(e.Update.Event.Type + " " + e.Update.Event.Stage)
		case e.Kind == core.Tell && e.Update.Event != nil && strings.HasPrefix(e.Update.Event.Type, "step."):
			p.tell(e.Update.Event.Type + " " + e.Update.Event.Step)
		}
	}
	for _, c := range starts {
		if sim.WorkTime(c.Key.Step) > 0 {
			if err := p.world.StartWork(c.Key.Step, p.now); err != nil {
				p.t.Fatal(err)
			}
		}
		p.step(core.Event{Kind: core.HookStarted, Key: c.Key, Journaled: true})
		p.step(core.Event{Kind: core.HookDone, Key: c.Key, Outcome: plugins.Outcome{Result: plugins.Done}})
		for _, s := range p.plan {
			if s.Name == c.Key.Step && s.Evidence == response.ByHook {
				p.waits[s.Name] = plugins.Evidence{Key: c.Key, Name: s.EvidenceName, OK: true}
			}
		}
	}
	return wake
}

func (p *play) tell(s string) {
	p.told = append(p.told, fmt.Sprintf("%+.0f %s", p.now.Sub(p.spark).Seconds(), s))
}

// until plays to an instant since the start.
func (p *play) until(src *sim.Source, end time.Duration) {
	for p.now < sensors.Mono(end) {
		next := src.Poll(p.now, func(b sensors.Batch) { p.step(core.Event{Kind: core.Readings, Readings: b.Readings}) })
		p.look()
		wake := p.step(core.Event{Kind: core.Tick})
		p.now = max(p.now+1, min(next, wake, sensors.Mono(end)))
	}
}

// look gives the evidence of what is done.
func (p *play) look() {
	for name, ev := range p.waits {
		if sim.WorkTime(name) == 0 || p.world.WorkDone(name) {
			delete(p.waits, name)
			p.step(core.Event{Kind: core.Seen, Evidence: ev})
		}
	}
}

func (p *play) first(what string) (seconds float64, ok bool) {
	for _, s := range p.told {
		at, text, _ := strings.Cut(s, " ")
		if text == what {
			if _, err := fmt.Sscan(at, &seconds); err != nil {
				p.t.Fatal(err)
			}
			return seconds, true
		}
	}
	return 0, false
}

// A quiet room raises no alarm, for hours. The alarm that it is armed without the gate is the only
// one.
func TestQuietRoomRaisesNoAlarm(t *testing.T) {
	p, src := newPlay(t, "quiet", "firebreak.toml.tmpl", time.Second)
	hours := 8 * time.Hour
	if testing.Short() {
		hours = time.Hour
	}
	p.until(src, hours)
	for _, s := range p.told {
		if !strings.HasSuffix(s, " alarm plan/evacuate/ungated") {
			t.Errorf("in a quiet room: %s", s)
		}
	}
}

// The fire of the record: nothing before the spark, the racks are left before the power is lost.
func TestPangyoIsLeftInTime(t *testing.T) {
	p, src := newPlay(t, "pangyo-2022", "firebreak.toml.tmpl", time.Second)
	p.until(src, 14*time.Minute)
	for _, s := range p.told {
		if strings.HasPrefix(s, "-") && !strings.HasSuffix(s, "ungated") {
			t.Errorf("before the spark: %s", s)
		}
	}
	for _, want := range []string{"stage.opened 1", "stage.opened 2a", "stage.opened 2b", "stage.opened 3",
		"step.done freeze-deploys", "step.done replicate", "step.done drain", "step.done migrate",
		"step.done vm-stop", "step.done os-stop", "step.done outlets-off"} {
		at, ok := p.first(want)
		if !ok || at < 0 || at >= 480 {
			t.Errorf("%s at %v s, ok %v: want before 480 s\n%s", want, at, ok, strings.Join(p.told, "\n"))
		}
	}
	if open, _ := p.first("stage.opened 3"); open < 60 {
		t.Errorf("stage 3 opens at %v s, before any smoke could reach a detector", open)
	}
}

// With the sensors of 2022 the racks are not powered down in time: one kind of evidence, read every
// ten minutes, opens no stage 3 whenever its poll falls.
func TestSensorsOf2022(t *testing.T) {
	p, src := newPlay(t, "pangyo-2022", "sensors2022.toml.tmpl", 10*time.Minute)
	p.until(src, 14*time.Minute)
	if at, ok := p.first("stage.opened 3"); ok {
		t.Errorf("stage 3 opens at %v s with one kind of evidence", at)
	}
	if at, ok := p.first("stage.opened 2b"); !ok || at < 300 {
		t.Errorf("stage 2b opens at %v s, %v: want at 300 s, the only poll that can see the fire", at, ok)
	}
}
