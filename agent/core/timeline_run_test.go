package core_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// journalled is one record with its instant, as the shell writes it.
type journalled struct {
	mono sensors.Mono
	at   time.Duration // of the script
	text []byte
}

// call is one call of a hook. It outlives a kill of the agent, not a reboot of the machine.
type call struct {
	key  plugins.Key
	done time.Duration // of the script
	end  plugins.Outcome
	seen bool // the present core has been told of its start and will be told of its end
}

type pendingEvent struct {
	at time.Duration
	ev core.Event
}

// runner is a shell of the core in simulated time: what guard is in real time.
type runner struct {
	t       *testing.T
	s       *script
	core    *core.Core
	qual    []sensors.Qualifier
	base    sensors.Mono // Mono at t+0 of the script
	now     time.Duration
	wake    sensors.Mono
	queue   []pendingEvent
	journal []journalled
	broken  bool
	calls   map[string]*call
	started map[string]int // calls by key, for hookPlan

	out  strings.Builder
	said map[string]string // last printed text of a condition, an alarm, a question
}

var errReadOnly = errors.New("read-only file system")

const firstMono = sensors.Mono(1000 * time.Second)

func runScript(t *testing.T, s *script) string {
	r := &runner{t: t, s: s, base: firstMono, calls: map[string]*call{}, started: map[string]int{}, said: map[string]string{}}
	r.qual = make([]sensors.Qualifier, len(s.hz.Points))
	r.boot(response.Resumed{AgeKnown: true})
	acts := s.sorted()
	for r.now < s.end {
		at := s.end
		if len(acts) > 0 {
			at = min(at, acts[0].at)
		}
		if r.core != nil {
			at = min(at, time.Duration(max(r.wake, r.mono()).Sub(r.base)))
		}
		if len(r.queue) > 0 {
			at = min(at, r.queue[0].at)
		}
		r.now = max(r.now, at)
		switch {
		case len(acts) > 0 && acts[0].at <= r.now:
			acts = r.act(acts)
		case len(r.queue) > 0 && r.queue[0].at <= r.now:
			ev := r.queue[0].ev
			r.queue = r.queue[1:]
			r.step(ev)
		case r.core != nil && r.wake <= r.mono():
			r.step(core.Event{})
		}
	}
	r.summary()
	return r.out.String()
}

func (r *runner) mono() sensors.Mono { return r.base.Add(r.now) }

func (r *runner) say(format string, a ...any) {
	fmt.Fprintf(&r.out, "%-13s %s\n", "t+"+r.now.Round(time.Millisecond).String(), fmt.Sprintf(format, a...))
}

// once prints a text when it differs from the last one under the same name.
func (r *runner) once(name, text, quiet string) {
	was, ok := r.said[name]
	if !ok {
		was = quiet
	}
	if text != was {
		r.say("%s: %s", name, text)
	}
	r.said[name] = text
}

// act does all that happens at one instant on one device, and returns the rest.
func (r *runner) act(acts []act) []act {
	a := acts[0]
	switch a.kind {
	case "read":
		return r.read(acts)
	case "kill":
		r.kill(a)
	case "snapshot":
		r.say("-- snapshot and restore")
		c, err := core.New(r.s.rules(), r.core.Snapshot(nil))
		if err != nil {
			r.t.Fatal(err)
		}
		r.core = c
	case "journal":
		r.broken = a.fails
		var err error
		if a.fails {
			err = errReadOnly
		}
		r.say("-- the journal: %v", map[bool]string{true: "read-only file system", false: "writes again"}[a.fails])
		r.step(core.Event{Kind: core.Durable, Err: err})
	case "event":
		r.step(a.event)
	case "order":
		if !a.again {
			r.say("-- %s %s, by %s%s", a.order.Kind, a.order.Name, a.order.By, details(a.order))
		}
		r.step(core.Event{Kind: core.OrderGiven, Order: a.order})
	}
	return acts[1:]
}

// read hands over all readings of one device at one instant, as one poll does.
func (r *runner) read(acts []act) []act {
	first, n := acts[0], 0
	var batch []sensors.Reading
	for ; n < len(acts) && acts[n].at == first.at && r.s.order(&acts[n]) == r.s.order(&first); n++ {
		a := acts[n]
		in := sensors.Reading{Point: a.point, Value: a.value, Quality: a.quality, At: r.mono()}
		batch = append(batch, r.qual[a.point].Qualify(&r.s.hz.Points[a.point], in))
	}
	if r.core != nil {
		r.step(core.Event{Kind: core.Readings, Readings: batch})
	}
	return acts[n:]
}

// kill ends the agent and starts it again later, from the journal alone.
func (r *runner) kill(a act) {
	word := "killed"
	if a.reboot {
		word = "the machine goes down"
	}
	r.say("-- %s", word)
	r.core = nil
	r.queue = slices.DeleteFunc(r.queue, func(p pendingEvent) bool { return p.ev.Kind != core.Resumed })
	back := core.Event{Kind: core.Resumed}
	back.Resumed.SameBoot = !a.reboot
	back.Resumed.AgeKnown = !a.reboot || a.clock
	r.later(a.back, back)
}

