package response_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// S15: a step waits for those in its after until each has ended.
func TestAfter(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "flush"), at(plugins.SwitchOver, "drain", 0), at(plugins.SwitchOver, "dns", 0, 1)))
	r.set(yes, switchOver)
	r.wantStarts("flush")
	r.pass(5 * second)
	r.ends("flush", plugins.Done)
	r.wantStarts("flush", "drain")
	r.ends("drain", plugins.Failed)
	r.wantStarts("flush", "drain", "dns")
	r.ends("dns", plugins.Done)
	for s, st := range map[string]response.StepState{"flush": response.Done, "drain": response.Failed, "dns": response.Done} {
		r.want(s, st)
	}
}

// S15: ... or has spent its own cap, which counts from its first start.
func TestCapCountsFromTheFirstStart(t *testing.T) {
	a := at(plugins.Prepare, "flush")
	a.Retries, a.Backoff = 9, 20*second
	r := newRig(t, plan(a, at(plugins.SwitchOver, "drain", 0)))
	r.set(yes, switchOver)
	first := r.now
	r.ends("flush", plugins.Failed)
	r.pass(30 * second)
	r.wantStarts("flush", "flush")
	if s := r.of("flush"); s.Start != first {
		t.Errorf("the second attempt moved the start from %v to %v", first, s.Start)
	}
	r.pass(30*second - 1)
	r.want("flush", response.Starting)
	r.pass(1)
	r.want("flush", response.Capped)
	r.wantStarts("flush", "flush", "drain")
	if a := r.alarms()["plan/evacuate/flush/capped"]; !a.Active {
		t.Error("no alarm says that the cap is spent")
	}
	r.pass(time.Hour)
	r.wantStarts("flush", "flush", "drain")
}

func TestEvidenceByCondition(t *testing.T) {
	a := at(plugins.Prepare, "drain")
	a.Evidence, a.EvidenceCond = response.ByCondition, proof
	r := newRig(t, plan(a, at(plugins.SwitchOver, "next", 0)))
	old := yes
	old.Fresh = r.now
	r.j.v[proof] = old
	r.set(yes, switchOver)
	r.ends("drain", plugins.Done)
	r.want("drain", response.Working) // the reading is not younger than the start
	r.pass(second)
	held := heldTrue
	held.Fresh = r.now
	r.set(held, proof)
	r.want("drain", response.Working)
	r.set(no, proof)
	r.pass(second)
	fresh := yes
	fresh.Fresh = r.now
	r.set(fresh, proof)
	r.want("drain", response.Done)
	if s := r.of("drain"); !s.Evidence {
		t.Error("done by evidence is not marked so")
	}
	r.wantStarts("drain", "next")
}

// Late evidence turns a spent cap into done, and changes nothing else.
func TestLateEvidence(t *testing.T) {
	a, b, c := at(plugins.Prepare, "cond"), at(plugins.Prepare, "hook"), at(plugins.Prepare, "outcome")
	a.Evidence, a.EvidenceCond = response.ByCondition, proof
	b.Evidence = response.ByHook
	r := newRig(t, plan(a, b, c))
	r.set(yes, prepare)
	r.ends("cond", plugins.Done)
	r.ends("hook", plugins.Done)
	r.started("outcome")
	r.pass(time.Hour)
	for _, s := range []string{"cond", "hook", "outcome"} {
		r.want(s, response.Capped)
	}
	late := yes
	late.Fresh = r.now
	r.set(late, proof)
	r.evidence("hook", false)
	r.want("hook", response.Capped)
	r.evidence("hook", true)
	r.ends("outcome", plugins.Done)
	for _, s := range []string{"cond", "hook", "outcome"} {
		r.want(s, response.Done)
		if rec := r.of(s); !rec.Evidence {
			t.Errorf("%s: %+v, want evidence", s, rec)
		}
	}
	n := len(r.log)
	r.evidence("hook", true)
	r.ends("outcome", plugins.Done)
	r.ends("outcome", plugins.Failed)
	if len(r.log) != n {
		t.Errorf("evidence that comes twice writes %+v", r.log[n:])
	}
}

// A late outcome of an attempt that is known to have failed is no evidence.
func TestLateOutcomeOfAnotherAttempt(t *testing.T) {
	a := at(plugins.Prepare, "drain")
	a.Retries, a.Backoff = 1, second
	r := newRig(t, plan(a))
	r.set(yes, prepare)
	r.ends("drain", plugins.Failed)
	r.pass(time.Hour)
	r.want("drain", response.Capped)
	for i, want := range []response.StepState{response.Capped, response.Done} {
		k := r.starts[i].Key
		r.do(func(o *response.Out) { r.m.Done(r.now, k, plugins.Outcome{Result: plugins.Done}, o) })
		r.want("drain", want)
	}
}

