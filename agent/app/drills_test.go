package app

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/drill"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// drilled is a hook that takes part in drills, and says nothing of the end of its work.
type drilled struct{ called chan plugins.Call }

func (h drilled) Probe(context.Context) error { return nil }

func (h drilled) Do(_ context.Context, c plugins.Call, _ func(plugins.Evidence)) plugins.Outcome {
	h.called <- c
	return plugins.Outcome{Result: plugins.Done}
}

// What a hook has seen of a drilled call goes to the drill that runs, and never to the real loop: there
// is none here, and whoever called it would panic. Without a drill it goes nowhere (S7).
func TestEvidenceOfADrillGoesToTheDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := &core.Rules{Site: "s", Zone: "z", Agent: "a", Hash: "h", Hazard: &hazard.Rules{
			Devices: []sensors.Device{{Name: "asd", Poll: time.Second}},
			Points:  []sensors.Point{{Name: "asd.smoke", Physics: sensors.Smoke, Hazard: 1, Max: 100, Stale: time.Hour}},
			Conds:   []hazard.Cond{{Name: "smoke", Threshold: 10, Priority: 2, Members: []hazard.Member{{Points: []sensors.PointID{0}}}}}},
			Response: &response.Rules{Hooks: []string{"drain"}, Plans: []response.Plan{{Name: "evacuate", Zone: "z",
				Stages: []response.Stage{{Level: plugins.SwitchOver}},
				Steps: []response.Step{{Name: "drain", Stage: plugins.SwitchOver, Timeout: 5 * time.Second, Cap: time.Minute, OnlyIf: hazard.NoCond,
					Evidence: response.ByHook, EvidenceName: plugins.SeenDone}}}}}}
		h := drilled{make(chan plugins.Call, 1)}
		d, err := drill.New(drill.Config{Rules: rules, Plan: "evacuate", By: "kim", Stage: plugins.SwitchOver, Clock: sensors.NewClock(), Wall: time.Now(), Hooks: []plugins.Hook{h}})
		if err != nil {
			t.Fatal(err)
		}
		p := &parts{drills: &drills{}}
		over := make(chan *drill.Report, 1)
		go func() { over <- d.Run(t.Context()) }()
		call := <-h.called
		saw := core.Event{Kind: core.Seen, Evidence: plugins.Evidence{Key: call.Key, Mark: plugins.MarkDrill, Name: plugins.SeenDone, OK: true}}
		p.seen(t.Context(), saw)
		synctest.Wait()
		if n := len(d.Report().Steps[0].Came); n != 0 {
			t.Errorf("%d pieces of evidence came to a drill that is not the one that runs", n)
		}
		p.drills.current = d
		p.seen(t.Context(), saw)
		if r := <-over; !r.Steps[0].Evidence || len(r.Steps[0].Came) != 1 {
			t.Errorf("the evidence did not come: %+v", r.Steps[0])
		}
	})
}
