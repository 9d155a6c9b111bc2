// Package plugins holds the contracts of what firebreak acts and tells through: hooks, which do
// something when a stage opens, and publishers, which say what was seen and decided.
//
// Concurrency: a Hook's Do runs on a goroutine of its own for each call and may run many times at
// once; a Publisher's Offer is called from the safety loop and must return at once. Failure: a
// hook reports what it knows, and Unknown when it does not; the caller isolates panics and
// enforces its own deadline, because a hook that hangs must not hold up another.
package plugins

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Stage is a level of response. Its order is that of severity.
type Stage uint8

const (
	Watch      Stage = iota // 0: nothing seen
	Notify                  // 1: somebody is told; falls by itself
	Prepare                 // 2a: reversible preparation; from here stages latch (S6)
	SwitchOver              // 2b: reversible switch-over
	Shed                    // 3: power down by tier; countdown first
	Isolate                 // 4: power off and isolate; countdown first
)

var stageNames = [...]string{"0", "1", "2a", "2b", "3", "4"}

func (s Stage) String() string {
	if int(s) < len(stageNames) {
		return stageNames[s]
	}
	return "unknown(" + strconv.Itoa(int(s)) + ")"
}

// ParseStage accepts 0, 1, 2a, 2b, 3 and 4.
func ParseStage(s string) (Stage, error) {
	for i, n := range stageNames {
		if n == s {
			return Stage(i), nil
		}
	}
	return 0, fmt.Errorf("unknown stage %q: use one of %s", s, strings.Join(stageNames[:], ", "))
}

// Latches is true for stages that only a person's reset ends (S6).
func (s Stage) Latches() bool { return s >= Prepare }

// Irreversible is true for the stages that need an independent quorum, a countdown and a re-vote
// (S4, S5, S15).
func (s Stage) Irreversible() bool { return s >= Shed }

// Key names one call of a hook for ever (S9). Two calls with the same key are the same call.
type Key struct {
	Plan, Zone string
	Stage      Stage
	Step       string
	Episode    uint64
	Undo       bool
	Attempt    uint16 // grows only after a known failure
}

// String is the canonical form, "plan/zone/2b/step/41/do/0", used as idempotency key and file
// name part. Names hold no slash: the configuration sees to that.
func (k Key) String() string {
	do := "do"
	if k.Undo {
		do = "undo"
	}
	return strings.Join([]string{k.Plan, k.Zone, k.Stage.String(), k.Step,
		strconv.FormatUint(k.Episode, 10), do, strconv.FormatUint(uint64(k.Attempt), 10)}, "/")
}

// EnergisePlan stands in the key of a call by an engineer's order to switch something on: no plan
// can have this name (S1).
const EnergisePlan = "@energise"

// Energises says that the call is that order: a hook that switches power on refuses all others.
func (k Key) Energises() bool { return k.Plan == EnergisePlan && k.Stage == Watch && !k.Undo }

// ParseKey is the inverse of String.
func ParseKey(s string) (Key, error) {
	f := strings.Split(s, "/")
	if len(f) != 7 || (f[5] != "do" && f[5] != "undo") {
		return Key{}, fmt.Errorf("key %q is not plan/zone/stage/step/episode/do|undo/attempt", s)
	}
	st, err := ParseStage(f[2])
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", s, err)
	}
	ep, err := strconv.ParseUint(f[4], 10, 64)
	if err != nil {
		return Key{}, fmt.Errorf("key %q: episode: %w", s, err)
	}
	at, err := strconv.ParseUint(f[6], 10, 16)
	if err != nil {
		return Key{}, fmt.Errorf("key %q: attempt: %w", s, err)
	}
	return Key{Plan: f[0], Zone: f[1], Stage: st, Step: f[3], Episode: ep, Undo: f[5] == "undo", Attempt: uint16(at)}, nil
}

// Mark says in what spirit a call is made. It reaches the hook and everything downstream (S7).
type Mark uint8

const (
	MarkReal  Mark = iota
	MarkDrill      // a drill: only hooks that declare drill support are called
	MarkDry        // say what would be done, do nothing
)

func (m Mark) String() string {
	switch m {
	case MarkReal:
		return "real"
	case MarkDrill:
		return "drill"
	case MarkDry:
		return "dry"
	}
	return "unknown(" + strconv.Itoa(int(m)) + ")"
}

// Call is one call of a hook.
type Call struct {
	Key       Key
	Mark      Mark
	Timeout   time.Duration // real time, from the start of Do
	Target    string        // of those that the hook knows, the one to act on; empty where it has but one
	Journaled bool          // false: the record was not durable within the stated bound (S9)
	Why       []byte        // JSON object: the frozen votes and readings that opened the stage
}

