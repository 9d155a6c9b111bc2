package response_test

import (
	"strings"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// S15: a step that is withheld before its first start lets those after it go on once its cap is
// spent, and still starts by itself.
func TestWithheldLetsOthersGoAfterItsCap(t *testing.T) {
	drain := at(plugins.SwitchOver, "drain")
	drain.OnlyIf = mains
	r := newRig(t, plan(drain, at(plugins.Shed, "hosts", 0)))
	r.set(unknown, mains)
	r.set(yes, shed)
	r.want("drain", response.Withheld)
	r.pass(60*second - 1)
	r.wantStarts()
	r.pass(1)
	r.wantStarts("hosts")
	r.want("drain", response.Withheld)
	if d := r.of("drain").Detail; !strings.Contains(d, "only_if") || !strings.Contains(d, "its cap of 1m0s is spent") {
		t.Errorf("withheld because %q", d)
	}
	if a := r.alarms()["plan/evacuate/drain/withheld"]; a.Priority != 1 {
		t.Error("no alarm of priority 1")
	}
	r.set(yes, mains)
	r.wantStarts("hosts", "drain")
	r.pass(60 * second) // its own cap counts from its start
	r.want("drain", response.Capped)
}

// The cap of a withheld step is lasting: downtime within a boot counts, nothing counts anew.
func TestWithheldCapOverARestart(t *testing.T) {
	drain := at(plugins.SwitchOver, "drain")
	drain.OnlyIf = mains
	r := newRig(t, plan(drain, at(plugins.Shed, "hosts", 0)))
	r.set(unknown, mains)
	r.set(yes, shed)
	r.pass(40 * second)
	r.now = r.now.Add(10 * second)
	r.restart("h1", response.Resumed{SameBoot: true, AgeKnown: true, Age: 10 * second})
	r.pass(10*second - 1)
	r.wantStarts()
	r.pass(1)
	r.wantStarts("hosts")
}

// A reboot moves the instant from which the cap counts.
func TestWithheldCapOverAReboot(t *testing.T) {
	drain := at(plugins.SwitchOver, "drain")
	drain.OnlyIf = mains
	r := newRig(t, plan(drain, at(plugins.Shed, "hosts", 0)))
	r.set(unknown, mains)
	r.set(yes, shed)
	r.pass(40 * second)
	r.now = r.now.Add(-500 * second)
	r.restart("h1", response.Resumed{Shift: -510 * second, AgeKnown: true, Age: 10 * second})
	r.pass(10*second - 1)
	r.wantStarts()
	r.pass(1)
	r.wantStarts("hosts")
}

// While nothing of a run may start, no cap counts: those after a withheld step wait for it anew.
func TestWithheldInAStaleRun(t *testing.T) {
	drain := at(plugins.SwitchOver, "drain")
	drain.OnlyIf = mains
	r := newRig(t, plan(drain, at(plugins.Shed, "hosts", 0)))
	r.set(unknown, mains)
	r.set(yes, shed)
	r.pass(40 * second)
	r.j.v[shed] = unknown
	r.restart("h1", response.Resumed{})
	r.pass(time.Hour)
	if d := r.of("drain").Detail; !strings.Contains(d, "old or of unknown age") || strings.Contains(d, "spent") {
		t.Errorf("withheld because %q", d)
	}
	r.set(yes, shed)
	r.pass(60*second - 1)
	r.wantStarts()
	r.pass(1)
	r.wantStarts("hosts")
}

// What asks for proof too tells first that the run is old: nothing else can be done about it before.
func TestProofInAStaleRun(t *testing.T) {
	hosts := at(plugins.Shed, "hosts", 0)
	hosts.Proof = true
	r := newRig(t, plan(at(plugins.SwitchOver, "drain"), hosts, at(plugins.Shed, "last", 1)))
	r.set(yes, shed)
	r.ends("drain", plugins.Failed)
	r.pass(40 * second)
	r.want("hosts", response.Withheld)
	r.j.v[shed] = unknown
	r.restart("h1", response.Resumed{})
	r.pass(time.Hour)
	if v := r.m.View(r.now, "evacuate", r.j); !strings.Contains(v.Asking, "old or of unknown age") {
		t.Errorf("asking: %q", v.Asking)
	}
	r.want("last", response.Idle) // no cap counts
	r.set(yes, shed)
	if d := r.of("hosts").Detail; !strings.Contains(d, "proof") {
		t.Errorf("after a fresh vote withheld because %q", d)
	}
}

// A step whose turn is over, because one before it has started by itself, waits again: no step
// overtakes a hook that runs.
func TestWithheldWaitsAgainForOneThatStarts(t *testing.T) {
	// The last is first in the file: the order of looking must not matter.
	r := newRig(t, plan(at(plugins.Shed, "c", 1), at(plugins.Shed, "b", 2), at(plugins.Shed, "a")))
	r.set(yes, shed)
	r.set(no, shed)
	r.pass(time.Hour)
	r.wantStarts()
	for _, s := range []string{"a", "b", "c"} {
		r.want(s, response.Withheld)
	}
	r.set(yes, shed)
	r.wantStarts("a")
	r.ends("a", plugins.Done)
	r.wantStarts("a", "b")
	r.ends("b", plugins.Done)
	r.wantStarts("a", "b", "c")
}

// A spent cap is no proof, and a step for which those after it did not wait is not started out of
// order where proof is asked for.
func TestWithheldCapIsNoProof(t *testing.T) {
	fence, detach, notice := at(plugins.Shed, "fence"), at(plugins.Shed, "detach", 0), at(plugins.Shed, "notice", 1)
	fence.OnlyIf, detach.Proof = mains, true
	r := newRig(t, plan(fence, detach, notice))
	r.set(unknown, mains)
	r.set(yes, shed)
	r.pass(30*second + 60*second)
	r.want("detach", response.Withheld)
	r.wantStarts()
	r.pass(60 * second) // the cap of detach itself
	r.want("detach", response.Withheld)
	r.wantStarts("notice")
	r.set(yes, mains)
	r.wantStarts("notice", "fence")
	r.ends("fence", plugins.Done)
	r.want("detach", response.Withheld)
	if d := r.of("detach").Detail; !strings.Contains(d, "went on without it") {
		t.Errorf("withheld because %q", d)
	}
	r.wantStarts("notice", "fence")
}

// asks counts the looks at which the plan was told as changed, and returns the last question told.
func (r *rig) told(f func()) (n int, asking string) {
	f()
	for _, c := range r.changed {
		if c == "evacuate" {
			n++
		}
	}
	r.changed = nil
	return n, r.m.View(r.now, "evacuate", r.j).Asking
}

// A question is told when it comes up and when it goes, and once only, also where no record says so.
func TestAskingIsTold(t *testing.T) {
	r := newRig(t, plan())
	r.set(yes, switchOver)
	r.changed = nil
	for _, c := range []struct {
		v    hazard.Verdict
		want string
	}{
		{blinded, "stage 3 cannot open by itself"},
		{weak, "stage 3: its vote rests on a sensor that jumped or went over range without a rise: a person decides"},
		{no, ""},
	} {
		n, asking := r.told(func() { r.set(c.v, shed) })
		if n != 1 || !strings.Contains(asking, c.want) || (asking == "") != (c.want == "") {
			t.Errorf("told %d times, asking %q, want once %q", n, asking, c.want)
		}
		if n, _ := r.told(r.step); n != 0 {
			t.Errorf("told again though nothing has changed")
		}
	}
}

// A weak vote asks nobody before stage 2 is open.
func TestWeakVoteBelowStage2(t *testing.T) {
	r := newRig(t, plan())
	r.set(yes, seen)
	r.set(weak, shed)
	if v := r.m.View(r.now, "evacuate", r.j); v.Asking != "" {
		t.Errorf("asks %q at stage %s", v.Asking, v.Stage)
	}
}

// S15: a limit on the zones that are in 2b at once; the overflow is asked of the NOC.
func TestMaxZones2b(t *testing.T) {
	first := plan(at(plugins.Prepare, "freeze"), at(plugins.SwitchOver, "drain"), at(plugins.SwitchOver, "promote", 1))
	first.Protects, first.MaxZones2b = []string{"b3", "b4"}, 3
	r := newRig(t, first)
	second := plan(at(plugins.Prepare, "freeze2"), at(plugins.SwitchOver, "drain2"), at(plugins.Shed, "hosts2", 1))
	second.Name, second.Protects, second.MaxZones2b = "other", []string{"b5", "b6"}, 3
	second.Stages[1].When, second.Stages[2].When = prepare, shed // it opens later
	r.rules.Plans = append(r.rules.Plans, second)
	r.restart("h1", response.Resumed{AgeKnown: true, EpisodeBase: 41})

	r.set(yes, switchOver)
	r.wantStarts("freeze", "drain")
	r.set(yes, shed)
	r.wantStarts("freeze", "drain", "freeze2")
	s := r.m.State()["other"].Run.Steps["drain2"]
	if s == nil || s.State != response.Withheld || !strings.HasPrefix(s.Detail, "2 zones are in switch-over already, the limit is 3: ask the NOC") {
		t.Fatalf("drain2 is %+v", s)
	}
	if a := r.alarms()["plan/other/drain2/withheld"]; a.Priority != 1 {
		t.Error("no alarm of priority 1")
	}
	r.ends("drain", plugins.Done)
	r.wantStarts("freeze", "drain", "freeze2", "promote") // a zone that is in it goes on
	r.ends("promote", plugins.Done)

	// Room for both: b5 is in both plans, and counts once.
	r.rules.Plans[0].Protects = []string{"b3", "b5"}
	r.step()
	r.wantStarts("freeze", "drain", "freeze2", "promote", "drain2")
}

// A zone that is in switch-over goes on, whoever has come in since.
func TestMaxZones2bStopsNobodyHalfWay(t *testing.T) {
	first := plan(at(plugins.SwitchOver, "drain"), at(plugins.SwitchOver, "promote", 0))
	first.Protects, first.MaxZones2b = []string{"b3"}, 1
	r := newRig(t, first)
	second := plan(at(plugins.SwitchOver, "drain2")) // without a limit
	second.Name, second.Protects = "other", []string{"b5"}
	r.rules.Plans = append(r.rules.Plans, second)
	r.restart("h1", response.Resumed{AgeKnown: true, EpisodeBase: 41})
	r.set(yes, switchOver)
	r.wantStarts("drain", "drain2")
	r.ends("drain", plugins.Done)
	r.wantStarts("drain", "drain2", "promote")
}
