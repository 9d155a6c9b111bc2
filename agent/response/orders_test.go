package response_test

import (
	"strings"
	"testing"
	"time"

	"firebreak/agent/response"
	"firebreak/plugins"
)

// S8: downtime counts for the time-out of a call that was under way; one that is not known to have begun
// has all of it, and one whose time is over is asked once more, shortly.
func TestDowntimeCountsForTimeouts(t *testing.T) {
	for _, c := range []struct {
		name    string
		running bool
		down    time.Duration
		want    time.Duration
	}{
		{"under way", true, 4 * second, 6 * second},
		{"its time is over", true, 30 * second, 2 * second},
		{"not known to have begun", false, 4 * second, 10 * second},
	} {
		r := newRig(t, plan(at(plugins.Prepare, "drain")))
		r.set(yes, prepare)
		if c.running {
			r.started("drain")
		}
		was := r.last("drain").Key
		r.now = r.now.Add(c.down)
		r.restart("h1", sameBoot)
		got := r.last("drain")
		if got.Timeout != c.want || got.Key != was {
			t.Errorf("%s: asked again for %v under %v, want %v under %v", c.name, got.Timeout, got.Key, c.want, was)
		}
	}
}

// A retry has its whole time-out anew, and downtime counts from its own start.
func TestTimeoutOfARetry(t *testing.T) {
	s := at(plugins.Prepare, "drain")
	s.Retries, s.Backoff = 2, 5*second
	r := newRig(t, plan(s))
	r.set(yes, prepare)
	r.pass(9 * second)
	r.ends("drain", plugins.Failed)
	r.pass(8 * second)
	r.started("drain")
	begun := r.of("drain").Called
	r.pass(3 * second)
	r.restart("h1", sameBoot)
	if got := r.last("drain"); got.Key.Attempt != 1 || begun == r.of("drain").Start || got.Timeout != 10*second-r.now.Sub(begun) {
		t.Errorf("attempt %d is asked again for %v", got.Key.Attempt, got.Timeout)
	}
}

func undoable(stage plugins.Stage, name string, after ...int) response.Step {
	s := at(stage, name, after...)
	s.HasUndo, s.Owner = true, "ops"
	return s
}

func (r *rig) order(f func(o *response.Out) error) (err error) {
	r.do(func(o *response.Out) { err = f(o) })
	return err
}

func (r *rig) undo() error {
	return r.order(func(o *response.Out) error { return r.m.Undo(r.now, "evacuate", "kim", o) })
}

func (r *rig) owed() (steps []string) {
	for _, e := range r.m.State()["evacuate"].Ledger {
		steps = append(steps, e.Step)
	}
	return steps
}

// undoEnds reports the end of the undo that was started last.
func (r *rig) undoEnds(res plugins.Result) {
	r.t.Helper()
	c := r.starts[len(r.starts)-1]
	if !c.Key.Undo {
		r.t.Fatalf("the last call is no undo: %v", r.keys())
	}
	r.do(func(o *response.Out) { r.m.Done(r.now, c.Key, plugins.Outcome{Result: res}, o) })
}

// S21: what was done is owed; what is known not to have been done is not; nothing is undone before a reset.
func TestLedger(t *testing.T) {
	r := newRig(t, plan(undoable(plugins.Prepare, "freeze"), undoable(plugins.Prepare, "fails"), undoable(plugins.SwitchOver, "drain", 0),
		at(plugins.SwitchOver, "plain"), undoable(plugins.SwitchOver, "unknown")))
	r.set(yes, prepare, switchOver)
	r.ends("freeze", plugins.Done)
	r.ends("fails", plugins.Failed)
	r.ends("drain", plugins.Done)
	r.ends("unknown", plugins.Unknown)
	if got := strings.Join(r.owed(), " "); got != "freeze unknown drain" {
		t.Fatalf("owed: %s", got)
	}
	if r.undo() == nil {
		t.Fatal("an undo in the middle of an episode")
	}
	r.set(no, prepare, switchOver)
	r.pass(11 * time.Minute)
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	r.starts = nil
	r.step()
	r.wantStarts() // S1: a reset undoes nothing
	if err := r.undo(); err != nil {
		t.Fatal(err)
	}
	r.wantStarts("drain") // the last that was started
	r.undoEnds(plugins.Done)
	r.restart("h1", sameBoot) // in the middle: goes on under the same key
	if c := r.last("unknown"); !c.Key.Undo || c.Key.Attempt != 0 {
		t.Errorf("after the restart: %v", c.Key)
	}
	r.undoEnds(plugins.Unknown)
	if a := r.alarms()["plan/evacuate/unknown/undo"]; a.Priority != 2 {
		t.Errorf("a failed undo is no alarm: %v", r.alarms())
	}
	r.starts = nil
	r.step()
	r.wantStarts() // what came before it stays as it is
	if err := r.undo(); err != nil {
		t.Fatal(err)
	}
	if c := r.last("unknown"); c.Key.Attempt != 0 {
		t.Errorf("an unknown end earned a new key: %v", c.Key)
	}
	r.undoEnds(plugins.Done)
	r.undoEnds(plugins.Done)
	if got := r.owed(); len(got) != 0 {
		t.Errorf("still owed: %v", got)
	}
}

