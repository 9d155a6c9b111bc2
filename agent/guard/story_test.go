package guard

import (
	"math/rand/v2"
	"sync"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// The story of a disk test: two fires, a reset and an undo after each, an upgrade in the middle of the
// first. Each scene has its own way in which the evidence comes and goes.
const (
	fire1, quiet1 = 30 * time.Second, 240 * time.Second
	fire2, quiet2 = 330 * time.Second, 540 * time.Second
	theEnd        = 720 * time.Second
	upgrade       = 46500 * time.Millisecond // between two readings
	tripAfter     = 110 * time.Second
)

type scene uint8

const (
	steady scene = iota
	falls        // heat reads false from 22 s to 60 s after the start of the fire, and is back
	burns        // both are silent from 20 s on, and if_blind of stage 4 is hold: a person trips it
	scenes
)

func (s scene) String() string { return [...]string{"steady", "falls", "burns"}[s] }

// diskRules is a plan of stages 2a to 4 with all that a step may wait for.
func diskRules() *core.Rules {
	const cap = 4 * time.Minute
	step := func(stage plugins.Stage, name string, after ...int) response.Step {
		return response.Step{Name: name, Stage: stage, After: after, Timeout: 20 * time.Second, Cap: cap, Backoff: 100 * time.Millisecond, Retries: 2}
	}
	r := rules(
		step(plugins.Prepare, "freeze"), step(plugins.Prepare, "flush", 0),
		step(plugins.SwitchOver, "drain", 1), step(plugins.SwitchOver, "dns"),
		step(plugins.Shed, "hosts", 2), step(plugins.Shed, "db", 3),
		step(plugins.Isolate, "strings", 4, 5), step(plugins.Isolate, "breaker", 6))
	addLoad(r)
	p := &r.Response.Plans[0]
	p.ClearTime = 10 * time.Second
	p.Stages[3].Countdown, p.Stages[4].Countdown = 10*time.Second, 25*time.Second
	p.Stages[4].IfBlind = response.BlindHold
	for k := range 3 {
		p.Steps[k].HasUndo, p.Steps[k].Owner, p.Steps[k].Revert = true, "it", "by hand"
	}
	p.Steps[1].Evidence = response.ByHook
	p.Steps[2].Evidence, p.Steps[2].EvidenceCond = response.ByCondition, isIdle
	p.Steps[5].OnlyIf = isMains
	p.Steps[6].Proof = true
	return r
}

// addLoad gives the room a third device: what a load balancer has left to do, and whether mains is there.
func addLoad(r *core.Rules) {
	hz := r.Hazard
	hz.Devices = append(hz.Devices, sensors.Device{ID: 2, Name: "lb", Poll: time.Second, Path: sensors.Path{Bus: "tcp2", Supply: "B"}})
	for i, name := range []string{"lb.sessions", "lb.mains"} {
		id := sessions + sensors.PointID(i)
		hz.Points = append(hz.Points, sensors.Point{ID: id, Device: 2, Name: name, Physics: sensors.Electrical, Stale: staleAfter})
		hz.Conds = append(hz.Conds, hazard.Cond{Name: name, Kind: []hazard.Kind{hazard.Below, hazard.Above}[i], Threshold: 0.5,
			Members: []hazard.Member{{Device: 2, Points: []sensors.PointID{id}}}})
	}
}

// The conditions over them.
const (
	isIdle  hazard.CondID = 4
	isMains hazard.CondID = 5
)

const (
	sessions sensors.PointID = heat + 1 + iota
	mains
)

// diskWorks is how the targets behave: dns fails at first, the first answer of breaker is lost.
func diskWorks(k plugins.Key) work {
	w := work{result: plugins.Done, lasts: time.Second}
	if k.Undo {
		return w
	}
	switch k.Step {
	case "flush":
		w.lasts, w.evidence = 5*time.Second, true
	case "drain":
		w.lasts = 3 * time.Second
	case "dns":
		if k.Attempt == 0 {
			w.result = plugins.Failed
		}
	case "hosts":
		w.lasts = 8 * time.Second
	case "db":
		w.lasts = 4 * time.Second
	case "strings":
		w.lasts = 6 * time.Second
	case "breaker":
		w.lasts, w.mute = 3*time.Second, 1
	}
	return w
}

// story is one run: a scene, and what strikes it.
type story struct {
	*machine
	scene  scene
	blow   blow
	rnd    *rand.Rand
	cut    chan struct{} // the process was killed, or the power lost
	struck int           // number of the operation at which the blow fell; 0: it did not
	bites  int           // what of it was really felt
	starts []string      // what each start has found
	fellAt int           // the operation at which the first death came; 0: none has
	until  time.Time     // the disk's trouble lasts
	again  bool          // the second blow has fallen
	hurt   bool          // a start has found damage that no power loss explains
	told   bool          // a start has said that durable records are gone
	broken bool          // the disk has refused or hung for a while: what it lost was told as not journaled
	reset  uint64        // the episode of which a person was told that its reset was carried out
	lax    bool          // what keys and latches rest on was durable and is damaged: no claim covers it
}

func newStory(sc scene, b blow, seed uint64) *story {
	r := diskRules()
	s := &story{scene: sc, blow: b, rnd: rand.New(&source{of: rand.NewPCG(seed, uint64(b.at))}), cut: make(chan struct{}, 4)}
	s.machine = newMachine(r, newOutside(&r.Response.Plans[0], diskWorks), newDisk())
	s.synced = s.rnd.IntN(2) == 0
	s.disk.strike, s.found = s.strike, s.recovered
	return s
}

// read gives the agent what the sensors say now.
func (s *story) read() {
	now := s.out.now()
	begin := time.Duration(-1)
	for _, f := range [][2]time.Duration{{fire1, quiet1}, {fire2, quiet2}} {
		if now >= f[0] && now < f[1] {
			begin = f[0]
		}
	}
	in := now - begin
	smokes, heats, silent := 0.0, 20.0, false
	if begin >= 0 {
		smokes = 5
		if in >= 4*time.Second {
			heats = 90
		}
		if s.scene == falls && in >= 22*time.Second && in < time.Minute {
			heats = 20
		}
		silent = s.scene == burns && in >= 20*time.Second
	}
	if !silent {
		s.give(0, map[sensors.PointID]float64{smoke: smokes})
		s.give(1, map[sensors.PointID]float64{heat: heats})
	}
	load := 40.0
	if begin >= 0 && s.out.doneSince("drain", begin, 5*time.Second) {
		load = 0
	}
	s.give(2, map[sensors.PointID]float64{sessions: load, mains: 1})
}

// person resets and takes back once it is over, and trips stage 4 where the evidence has burnt.
func (s *story) person() {
	l := s.living()
	if l == nil {
		return
	}
	v, now := l.view(), s.out.now()
	asked := func(from, to time.Duration) bool {
		return s.scene == burns && now >= from+tripAfter && now < to
	}
	switch {
	case asked(fire1, quiet1), asked(fire2, quiet2):
		if unfinished(v.Steps) > 0 && (v.TrippedBy == "" || v.Asking != "") {
			s.out.trip(plugins.Isolate) // counts from when it is said, whoever hears it
			_ = s.order(core.Order{Kind: core.TripPlan, Stage: plugins.Isolate})
		}
	case now < quiet1, now >= fire2 && now < quiet2:
	case v.Episode != 0:
		if s.order(core.Order{Kind: core.ResetPlan}) == nil {
			s.mu.Lock()
			s.reset = v.Episode
			s.mu.Unlock()
		}
	case len(v.Outstanding) > 0 && v.UndoBy == "":
		_ = s.order(core.Order{Kind: core.UndoPlan})
	}
}

// play lets the story happen to its end, with as many lives as it takes.
func (s *story) play() {
	over := make(chan struct{})
	s.wg.Go(func() { every(over, 2*time.Second, s.read) })
	s.wg.Go(func() { every(over, 1700*time.Millisecond, s.person) })
	s.wg.Go(func() {
		<-time.After(quiet1 - time.Second)
		s.look(fire1)
		<-time.After(fire2 - quiet1)
		s.out.trip(plugins.Watch)
		<-time.After(quiet2 - fire2)
		s.look(fire2)
	})
	upgraded := false
	for s.out.now() < theEnd {
		l, err := s.start()
		if err != nil {
			s.out.wrong("start: %v", err)
			break
		}
		next := theEnd
		if !upgraded && s.out.now() < upgrade {
			next = upgrade
		}
		killed := true
		select {
		case <-s.cut:
		case <-time.After(next - s.out.now()):
			killed, upgraded = false, true
		}
		_ = l.end(killed)
		pause := time.Second
		if killed {
			pause = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second}[s.rnd.IntN(3)]
		}
		<-time.After(pause)
		if killed { // a death in the pause finds nobody
			select {
			case <-s.cut:
			default:
			}
		}
	}
	close(over)
	s.wg.Wait()
	<-time.After(time.Minute) // whoever hung in the disk
	s.judge()
}

func every(over <-chan struct{}, d time.Duration, do func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			do()
		case <-over:
			return
		}
	}
}

// source is a source of numbers for the story and for the disk's own goroutine.
type source struct {
	mu sync.Mutex
	of rand.Source
}

func (s *source) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of.Uint64()
}