func TestEvidenceByHook(t *testing.T) {
	a := at(plugins.Prepare, "drain")
	a.Evidence = response.ByHook
	r := newRig(t, plan(a))
	r.set(yes, prepare)
	r.started("drain")
	r.evidence("drain", true) // before the hook has ended
	r.want("drain", response.Done)
	r.ends("drain", plugins.Failed) // what it says later is too late
	r.want("drain", response.Done)
	// Of another episode, step or zone: nothing.
	n := len(r.log)
	for _, f := range []func(*plugins.Key){func(k *plugins.Key) { k.Episode++ }, func(k *plugins.Key) { k.Step = "x" },
		func(k *plugins.Key) { k.Zone = "x" }, func(k *plugins.Key) { k.Plan = "x" }, func(k *plugins.Key) { k.Undo = true }} {
		k := r.last("drain").Key
		f(&k)
		r.do(func(o *response.Out) { r.m.Seen(r.now, plugins.Evidence{Key: k, OK: true}, o) })
		r.do(func(o *response.Out) { r.m.Done(r.now, k, plugins.Outcome{Result: plugins.Failed}, o) })
		r.do(func(o *response.Out) { r.m.Started(r.now, k, true, o) })
	}
	if len(r.log) != n {
		t.Errorf("what is not meant for the step writes %+v", r.log[n:])
	}
}

// A hook that says gigabytes does not get them into the journal, which would refuse the record.
func TestHookThatSaysTooMuch(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain")))
	r.set(yes, prepare)
	r.do(func(o *response.Out) {
		r.m.Done(r.now, r.last("drain").Key, plugins.Outcome{Result: plugins.Failed, Detail: strings.Repeat("ä", 1<<20)}, o)
	})
	r.want("drain", response.Failed)
	if d := r.of("drain").Detail; len(d) > 2000 || !utf8.ValidString(d) || !strings.HasPrefix(d, "ää") {
		t.Errorf("%d bytes on record", len(d))
	}
}

// S9: the attempt grows only after a known failure; an unknown end is tried again under its key.
func TestAttempt(t *testing.T) {
	a := at(plugins.Prepare, "drain")
	a.Retries, a.Backoff, a.Cap = 4, second, time.Hour
	r := newRig(t, plan(a))
	r.set(yes, prepare)
	for _, res := range []plugins.Result{plugins.Unknown, plugins.Failed, plugins.Unknown, plugins.Failed} {
		r.ends("drain", res)
		r.want("drain", response.Waiting)
		r.pass(time.Minute)
	}
	var got []uint16
	for _, c := range r.starts {
		got = append(got, c.Key.Attempt)
	}
	if want := []uint16{0, 0, 1, 1, 2}; len(got) != 5 || [5]uint16(got) != [5]uint16(want) {
		t.Fatalf("attempts %v, want %v", got, want)
	}
	// An outcome of an earlier attempt changes nothing.
	old := r.starts[0].Key
	r.do(func(o *response.Out) { r.m.Done(r.now, old, plugins.Outcome{Result: plugins.Done}, o) })
	r.want("drain", response.Starting)
	r.ends("drain", plugins.Failed)
	r.want("drain", response.Failed)
}

// An unknown end with nothing left to try waits for the evidence, if there is any but the outcome.
func TestUnknownEnd(t *testing.T) {
	a, b := at(plugins.Prepare, "outcome"), at(plugins.Prepare, "cond")
	b.Evidence, b.EvidenceCond = response.ByCondition, proof
	r := newRig(t, plan(a, b))
	r.set(yes, prepare)
	r.ends("outcome", plugins.Unknown)
	r.ends("cond", plugins.Unknown)
	r.want("outcome", response.Failed)
	r.want("cond", response.Working)
}

func TestBackoffDoublesUpToAMinute(t *testing.T) {
	a := at(plugins.Prepare, "drain")
	a.Retries, a.Backoff, a.Cap = 9, 10*second, 24*time.Hour
	r := newRig(t, plan(a))
	r.set(yes, prepare)
	for i, want := range []time.Duration{10 * second, 20 * second, 40 * second, time.Minute, time.Minute} {
		r.ends("drain", plugins.Failed)
		got := r.of("drain").Retry.Sub(r.now)
		if got < want || got > want+want/4 {
			t.Errorf("pause %d is %v, want %v to a quarter more", i, got, want)
		}
		n := len(r.starts)
		r.pass(got - 1)
		if len(r.starts) != n {
			t.Fatalf("pause %d was not kept", i)
		}
		r.pass(1)
		if len(r.starts) != n+1 {
			t.Fatalf("pause %d did not end", i)
		}
	}
}