// boot makes a core from the journal.
func (r *runner) boot(res response.Resumed) {
	c, err := core.New(r.s.rules(), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	info := core.ResumeInfo{Resumed: res}
	info.EpisodeBase = 1
	for _, j := range r.journal {
		rec, err := core.ParseRecord(j.text)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := c.Apply(rec); err != nil {
			r.t.Fatalf("record %s: %v", j.text, err)
		}
	}
	if n := len(r.journal); n > 0 {
		last := r.journal[n-1]
		age := r.now - last.at
		info.Last = last.mono
		if !res.SameBoot {
			r.base = 10*sensors.Mono(time.Second) - sensors.Mono(r.now)
			r.calls = map[string]*call{}
		}
		switch {
		case res.SameBoot:
			info.Age = age
		case res.AgeKnown:
			info.Age, info.Shift = age, r.mono().Add(-age).Sub(last.mono)
		default:
			info.Shift = r.mono().Sub(last.mono)
		}
		r.say("-- the agent is back")
	}
	for _, k := range r.calls {
		k.seen = false
	}
	r.core = c
	r.step(core.Event{Kind: core.Resumed, Resumed: info})
	if r.broken {
		r.step(core.Event{Kind: core.Durable, Err: errReadOnly})
	}
}

func (r *runner) later(after time.Duration, ev core.Event) {
	p := pendingEvent{r.now + after, ev}
	i, _ := slices.BinarySearchFunc(r.queue, p, func(a, b pendingEvent) int {
		if a.at > b.at {
			return 1
		}
		return -1
	})
	r.queue = slices.Insert(r.queue, i, p)
}

func (r *runner) step(ev core.Event) {
	if r.core == nil {
		if ev.Kind == core.Resumed {
			r.boot(ev.Resumed.Resumed)
		}
		return
	}
	fx, wake := r.core.Step(r.mono(), ev, nil)
	for spins := 0; ; spins++ {
		r.conds()
		for pass := range 4 { // to be read: what was seen, what was decided, what is done, who is told
			for i := range fx {
				if rank(&fx[i]) == pass {
					r.do(&fx[i])
				}
			}
		}
		if wake > r.mono() {
			break
		}
		if spins == 10 {
			r.t.Fatalf("t+%v: the core asks to be called again at once, without end", r.now)
		}
		fx, wake = r.core.Step(r.mono(), core.Event{}, nil)
	}
	r.wake = wake
}

func rank(e *core.Effect) int {
	switch {
	case e.Kind == core.Write:
		return 0
	case e.Kind == core.Tell && e.Update.Event != nil:
		return 1
	case e.Kind == core.Start:
		return 2
	}
	return 3
}

func (r *runner) do(e *core.Effect) {
	switch e.Kind {
	case core.Write:
		text, err := json.Marshal(e.Record)
		if err != nil {
			r.t.Fatal(err)
		}
		if !r.broken {
			r.journal = append(r.journal, journalled{r.mono(), r.now, text})
		}
	case core.Start:
		r.start(e)
	case core.Reply:
		if e.Err != nil {
			r.say("   %v", e.Err)
		}
	case core.Tell:
		r.tell(&e.Update)
	}
}

// start runs a hook: under a key that it knows it attaches, as the real ones do (S10).
func (r *runner) start(e *core.Effect) {
	id := e.Call.Key.String()
	k, known := r.calls[id]
	wait := time.Duration(0)
	if r.broken {
		wait = e.Wait
	}
	if !known {
		plan := r.s.hooks[e.Hook]
		what := fmt.Sprint(e.Call.Key.Step, e.Call.Key.Undo)
		n := r.started[what]
		end := plan[min(n, len(plan)-1)]
		r.started[what]++
		k = &call{key: e.Call.Key, done: r.now + wait + end.after, end: plugins.Outcome{Result: end.result}}
		if end.hangs {
			k.done, k.end.Detail = r.now+wait+e.Call.Timeout, "the hook did not return"
		}
		r.calls[id] = k
	}
	if k.seen && known && k.done > r.now {
		r.t.Fatalf("t+%v: hook %s was asked for twice", r.now, id)
	}
	k.seen = true
	word := "called"
	if known {
		word = "attached to"
	}
	late := ""
	if wait > 0 {
		late = fmt.Sprintf(" %v later, not journaled", wait)
	}
	r.say("hook %s %s%s", id, word, late)
	r.later(wait, core.Event{Kind: core.HookStarted, Key: k.key, Journaled: !r.broken})
	r.later(max(k.done-r.now, wait), core.Event{Kind: core.HookDone, Key: k.key, Outcome: k.end})
}

// details are what an order says beyond its name and giver.
func details(o core.Order) string {
	var out string
	if o.Second != "" {
		out += " and " + o.Second
	}
	if o.Channel == core.Remote {
		out += ", remote"
	}
	if o.Stage != 0 {
		out += ", stage " + o.Stage.String()
	}
	if o.For != 0 {
		out += ", for " + o.For.String()
	}
	return out
}
