package response

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// StepState is where a step stands.
type StepState uint8

const (
	Idle     StepState = iota // its stage is not open, or what it waits for has not ended
	Withheld                  // may not start: re-vote, only_if, proof or a stale run; a person is asked
	Starting                  // handed to the guard
	Running                   // the hook has been called
	Waiting                   // for the next attempt
	Working                   // the hook has ended; the evidence is awaited
	Done                      // by evidence
	Capped                    // its cap is spent: the plan goes on without it
	Failed                    // for good
	Skipped                   // only_if was false, or the hook takes no part in a drill
	Observed                  // the plan observes: it would have been started
	Blocked                   // a step that it waits for has aborted
)

var stepStateNames = [...]string{"idle", "withheld", "starting", "running", "waiting", "working",
	"done", "capped", "failed", "skipped", "observed", "blocked"}

func (s StepState) String() string {
	if int(s) < len(stepStateNames) {
		return stepStateNames[s]
	}
	return fmt.Sprintf("unknown(%d)", uint8(s))
}

func (s StepState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s *StepState) UnmarshalText(b []byte) error {
	i := slices.Index(stepStateNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("step state %q is unknown", b)
	}
	*s = StepState(i)
	return nil
}

// ended: the steps that wait for it may go on (S15).
func (s StepState) ended() bool {
	switch s {
	case Done, Capped, Failed, Skipped, Observed:
		return true
	}
	return false
}

// started: its hook was called, and its work may be under way.
func (s StepState) started() bool { return s >= Starting && s <= Working }