// Result says what is known of a call that has ended.
type Result uint8

const (
	Unknown Result = iota // it may or may not have been done: the same key is tried again
	Done                  // it was done, or the work was taken on
	Failed                // it is known not to have been done: the next attempt has a new key
	Skipped               // not called at all, by rule (a drill without drill support)
)

var resultNames = [...]string{"unknown", "done", "failed", "skipped"}

func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return "unknown(" + strconv.Itoa(int(r)) + ")"
}

// Outcome is the end of a call.
type Outcome struct {
	Result   Result
	Detail   string        // what happened and what to do next, one line
	ExitCode int           // exec: of the process; webhook: the HTTP status; else 0
	Output   string        // first bytes of what the target said, bounded by the hook
	Elapsed  time.Duration // real time
	Attached bool          // this process did not start it: it was running, or had ended, under this key
}

// Evidence is something that a hook has seen of its work before or after its call ended. It may
// come late and more than once.
type Evidence struct {
	Key    Key
	Mark   Mark   // of the call: what a drill has shown is no evidence of the real plan (S7)
	Name   string // what was seen: "verified", "client-logged-out"
	Detail string
	OK     bool
}

// Names of evidence that hooks give. A step may ask for one by name.
const (
	SeenReceipt   = "receipt"    // the target's machine has the call
	SeenAccept    = "accept"     // the target takes the work on
	SeenDecline   = "decline"    // it does not; OK is false
	SeenDone      = "done"       // it says that the work is done
	SeenVerified  = "verified"   // the hook has looked itself, and found it done
	SeenLoggedOut = "logged-out" // the hosts that were to go have gone
)

// Traits is what a hook does, whatever its kind, to one of its targets. Plans are held to it.
type Traits struct {
	Irreversible bool   // cannot be taken back: a step of stage 3 or 4 only, never an undo (S15)
	PowersOn     bool   // switches power on: no step and no undo, only the order of an engineer (S1)
	Drill        string // "native", "dry-run"; empty: it is left out of drills (S7)
}

// DeviceCommand is a command of a device profile that a hook can send.
type DeviceCommand struct {
	Target, Device, Command string
	Undo                    bool
}

// Declarer is implemented by the decoded configuration of each kind of hook. Traits refuses a
// target that the hook does not know, and a missing one where it knows several.
type Declarer interface {
	Traits(target string) (Traits, error)
}

// Runner is a hook that also works between its calls: it answers on a port, or holds a session. Run
// ends when ctx does. seen takes evidence of any key, at any time; it may come late and twice.
type Runner interface {
	Run(ctx context.Context, seen func(Evidence)) error
}

// Poiser is a hook that can get a call ready before it may start, while its record becomes durable. DoPoised does
// nothing that anybody would notice until leave is given; from then on it is Do, and c says already that the call is
// journaled. Before that it returns only when ctx ends.
type Poiser interface {
	DoPoised(ctx context.Context, c Call, leave Leave, seen func(Evidence)) Outcome
}

// Leave is what such a call waits for. It is given in both ways at once, by Given first; the hook closes neither.
type Leave struct {
	Given <-chan struct{} // closes
	Pipe  *os.File        // a byte comes, for a process that waits. When it ends without, none will
}

// Keeper is a hook that keeps something ready between its calls, without a Run. StandDown ends that for
// good; what a call has started goes on, and the hook works without it.
type Keeper interface {
	StandDown()
}

// StandbyError is what Probe returns when a call would work now, and one of the ways that it has
// would not: the alarm comes before the last one is gone.
type StandbyError struct{ Lost string }

func (e *StandbyError) Error() string { return e.Lost }

// Hook does one kind of action. Do with a Key that is running attaches to it; with one that has
// ended it returns the stored outcome; it never does the work twice (S10). Do returns by
// Call.Timeout, at the latest, plus the time to end what it started. seen may be called from any
// goroutine until Do has returned.
type Hook interface {
	Probe(ctx context.Context) error
	Do(ctx context.Context, c Call, seen func(Evidence)) Outcome
}

// Publisher tells. Offer never blocks; when its queue is full it follows a stated policy and
// counts what it dropped.
type Publisher interface {
	Offer(Update)
}

// Listener is a Publisher to which readings may be nothing: the loop then does not wake it for each
// poll. The loop itself asks, each time, so Listens is no more than an atomic load.
type Listener interface {
	Listens() bool // to readings, now
}