// After a reboot nobody knows what an undo has done: a person orders it anew.
func TestUndoOverAReboot(t *testing.T) {
	r := newRig(t, plan(undoable(plugins.Prepare, "freeze")))
	r.set(yes, prepare)
	r.ends("freeze", plugins.Done)
	r.set(no, prepare)
	r.pass(11 * time.Minute)
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	if err := r.undo(); err != nil {
		t.Fatal(err)
	}
	r.restart("h1", response.Resumed{AgeKnown: true})
	r.wantStarts()
	if got := r.owed(); len(got) != 1 {
		t.Errorf("owed: %v", got)
	}
	if _, told := r.alarms()["plan/evacuate/freeze/undo"]; !told {
		t.Error("nobody is told")
	}
}

// A step whose entry of an earlier episode stands is one entry, of the newest episode and the oldest instant.
func TestLedgerOfTwoEpisodes(t *testing.T) {
	r := newRig(t, plan(undoable(plugins.Prepare, "freeze")))
	first := r.now
	for range 2 {
		r.set(yes, prepare)
		r.ends("freeze", plugins.Done)
		r.set(no, prepare)
		r.pass(11 * time.Minute)
		if err := r.reset(); err != nil {
			t.Fatal(err)
		}
	}
	l := r.m.State()["evacuate"].Ledger
	if len(l) != 1 || l[0].Episode != 42 || l[0].At != first {
		t.Errorf("the ledger: %+v", l)
	}
}

// S16: a trip opens a stage without its vote, countdown and re-vote; a false only_if and proof stand.
func TestTrip(t *testing.T) {
	proofed := at(plugins.Shed, "proofed", 0)
	proofed.Proof = true
	off := at(plugins.Shed, "by-mains")
	off.OnlyIf = mains
	r := newRig(t, plan(at(plugins.Shed, "hosts"), proofed, off))
	r.j.v[mains] = unknown
	trip := func(st plugins.Stage, box bool) error {
		return r.order(func(o *response.Out) error { return r.m.Trip(r.now, "evacuate", st, "kim", box, o) })
	}
	if trip(plugins.Notify, true) == nil {
		t.Error("stage 1 was tripped")
	}
	if err := trip(plugins.Shed, false); err != nil {
		t.Fatal(err)
	}
	r.wantOpen("1 2a 2b 3")
	r.wantStarts("hosts")
	r.want("by-mains", response.Withheld)
	r.want("proofed", response.Idle)
	if err := trip(plugins.Shed, true); err != nil {
		t.Fatal(err)
	}
	r.wantStarts("hosts", "by-mains")
	r.started("hosts")
	r.pass(61 * second) // its cap: no proof
	r.want("proofed", response.Withheld)
	if r.order(func(o *response.Out) error { return r.m.Hold(r.now, "evacuate", "lee", o) }) == nil {
		t.Error("a hold over a trip")
	}
	r.set(no, seen)
	if err := r.reset(); err == nil || !strings.Contains(err.Error(), "clear time") {
		t.Errorf("a reset right after the trip: %v", err)
	}
}

// A trip releases a hold, wakes a stale run, and is there after a restart. A plan that observes refuses it.
func TestTripOverridesHoldAndAge(t *testing.T) {
	p := plan(at(plugins.Shed, "hosts"))
	p.MaxHold = time.Minute
	r := newRig(t, p)
	r.set(yes, shed)
	if err := r.order(func(o *response.Out) error { return r.m.Hold(r.now, "evacuate", "lee", o) }); err != nil {
		t.Fatal(err)
	}
	r.restart("h1", response.Resumed{}) // of unknown age: stale
	r.set(no, shed)
	r.pass(time.Minute)
	r.wantStarts()
	if err := r.order(func(o *response.Out) error { return r.m.Trip(r.now, "evacuate", plugins.Shed, "kim", true, o) }); err != nil {
		t.Fatal(err)
	}
	r.wantStarts("hosts")
	r.restart("h1", sameBoot)
	if run := r.run(); run.Trip != plugins.Shed || run.TripBy != "kim" || run.HoldAt != 0 {
		t.Errorf("after a restart: %+v", run)
	}
	// The run is old once more, and nothing can be read: only the person who tripped it can go on.
	r.restart("h1", response.Resumed{})
	r.pass(time.Second)
	r.wantStarts()
	if err := r.order(func(o *response.Out) error { return r.m.Trip(r.now, "evacuate", plugins.Shed, "kim", true, o) }); err != nil {
		t.Fatal(err)
	}
	r.wantStarts("hosts")

	p.Mode, p.Ungated = response.Observe, ""
	r = newRig(t, p)
	if r.order(func(o *response.Out) error { return r.m.Trip(r.now, "evacuate", plugins.Shed, "kim", true, o) }) == nil || r.run() != nil {
		t.Error("a plan that observes was tripped")
	}
}

