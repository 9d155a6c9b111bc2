package commission

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/app"
	"firebreak/plugins"
)

// room is an agent of two thermometers on devices of their own, and of a contact. What a person does is a function
// of the time since he was told to.
type room struct {
	mode   string
	began  time.Time // of the last "NOW"
	does   func(points map[string]float64, since time.Duration)
	proven []app.Request
	refuse error
	bad    string // a point that cannot be read
	alarm  float64
}

func (r *room) ask(q app.Request) (app.Answer, error) {
	switch q.Order {
	case "status":
		return app.Answer{Status: &app.Status{Plans: []plugins.PlanState{{Plan: "p", Mode: r.mode}}}}, nil
	case "prove":
		r.proven = append(r.proven, q)
		return app.Answer{}, r.refuse
	}
	values := map[string]float64{"t-1.temperature": 21, "t-2.temperature": 22, "c-1.contact": r.alarm}
	if !r.began.IsZero() {
		r.does(values, time.Since(r.began))
	}
	var out []app.PointState
	for _, n := range []string{"t-1.temperature", "t-2.temperature"} {
		out = append(out, app.PointState{Name: n, Unit: "C", Kind: "measurement", Physics: "temperature", Hazard: 1, Votes: true, Value: values[n], Usable: n != r.bad, Quality: "good", PollMs: 1000, Range: 150})
	}
	return app.Answer{Points: append(out, app.PointState{Name: "c-1.contact", Kind: "binary", Physics: "smoke", Hazard: 1, Votes: true, Value: values["c-1.contact"], Usable: true, Quality: "good", PollMs: 1000})}, nil
}

// Write hears what the walk says to the person.
func (r *room) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "NOW") {
		r.began = time.Now()
	}
	if strings.Contains(string(b), "ready?") {
		r.began = time.Time{}
	}
	return len(b), nil
}

// walk runs through what only names; the person is always ready.
func walk(t *testing.T, r *room, only ...string) (out []Result, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		lines := make(chan string)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			for {
				select {
				case lines <- "":
				case <-ctx.Done():
					return
				}
			}
		}()
		w := Walk{Ask: r.ask, Lines: lines, Out: r, By: "anna", Only: only, Rest: 5 * time.Second, Patience: time.Minute}
		out, err = w.Run(ctx)
	})
	return out, err
}

// Exactly the point that was meant moves, in the right sense and in time: then, and only then, it is proven (S23).
func TestOnlyThePointThatMoves(t *testing.T) {
	warm := func(name string, to float64) func(map[string]float64, time.Duration) {
		return func(v map[string]float64, since time.Duration) {
			if since > 10*time.Second {
				v[name] = to
			}
		}
	}
	for _, c := range []struct {
		name, why string
		does      func(map[string]float64, time.Duration)
		bad       string
	}{
		{"it moves", "", warm("t-1.temperature", 40), ""},
		{"nothing moves", "it did not move: is it", warm("t-1.temperature", 22), ""},
		{"the other one moves", "it did not move, and t-2.temperature did: they are swapped", warm("t-2.temperature", 40), ""},
		{"away from danger", "it moved away from danger (from 21 to 5 C in 10", warm("t-1.temperature", 5), ""},
		{"too late", "it did not move", func(v map[string]float64, since time.Duration) {
			if since > 70*time.Second {
				v["t-1.temperature"] = 40
			}
		}, ""},
		{"both move", "t-2.temperature moved too", func(v map[string]float64, since time.Duration) {
			warm("t-1.temperature", 40)(v, since)
			if since > 11*time.Second {
				v["t-2.temperature"] = 40
			}
		}, ""},
		{"the other one cools down", "", func(v map[string]float64, since time.Duration) {
			warm("t-1.temperature", 40)(v, since)
			v["t-2.temperature"] = 22 - since.Seconds()
		}, ""},
		{"it cannot be read", "it cannot be read at rest", warm("t-1.temperature", 40), "t-1.temperature"},
	} {
		r := &room{mode: "observe", does: c.does, bad: c.bad}
		out, err := walk(t, r, "t-1.*")
		if err != nil || len(out) != 1 || out[0].Proven != (c.why == "") || !strings.Contains(out[0].Why, c.why) {
			t.Errorf("%s: %+v, %v", c.name, out, err)
		}
		if (len(r.proven) == 1) != (c.why == "") {
			t.Errorf("%s: recorded %v", c.name, r.proven)
		}
	}
	r := &room{mode: "observe", does: warm("t-1.temperature", 40)}
	if _, err := walk(t, r, "t-1.*"); err != nil || len(r.proven) != 1 || r.proven[0].Name != "t-1.temperature" || r.proven[0].By != "anna" || !strings.HasPrefix(r.proven[0].Reason, "commission: from 21 to 40 C in 10") {
		t.Errorf("%v, %v", r.proven, err)
	}
}

// A contact that says danger at rest proves nothing, and one that is refused by the agent is not on the sheet as proven.
func TestContactAndRefusal(t *testing.T) {
	on := func(v map[string]float64, since time.Duration) { v["c-1.contact"] = 1 }
	r := &room{mode: "observe", does: on, refuse: errors.New("the clock is not synchronised")}
	out, err := walk(t, r, "c-1.contact")
	if err != nil || len(out) != 1 || out[0].Proven || !strings.Contains(out[0].Why, "not synchronised") {
		t.Errorf("%+v, %v", out, err)
	}
	r.alarm, r.refuse = 1, nil
	if out, err = walk(t, r, "c-1.contact"); err != nil || out[0].Proven || !strings.Contains(out[0].Why, "danger at rest") {
		t.Errorf("%+v, %v", out, err)
	}
	r.alarm = 0
	if out, err = walk(t, r, "c-1.contact"); err != nil || !out[0].Proven {
		t.Errorf("%+v, %v", out, err)
	}
}

// Nothing begins while a plan is armed.
func TestArmedIsRefused(t *testing.T) {
	r := &room{mode: "armed"}
	if out, err := walk(t, r); err == nil || !strings.Contains(err.Error(), "plan p is armed") || out != nil {
		t.Errorf("%v, %v", out, err)
	}
	r = &room{mode: "observe"} // and nothing goes on once another person has armed one
	r.does = func(v map[string]float64, since time.Duration) { r.mode, v["t-1.temperature"] = "armed", 40 }
	out, err := walk(t, r, "t-*")
	if err == nil || len(out) != 2 || !out[0].Proven || out[1].Proven || !strings.Contains(out[1].Why, "plan p is armed") {
		t.Errorf("armed in the middle: %+v, %v", out, err)
	}
	r = &room{mode: "observe"}
	if _, err := walk(t, r, "nothing"); err == nil {
		t.Error("no point, and no fault")
	}
}

func TestSheet(t *testing.T) {
	var b strings.Builder
	at := time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)
	err := Sheet(&b, Site{Site: "s", Zone: "z", Agent: "a", Hash: "h", Version: "v", Consumers: []string{"noc"}}, "anna", at, []Result{
		{Point: "t-1.temperature", Unit: "C", Physics: "temperature", Serial: "beef1234", Before: 21, After: 40, Took: 10 * time.Second, At: at, Proven: true},
		{Point: "t-2.temperature", Physics: "temperature", Why: "it did not | move"}})
	for _, want := range []string{"1 of 2 points proven", "| t-1.temperature | temperature | beef1234 | proven | from 21 to 40 C in 10s | 2026-05-04 10:00:00 |",
		"| t-2.temperature | temperature |  | **not proven** | it did not / move |", "show", "noc", "replaces none"} {
		if err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%v, lacks %q:\n%s", err, want, b.String())
		}
	}
}