// Record is one lasting change of a plan, as the journal holds it.
type Record struct {
	Kind    string          `json:"kind"` // mode, next, open, stage, step, stale, fresh, vented, hold, release, trip, end, owe, undo, undo-end, settle, drill, energise, energised
	Plan    string          `json:"plan"`
	At      sensors.Mono    `json:"at"`
	Episode uint64          `json:"episode,omitempty"`
	Hash    string          `json:"hash,omitempty"`
	Mode    string          `json:"mode,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	By      string          `json:"by,omitempty"`
	Stage   string          `json:"stage,omitempty"`
	Why     json.RawMessage `json:"why,omitempty"`
	Step    *StepRecord     `json:"step,omitempty"`
	Owed    *Owed           `json:"owed,omitempty"`
	Box     bool            `json:"box,omitempty"`  // a trip by a person at the box (S16)
	Wall    int64           `json:"wall,omitempty"` // Unix seconds, for what only warns (S14); 0: the clock was not known
}

// StepRecord is the whole state of one step.
type StepRecord struct {
	Name      string       `json:"name"`
	State     StepState    `json:"state"`
	Attempt   uint16       `json:"attempt,omitempty"`
	Tries     int          `json:"tries,omitempty"`
	Start     sensors.Mono `json:"start,omitempty"`  // of the first attempt; the cap counts from here
	Since     sensors.Mono `json:"since,omitempty"`  // withheld before a first start: the cap counts from here
	Called    sensors.Mono `json:"called,omitempty"` // the present call was asked for: its time-out counts from here (S8)
	Retry     sensors.Mono `json:"retry,omitempty"`
	Evidence  bool         `json:"evidence,omitempty"`
	Journaled bool         `json:"journaled,omitempty"`
	Detail    string       `json:"detail,omitempty"`
}

// Run is one episode of a plan.
type Run struct {
	Episode uint64                 `json:"episode"`
	Hash    string                 `json:"hash"` // of the configuration that started it (S8)
	Start   sensors.Mono           `json:"start"`
	Stages  [6]StageRun            `json:"stages"`
	Steps   map[string]*StepRecord `json:"steps"`
	Vented  bool                   `json:"vented,omitempty"` // gas and another effect were seen together (S6)
	Stale   bool                   `json:"stale,omitempty"`  // starts no step without a fresh vote (S8)

	Trip    plugins.Stage `json:"trip,omitempty"`     // a person has tripped this stage and all below it (S16); 0: nobody
	TripBy  string        `json:"trip_by,omitempty"`  // the last one
	TripBox bool          `json:"trip_box,omitempty"` // a named person at the box: an unknown only_if yields too

	HoldAt   sensors.Mono  `json:"hold_at,omitempty"`   // the hold in force was renewed last; 0: none is
	HoldBy   string        `json:"hold_by,omitempty"`   // by whom
	HoldUsed time.Duration `json:"hold_used,omitempty"` // up to HoldAt
}

// StageRun is one stage of a run.
type StageRun struct {
	Open bool            `json:"open,omitempty"`
	At   sensors.Mono    `json:"at,omitempty"`
	Why  json.RawMessage `json:"why,omitempty"`
	Held time.Duration   `json:"held,omitempty"` // for so long its countdown stood still, up to HoldAt
}

// PlanRun is the lasting state of one plan.
type PlanRun struct {
	Mode     string       `json:"mode,omitempty"` // empty: none journaled yet
	Reason   string       `json:"reason,omitempty"`
	Next     uint64       `json:"next"` // id of the next episode, known while idle (S9)
	Run      *Run         `json:"run,omitempty"`
	LastTrue sensors.Mono `json:"last_true,omitempty"` // a stage's condition was true
	True     bool         `json:"true,omitempty"`      // one is, as of the last look
	Told     string       `json:"told,omitempty"`      // the question told last; told again after a restart

	Ledger    []Owed `json:"ledger,omitempty"`     // what was done and not taken back, oldest first (S21)
	UndoBy    string `json:"undo_by,omitempty"`    // an undo is under way, by this person's order
	ModeWall  int64  `json:"mode_wall,omitempty"`  // since when the mode stands, Unix seconds; 0: not known
	DrillWall int64  `json:"drill_wall,omitempty"` // of the last good drill

	Energising string `json:"energising,omitempty"` // of plugins.EnergisePlan: what was asked for, its end not known yet
}

// Apply takes one record. It is the only way to change lasting state, so that the journal rebuilds
// it. A record that does not fit is refused: a journal of another program, or a damaged one.
func (m *Machine) Apply(rec Record) error {
	p := m.state[rec.Plan]
	if p == nil {
		p = &PlanRun{}
		m.state[rec.Plan] = p
	}
	switch rec.Kind {
	case "mode":
		p.Mode, p.Reason, p.ModeWall = rec.Mode, rec.Reason, rec.Wall
		return nil
	case "owe", "undo", "undo-end", "settle":
		return p.applyLedger(rec)
	case "drill":
		p.DrillWall = rec.Wall
		return nil
	case "energise", "energised":
		p.applyEnergise(rec)
		return nil
	case "next":
		p.Next = max(p.Next, rec.Episode)
		return nil
	case "open":
		p.Run = &Run{Episode: rec.Episode, Hash: rec.Hash, Start: rec.At, Steps: map[string]*StepRecord{}}
		p.Next = max(p.Next, rec.Episode+1)
		return nil
	case "end":
		if p.Run != nil && p.Run.Episode != rec.Episode {
			break
		}
		// Without a run too, when its opening was lost: an id that has ended is never given again,
		// or the hooks of the next episode would be answered with the outcomes of this one.
		p.Next, p.Run = max(p.Next, rec.Episode+1), nil
		return nil
	}
	if p.Run == nil || p.Run.Episode != rec.Episode {
		return fmt.Errorf("record %q of plan %q names episode %d, which is not open", rec.Kind, rec.Plan, rec.Episode)
	}
	switch rec.Kind {
	case "stage":
		st, err := plugins.ParseStage(rec.Stage)
		if err != nil {
			return fmt.Errorf("plan %q: %w", rec.Plan, err)
		}
		p.Run.Stages[st] = StageRun{Open: true, At: rec.At, Why: rec.Why}
	case "step":
		if rec.Step == nil {
			return fmt.Errorf("plan %q: a step record without a step", rec.Plan)
		}
		s := *rec.Step
		p.Run.Steps[s.Name] = &s
	case "stale":
		p.Run.Stale = true
	case "fresh":
		p.Run.Stale = false
	case "vented":
		p.Run.Vented = true
	case "hold":
		p.Run.settle(rec.At)
		p.Run.HoldAt, p.Run.HoldBy = rec.At, rec.By
	case "release":
		p.Run.settle(rec.At)
		p.Run.HoldAt, p.Run.HoldBy = 0, ""
	case "trip":
		st, err := plugins.ParseStage(rec.Stage)
		if err != nil {
			return fmt.Errorf("plan %q: %w", rec.Plan, err)
		}
		p.Run.settle(rec.At)
		p.Run.HoldAt, p.Run.HoldBy = 0, "" // a hold ends at a manual trip (S16)
		p.Run.Trip, p.Run.TripBy, p.Run.TripBox = max(p.Run.Trip, st), rec.By, p.Run.TripBox || rec.Box
		p.Run.Stale = false // a person has just decided
	default:
		return fmt.Errorf("plan %q: unknown record %q", rec.Plan, rec.Kind)
	}
	return nil
}

// State returns the lasting state of every plan, by name. It shares nothing with the machine.
func (m *Machine) State() map[string]*PlanRun {
	out := make(map[string]*PlanRun, len(m.state))
	for name, p := range m.state {
		c := *p
		c.Ledger = slices.Clone(p.Ledger)
		if p.Run != nil {
			r := *p.Run
			r.Steps = make(map[string]*StepRecord, len(p.Run.Steps))
			for k, s := range p.Run.Steps {
				cp := *s
				r.Steps[k] = &cp
			}
			c.Run = &r
		}
		out[name] = &c
	}
	return out
}

// SetState takes the state of a snapshot.
func (m *Machine) SetState(s map[string]*PlanRun) {
	for name, p := range s {
		if p == nil {
			continue
		}
		if p.Run != nil {
			if p.Run.Steps == nil {
				p.Run.Steps = map[string]*StepRecord{}
			}
			maps.DeleteFunc(p.Run.Steps, func(_ string, s *StepRecord) bool { return s == nil })
		}
		m.state[name] = p
	}
}

// shift moves every stored instant, after a reboot.
func (p *PlanRun) shift(d time.Duration) {
	move := func(t *sensors.Mono) {
		if *t != 0 {
			*t = t.Add(d)
		}
	}
	move(&p.LastTrue)
	for i := range p.Ledger {
		move(&p.Ledger[i].At)
		move(&p.Ledger[i].Called)
		move(&p.Ledger[i].Retry)
	}
	if p.Run == nil {
		return
	}
	move(&p.Run.Start)
	move(&p.Run.HoldAt)
	for i := range p.Run.Stages {
		move(&p.Run.Stages[i].At)
	}
	for _, s := range p.Run.Steps {
		move(&s.Start)
		move(&s.Since)
		move(&s.Called)
		move(&s.Retry)
	}
}
