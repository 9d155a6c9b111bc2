package demo

import (
	"context"
	"encoding/json"
	"math"
	"testing"
	"time"

	"firebreak/agent/hub"
	"firebreak/agent/wire/session"
	"firebreak/configs"
	"firebreak/plugins"
	"firebreak/sensors"
	"firebreak/sensors/sim"
)

func world(t *testing.T, clock *sensors.Clock) (sim.Scenario, *sim.World) {
	t.Helper()
	sc, err := sim.Find("pangyo-2022")
	if err != nil {
		t.Fatal(err)
	}
	w, err := sim.New(sc, clock, configs.Profiles())
	if err != nil {
		t.Fatal(err)
	}
	return sc, w
}

// A step that its cap ended was not evacuated in time, whatever is seen of it later; nor is one that
// failed, or that only its time has ended.
func TestOnlyEvidenceEvacuates(t *testing.T) {
	for _, c := range []struct {
		name   string
		states []plugins.StepState
		want   bool
	}{
		{"evidence", []plugins.StepState{{State: "working"}, {State: "done", Evidence: true, Detail: "done racks say done"}}, true},
		{"cap", []plugins.StepState{{State: "working"}, {State: "capped"}}, false},
		{"evidence after the cap", []plugins.StepState{{State: "working"}, {State: "capped"}, {State: "done", Evidence: true}}, false},
		{"done, and nothing seen", []plugins.StepState{{State: "working"}, {State: "done"}}, false},
		{"failed", []plugins.StepState{{State: "failed"}}, false},
		{"still at work", []plugins.StepState{{State: "working"}}, false},
	} {
		clock := sensors.NewScaledClock(0, 60)
		sc, w := world(t, clock)
		r := &run{sc: sc, clock: clock, world: w, begun: time.Now()}
		r.rec = newRecorder(r)
		r.rec.rules = map[string]stepRule{"migrate": {kind: "mqtt", cap: 3 * time.Minute, evidence: "mqtt done", byHook: true}}
		at := r.begun.Add(6 * time.Second) // T+60 s
		r.rec.Offer(plugins.Update{Wall: at, Event: &plugins.Event{Type: "step.starting", Step: "migrate"}})
		for _, st := range c.states {
			st.Step, st.Stage = "migrate", "2b"
			at = at.Add(time.Second)
			r.rec.Offer(plugins.Update{Wall: at, Plan: &plugins.PlanState{Steps: []plugins.StepState{st}}})
		}
		res := result(Options{Speed: 60}, r, &run{rec: newRecorder(nil)})
		if res.Evacuated != c.want || (res.Steps[0].BeforeCap != nil) != c.want {
			t.Errorf("%s: evacuated %v, steps %+v", c.name, res.Evacuated, res.Steps)
		}
		if s := res.Steps[0]; c.want && (*s.BeforeCap != 60 || math.Abs(*s.Ended-*s.Started-120) > 0.15 || s.Detail != "racks say done") {
			t.Errorf("%s: %v s before its cap, at %v: %q; want 60, 120 s after its start", c.name, *s.BeforeCap, *s.Ended, s.Detail)
		}
	}
}

// The consumer answers each command, does the work of a key once, says done when it is, and answers
// nothing on a live topic (S7).
func TestConsumerKeepsTheRules(t *testing.T) {
	broker, err := hub.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	clock := sensors.NewScaledClock(0, 120)
	_, w := world(t, clock)
	began := make(chan string, 16)
	g, err := newTargets(w, clock, t.TempDir(), "a", func(step string, _ time.Time) { began <- step })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	g.wg.Go(func() { g.orchestrate(ctx, broker.URL()) })
	defer func() { cancel(); _ = g.close() }()
	s, err := session.Connect(ctx, session.Config{URL: broker.URL(), ClientID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close(context.Background()) }()
	heard := make(chan string, 64)
	for _, topic := range []string{"firebreak/1/drill/answers", "firebreak/1/answers"} {
		if err := s.Subscribe(ctx, topic, 1, func(topic string, payload []byte, _ bool) {
			var a map[string]string
			_ = json.Unmarshal(payload, &a)
			heard <- topic + " " + a["key"] + " " + a["answer"]
		}); err != nil {
			t.Fatal(err)
		}
	}
	send := func(reply, key, mark string) {
		t.Helper()
		if err := s.Publish(g.drillTopic(), 1, false, []byte(`{"key":"`+key+`","step":"freeze-deploys","mark":"`+mark+`","reply_to":"`+reply+`"}`)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	const drill = "firebreak/1/drill/answers"
	// It may not have subscribed yet: then the command is sent again, as the hook does.
	first := ""
	for deadline := time.After(20 * time.Second); first == ""; {
		send(drill, "k1", "real")
		select {
		case first = <-heard:
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			t.Fatal("the consumer answers nothing")
		}
	}
	got := map[string]int{first: 1}
	until := func(want string) {
		t.Helper()
		for deadline := time.After(20 * time.Second); got[want] == 0; {
			select {
			case h := <-heard:
				got[h]++
			case <-deadline:
				t.Fatalf("no %q among %v", want, got)
			}
		}
	}
	until(drill + " k1 done")
	got[drill+" k1 done"] = 0
	send("firebreak/1/answers", "k2", "real")
	send(drill, "k1", "real") // again: answered, and not done again
	until(drill + " k1 done")
	send(drill, "k3", "drill")
	until(drill + " k3 decline")
	if got[drill+" k1 receipt"] != 1 || got[drill+" k1 accept"] == 0 || len(began) != 1 {
		t.Errorf("%d works began, heard %v", len(began), got)
	}
	for h := range got {
		if h != drill+" k3 receipt" && h != drill+" k3 decline" && h != drill+" k1 receipt" && h != drill+" k1 accept" && h != drill+" k1 done" {
			t.Errorf("heard %q", h)
		}
	}
}