// S1: an order is called once, and nothing that happens afterwards calls it again.
func TestEnergise(t *testing.T) {
	r := newRig(t, plan(at(plugins.Prepare, "drain")))
	r.rules.Energise = []response.Energise{{Name: "feed-b", Hook: 0, Timeout: second}}
	energise := func(confirm bool) error {
		return r.order(func(o *response.Out) error { return r.m.Energise(r.now, "feed-b", "kim", confirm, o) })
	}
	if energise(false) == nil {
		t.Error("done without the lock-out being removed")
	}
	if err := energise(true); err != nil {
		t.Fatal(err)
	}
	first := r.starts[0].Key
	if len(r.starts) != 1 || !first.Energises() {
		t.Fatalf("called %v", r.keys())
	}
	r.restart("h1", sameBoot)
	r.wantStarts()
	r.do(func(o *response.Out) { r.m.Done(r.now, first, plugins.Outcome{Result: plugins.Failed}, o) })
	r.pass(time.Hour)
	r.wantStarts()
	r.set(yes, prepare)
	if energise(true) == nil {
		t.Error("done in the middle of an episode")
	}
	r.set(no, prepare)
	r.pass(11 * time.Minute)
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	r.starts = nil
	if err := energise(true); err != nil || len(r.starts) != 1 || r.starts[0].Key == first {
		t.Errorf("the second order: %v, %v after %v", err, r.keys(), first)
	}
}

// Evidence of a name that was not asked for proves nothing.
func TestNamedEvidence(t *testing.T) {
	s := at(plugins.Prepare, "drain")
	s.Evidence, s.EvidenceName = response.ByHook, plugins.SeenDone
	r := newRig(t, plan(s))
	r.set(yes, prepare)
	r.ends("drain", plugins.Done)
	tell := func(name string) {
		k := r.last("drain").Key
		r.do(func(o *response.Out) { r.m.Seen(r.now, plugins.Evidence{Key: k, Name: name, OK: true}, o) })
	}
	tell(plugins.SeenReceipt)
	r.want("drain", response.Working)
	tell(plugins.SeenDone)
	r.want("drain", response.Done)
}

// S13: peers agree on the number while they are idle; it never goes back; an undo needs the reset of both.
func TestPeers(t *testing.T) {
	p := plan(undoable(plugins.Prepare, "freeze"))
	p.Peer = "b"
	r := newRig(t, p)
	says := func(s response.PeerSaid) {
		s.Plan = "evacuate"
		if s.Agent == "" {
			s.Agent = "b"
		}
		r.do(func(o *response.Out) { r.m.Peer(r.now, s, o) })
	}
	next := func() uint64 { return r.m.State()["evacuate"].Next }
	for _, c := range []struct {
		said response.PeerSaid
		want uint64
	}{
		{response.PeerSaid{Next: 50}, 50},
		{response.PeerSaid{Next: 7}, 50},                                       // never back
		{response.PeerSaid{Next: 90, Agent: "stranger"}, 50},                   // not the peer
		{response.PeerSaid{Next: 61, Episode: 60, Stage: plugins.Prepare}, 60}, // the one that it has open
	} {
		if says(c.said); next() != c.want {
			t.Errorf("after %+v the next episode is %d, want %d", c.said, next(), c.want)
		}
	}
	r.restart("h1", sameBoot)
	r.set(yes, prepare)
	if k := r.last("freeze").Key; k.Episode != 60 {
		t.Errorf("the keys differ: %v", k)
	}
	says(response.PeerSaid{Next: 99})
	if r.run().Episode != 60 {
		t.Error("an open episode has changed its number")
	}
	r.ends("freeze", plugins.Done)
	r.set(no, prepare)
	r.pass(11 * time.Minute)
	if err := r.reset(); err != nil {
		t.Fatal(err)
	}
	if r.undo() == nil {
		t.Error("undone while the peer cannot be heard")
	}
	says(response.PeerSaid{Next: 61, Episode: 60, Stage: plugins.Prepare})
	if r.undo() == nil {
		t.Error("undone while the peer's episode is open")
	}
	says(response.PeerSaid{Next: 61})
	if err := r.undo(); err != nil {
		t.Error(err)
	}
}
