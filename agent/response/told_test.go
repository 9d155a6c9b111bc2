package response_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// What is left to act is the stated power loss, less the time that has passed, less what the
// irreversible steps to come may take.
func TestTimeLeftToAct(t *testing.T) {
	p := plan(at(plugins.Prepare, "freeze"), at(plugins.Shed, "hosts"), at(plugins.Isolate, "isolate"))
	p.Protects = []string{"b3", "ups"}
	r := newRig(t, p)
	want := func(when string, act int, reversible bool) {
		t.Helper()
		v := r.m.View(r.now, "evacuate", r.j)
		if v.ActByS == nil || *v.ActByS != act || v.Reversible != reversible || !slices.Equal(v.Protects, p.Protects) {
			t.Errorf("%s: act by %v, want %d; reversible %v; protects %v", when, v.ActByS, act, v.Reversible, v.Protects)
		}
	}
	if v := r.m.View(r.now, "evacuate", r.j); v.ActByS != nil || !v.Reversible || v.Protects != nil || v.OpenedBy != nil || v.Cause != "" {
		t.Errorf("without an episode: %+v", v)
	}
	r.set(yes, shed)
	want("at once", 420-60-60, true)
	r.pass(20 * second)
	want("in the countdown", 420-20-60-60, true)
	r.pass(20 * second) // 10 s into the cap of hosts
	r.started("hosts")
	want("under way", 420-40-50-60, false)
	r.ends("hosts", plugins.Done)
	want("done", 420-40-60, false)
	r.pass(10 * time.Minute)
	want("past", 0, false)
	v := r.m.View(r.now, "evacuate", r.j)
	if v.OpenedBy == nil || v.OpenedBy.Cond != fmt.Sprintf("c%d", shed) || v.OpenedBy.Is != "true" || !strings.Contains(v.Cause, v.OpenedBy.Cond) {
		t.Errorf("opened by %+v, %q", v.OpenedBy, v.Cause)
	}
}

func TestNoStatedPowerLossNoTimeLeft(t *testing.T) {
	p := plan(at(plugins.Prepare, "freeze"))
	p.PowerLoss = 0
	r := newRig(t, p)
	r.set(yes, prepare)
	if v := r.m.View(r.now, "evacuate", r.j); v.ActByS != nil || v.Episode == 0 {
		t.Errorf("%+v", v)
	}
}

func TestToldIsBoundedAndHonest(t *testing.T) {
	w := hazard.Why{Cond: "v", Is: hazard.True, K: 2, N: 40, True: 2, Held: 1, Bad: 1, Bypassed: 3}
	for i := range 40 {
		w.Members = append(w.Members, hazard.WhyMember{Name: fmt.Sprint("m", i), Is: hazard.False})
	}
	w.Members[30].Is, w.Members[31].Is, w.Members[20].Is = hazard.True, hazard.True, hazard.Unknown
	w.Members[30].Readings = []hazard.WhyReading{{Point: "a", Value: 7, Quality: "good@simulated", AgeMs: 3}, {Point: "b", Value: 7, Quality: "bad:comm"},
		{Point: "c", Quality: "never read"}, {Point: "d", Value: 7, Quality: "bad:stale"}, {Point: "e", Value: math.NaN(), Quality: "good"}, {Point: "f", Value: 7, Quality: "uncertain:fast"}}
	v, ms := response.Told(&w)
	if *v != (plugins.Vote{Cond: "v", Is: "true", Basis: "measured", K: 2, N: 40, True: 2, Held: 1, Bad: 1, Bypassed: 3}) {
		t.Errorf("vote %+v", v)
	}
	var names []string
	for _, m := range ms {
		names = append(names, m.Name)
	}
	if len(ms) != 16 || !slices.Equal(names[:4], []string{"m30", "m31", "m20", "m0"}) {
		t.Errorf("members %v", names)
	}
	for i, has := range []bool{true, false, false, true, false, true} {
		if r := ms[0].Readings[i]; (r.Value != nil) != has || has && *r.Value != 7 {
			t.Errorf("reading %+v", r)
		}
	}
	if w.Members[0].Name != "m0" {
		t.Error("the verdict itself was changed")
	}
}
