package response

import (
	"errors"
	"fmt"
	"time"

	"firebreak/agent/hazard"
	"firebreak/plugins"
)

// Rules is what the plans do, compiled from the configuration and never changed after.
type Rules struct {
	Plans    []Plan
	Hooks    []string   // names, in the order that Start effects index
	Energise []Energise // what an engineer may switch on again by order (S1)
}

// Energise is something that an order, and nothing else, can switch on (S1).
type Energise struct {
	Name    string // of the hook, or HOOK:TARGET
	Hook    int
	Target  string
	Timeout time.Duration
}

// Mode of a plan. Observe says what it would do; armed does it (S18).
type Mode uint8

const (
	Observe Mode = iota
	Armed
)

func (m Mode) String() string {
	if m == Armed {
		return "armed"
	}
	return "observe"
}

// Plan is a staged response for the zones that it protects.
type Plan struct {
	Name     string
	Zone     string   // of the agent: part of every key
	Protects []string // zones that this plan vacates

	Deadline   time.Duration // condition at the sensor to the start of a stage's first hook, countdowns apart
	PowerLoss  time.Duration // the site's expected time from condition to power loss
	MaxHold    time.Duration
	ResumeMax  time.Duration // an older run starts no step without a fresh vote (S8); default 15 min
	MaxZones2b int           // of all plans, in switch-over at once (S15); 0: no limit

	Peer       string        // agent that owns the same targets and shares keys (S13); empty: none
	DrillEvery time.Duration // without a good drill for so long: an alarm, and no arming (S18); default 90 days

	ClearTime time.Duration // a reset is refused for so long after the last true member (S6); default 10 min
	VentClear time.Duration // the same once cells were seen to vent; default 24 h

	Mode         Mode   // while the journal holds none
	Ungated      string // reason for which Mode may be armed without the gate of S18
	ExpectedMode Mode

	Stages []Stage // ascending, only those configured
	Steps  []Step  // stage by stage, in the order of the file
}

// BlindPolicy says what an irreversible stage does when no member of its vote is fresh (S4).
type BlindPolicy uint8

const (
	BlindUnset BlindPolicy = iota
	BlindHold
	BlindProceed
)

// Stage is one stage of a plan. Opening it opens all below (S15).
type Stage struct {
	Level     plugins.Stage
	When      hazard.CondID
	Countdown time.Duration // stages 3 and 4
	IfBlind   BlindPolicy   // stages 3 and 4
	Parallel  int           // steps of this stage at work at once; 0: no limit

	AcceptSingle string // reason for which a failure set of one is accepted (S5)
}

// OnFailure says what follows when a step has failed for good.
type OnFailure uint8

const (
	Continue OnFailure = iota // it has ended; the next go on
	Retry                     // again, Retries times, with back-off; then as Continue
	Escalate                  // as Continue, with an alarm of priority 1
	Abort                     // those that wait for it never start; an alarm of priority 1 asks a person
)

// EvidenceKind says how it is known that a step's work is done.
type EvidenceKind uint8

const (
	ByOutcome   EvidenceKind = iota // the hook's own outcome
	ByCondition                     // a condition on points
	ByHook                          // an Evidence of the hook with OK set
)

// Step is one call of a hook within a plan.
type Step struct {
	Name      string
	Stage     plugins.Stage
	Hook      int           // index into Rules.Hooks
	Target    string        // of those that the hook knows
	After     []int         // indices into Plan.Steps, of this or a lower stage
	Timeout   time.Duration // of one call, real time
	Cap       time.Duration // from the first start: then the plan goes on without it
	OnFailure OnFailure
	Retries   int           // further attempts after a known failure, and further tries after an unknown end
	Backoff   time.Duration // first pause; doubles, at most one minute

	HasUndo    bool // an order takes it back after a reset, by hook Undo
	Undo       int
	UndoTarget string
	Owner      string        // of the ledger's entry (S21)
	Revert     string        // how it is taken back by hand
	Review     time.Duration // outstanding for longer: an alarm; 0: 24 h

	Evidence     EvidenceKind
	EvidenceName string // ByHook: only evidence of this name; empty: any
	EvidenceCond hazard.CondID
	OnlyIf       hazard.CondID // NoCond: always
	Proof        bool          // proof_required: waits for the evidence of After, never starts on a cap (S15)
	Irreversible bool          // only in stages 3 and 4
}

// check refuses a plan that could not run as it reads. The configuration says the same with file
// and line; here it holds for every other maker of rules too.
func (p *Plan) check(hooks int) error {
	var levels uint
	for i := range p.Stages {
		if i > 0 && p.Stages[i].Level <= p.Stages[i-1].Level {
			return errors.New("its stages do not ascend")
		}
		levels |= 1 << p.Stages[i].Level
	}
	names := map[string]bool{}
	for k := range p.Steps {
		s := &p.Steps[k]
		switch {
		case names[s.Name]:
			return fmt.Errorf("step %q: there are two of this name", s.Name)
		case s.Hook < 0 || s.Hook >= hooks:
			return fmt.Errorf("step %q: no hook %d", s.Name, s.Hook)
		case levels&(1<<s.Stage) == 0:
			return fmt.Errorf("step %q: the plan has no stage %s that could open", s.Name, s.Stage)
		case s.Stage < plugins.Shed && s.Irreversible:
			return fmt.Errorf("step %q: an irreversible step in stage %s (S15)", s.Name, s.Stage)
		case s.Cap <= 0:
			return fmt.Errorf("step %q: no cap: those that wait for it could wait for ever", s.Name)
		}
		names[s.Name] = true
		for _, a := range s.After {
			if a < 0 || a >= len(p.Steps) || a == k || p.Steps[a].Stage > s.Stage {
				return fmt.Errorf("step %q: waits for a step that does not come before it", s.Name)
			}
		}
	}
	_, err := p.order()
	return err
}

// order is that of the file, but each step after those that it waits for. It refuses steps that
// wait for each other in a circle.
func (p *Plan) order() (order []int, err error) {
	done := make([]bool, len(p.Steps))
	for again := true; again; {
		again = false
	steps:
		for k := range p.Steps {
			if done[k] {
				continue
			}
			for _, a := range p.Steps[k].After {
				if !done[a] {
					continue steps
				}
			}
			done[k], again = true, true
			order = append(order, k)
		}
	}
	for k := range done {
		if !done[k] {
			return nil, fmt.Errorf("step %q: waits, through others, for itself", p.Steps[k].Name)
		}
	}
	return order, nil
}
