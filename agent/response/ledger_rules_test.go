package response_test

import (
	"strings"
	"testing"
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
)

// owing is a plan that is reset and has not taken back what it did.
func owing(t *testing.T) *rig {
	t.Helper()
	freeze := undoable(plugins.Prepare, "freeze")
	freeze.Revert = "thaw by hand"
	r := newRig(t, plan(freeze, undoable(plugins.Prepare, "drain")))
	r.set(yes, prepare)
	r.ends("freeze", plugins.Done)
	r.ends("drain", plugins.Done)
	r.set(no, prepare)
	r.pass(11 * time.Minute)
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) settle(plan, step string) error {
	return r.order(func(o *response.Out) error { return r.m.Settle(r.now, plan, step, "kim", "thawed", o) })
}

// S21: what was done and is owed stays an alarm when the next configuration has lost its step, or its plan.
func TestLedgerOfWhatTheRulesLack(t *testing.T) {
	const name = "plan/evacuate/freeze/outstanding"
	r := owing(t)
	r.rules.Plans[0].Steps = r.rules.Plans[0].Steps[1:]
	r.restart("h2", sameBoot)
	if _, early := r.alarms()[name]; early {
		t.Error("an alarm before its review is due")
	}
	r.pass(25 * time.Hour)
	if a := r.alarms()[name]; a.Priority != 3 || !strings.Contains(a.Cause, "thaw by hand") {
		t.Errorf("a step that is gone: %+v", a)
	}

	r.rules.Plans[0].Name = "flee"
	r.restart("h3", sameBoot)
	if a := r.alarms()[name]; a.Priority != 3 || !strings.Contains(a.Cause, "thaw by hand") || !strings.Contains(a.Cause, "firebreak settle evacuate/freeze") {
		t.Errorf("a plan that is gone: %+v", a)
	}
	if err := r.settle("evacuate", "freeze"); err != nil {
		t.Fatal(err)
	}
	cleared := false
	r.m.Alarms(func(in hazard.AlarmInput) { cleared = cleared || in.Name == name && !in.Active })
	if !cleared {
		t.Error("it is settled, and the alarm is not cleared")
	}
}

// S6, S10: while a call is under way its episode is not forgotten: an undo would pass it by, and nobody would hear how it ended.
func TestResetWaitsForACall(t *testing.T) {
	freeze := undoable(plugins.Prepare, "freeze")
	freeze.Timeout, freeze.Cap = 20*time.Minute, time.Hour
	r := newRig(t, plan(freeze))
	r.set(yes, prepare)
	r.started("freeze")
	r.set(no, prepare)
	r.pass(11 * time.Minute)
	if err := r.reset(); err == nil || !strings.Contains(err.Error(), "step freeze is at work") {
		t.Fatalf("a reset in the middle of a call: %v", err)
	}
	r.ends("freeze", plugins.Failed)
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	if got := r.owed(); len(got) != 0 {
		t.Errorf("it has failed, and is owed: %v", got)
	}
}

// An undo whose plan the next configuration has lost is over: it must not stand against an order to switch on for ever.
func TestUndoOfAPlanThatIsGone(t *testing.T) {
	r := owing(t)
	if err := r.undo(); err != nil {
		t.Fatal(err)
	}
	r.rules.Plans[0].Name = "flee"
	r.restart("h2", sameBoot)
	p := r.m.State()["evacuate"]
	if p.UndoBy != "" || len(p.Ledger) != 2 || p.Ledger[1].State != response.Failed {
		t.Errorf("after the start: %+v", p)
	}
}

// S6, S13: what an open episode of another plan rests on is not taken back; an episode that opens stops the undo.
func TestUndoOfWhatAnotherPlanNeeds(t *testing.T) {
	r := owing(t)
	other := plan(undoable(plugins.Prepare, "halt"))
	other.Name, other.Stages = "flee", other.Stages[1:]
	other.Stages[0].When = switchOver
	r.rules.Plans[0].Stages = r.rules.Plans[0].Stages[:2]
	r.rules.Plans = append(r.rules.Plans, other)
	r.rules.Plans[0].Steps[0].Target, r.rules.Plans[1].Steps[0].Target = "pool", "pool"
	r.rules.Plans[0].Steps[1].Target = "lb"
	r.restart("h2", sameBoot)
	r.set(yes, switchOver)
	if err := r.undo(); err == nil || !strings.Contains(err.Error(), "plan flee") {
		t.Fatalf("an undo of what the other plan rests on: %v", err)
	}
	r.set(no, switchOver)
	r.pass(11 * time.Minute)
	if err := r.order(func(o *response.Out) error { return r.m.Reset(r.now, "flee", "kim", r.j, o) }); err != nil {
		t.Fatal(err)
	}
	r.starts = nil
	if err := r.undo(); err != nil {
		t.Fatal(err)
	}
	r.wantStarts("drain") // which shares nothing
	r.set(yes, switchOver)
	drain := r.starts[0].Key
	r.do(func(o *response.Out) { r.m.Done(r.now, drain, plugins.Outcome{Result: plugins.Done}, o) })
	if p := r.m.State()["evacuate"]; p.UndoBy != "" || len(p.Ledger) != 1 || p.Ledger[0].State != response.Idle {
		t.Errorf("the other plan has opened: %+v, %v", p, r.keys())
	}
}