func TestOnFailure(t *testing.T) {
	for _, c := range []struct {
		on   response.OnFailure
		next response.StepState
		prio int
	}{
		{response.Continue, response.Starting, 2},
		{response.Retry, response.Starting, 2},
		{response.Escalate, response.Starting, 1},
		{response.Abort, response.Blocked, 1},
	} {
		a := at(plugins.Prepare, "first")
		a.OnFailure = c.on
		r := newRig(t, plan(a, at(plugins.SwitchOver, "next", 0), at(plugins.SwitchOver, "last", 1), at(plugins.SwitchOver, "other")))
		r.set(yes, switchOver)
		r.ends("first", plugins.Failed)
		r.want("next", c.next)
		r.want("other", response.Starting)
		if a := r.alarms()["plan/evacuate/first/failed"]; a.Priority != c.prio {
			t.Errorf("on_failure %d: alarm %+v, want priority %d", c.on, a, c.prio)
		}
		if c.on != response.Abort {
			continue
		}
		r.want("last", response.Blocked)
		if v := r.m.View(r.now, "evacuate", r.j); !strings.Contains(v.Asking, `"first"`) {
			t.Errorf("a person is asked %q", v.Asking)
		}
		r.pass(time.Hour)
		r.want("last", response.Blocked)
	}
}

func TestOnlyIf(t *testing.T) {
	fresh := func() *rig {
		a := at(plugins.Prepare, "switch")
		a.OnlyIf = mains
		return newRig(t, plan(a, at(plugins.SwitchOver, "next", 0)))
	}
	r := fresh()
	r.set(yes, mains)
	r.set(yes, switchOver)
	r.want("switch", response.Starting)

	r = fresh()
	r.set(yes, switchOver)
	r.want("switch", response.Skipped)
	r.want("next", response.Starting)
	r.set(yes, mains)
	r.want("switch", response.Skipped)

	for _, v := range []hazard.Verdict{unknown, blinded, heldTrue, bypassed} {
		r = fresh()
		r.set(v, mains)
		r.set(yes, switchOver)
		r.want("switch", response.Withheld)
		r.want("next", response.Idle)
		if a := r.alarms()["plan/evacuate/switch/withheld"]; a.Priority != 1 {
			t.Errorf("only_if %v: no alarm of priority 1", v)
		}
		r.set(yes, mains) // it can be known again
		r.want("switch", response.Starting)
	}
}

// S15: a step marked proof_required never starts on a cap.
func TestProofRequired(t *testing.T) {
	a, b := at(plugins.Prepare, "fence"), at(plugins.SwitchOver, "detach", 0)
	a.Evidence, b.Proof = response.ByHook, true
	r := newRig(t, plan(a, b))
	r.set(yes, switchOver)
	r.ends("fence", plugins.Done)
	r.pass(time.Hour)
	r.want("fence", response.Capped)
	r.want("detach", response.Withheld)
	r.wantStarts("fence")
	if a := r.alarms()["plan/evacuate/detach/withheld"]; a.Priority != 1 {
		t.Error("no alarm of priority 1 asks")
	}
	r.evidence("fence", true)
	r.want("detach", response.Starting)

	r = newRig(t, plan(a, b))
	r.set(yes, switchOver)
	r.ends("fence", plugins.Failed)
	r.pass(time.Hour)
	r.want("detach", response.Withheld)
}

// A hook that takes no part ends its step.
func TestSkippedByTheHook(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "a"), at(plugins.SwitchOver, "b", 0)))
	r.set(yes, switchOver)
	r.ends("a", plugins.Skipped)
	r.want("a", response.Skipped)
	r.want("b", response.Starting)
}

// Whether the start was durable is kept with the step, and told.
func TestNotJournaled(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "a"), at(plugins.Prepare, "b")))
	r.set(yes, prepare)
	if a := r.alarms(); a["plan/evacuate/a/not-journaled"].Active {
		t.Error("told before the hook was started")
	}
	for _, s := range []string{"a", "b"} {
		k := r.last(s).Key
		r.do(func(o *response.Out) { r.m.Started(r.now, k, s == "b", o) })
	}
	a := r.alarms()
	if !a["plan/evacuate/a/not-journaled"].Active || a["plan/evacuate/b/not-journaled"].Active {
		t.Errorf("alarms %v", a)
	}
	for _, s := range r.m.View(r.now, "evacuate", r.j).Steps {
		if s.Journaled != (s.Step == "b") || s.State != "running" {
			t.Errorf("view %+v", s)
		}
	}
}
