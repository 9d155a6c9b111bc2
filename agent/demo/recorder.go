package demo

import (
	"sort"
	"strings"
	"sync"
	"time"

	"firebreak/agent/config"
	"firebreak/plugins"
	"firebreak/sensors"
	"firebreak/sensors/sim"
)

// recorder is a publisher that keeps what the agent tells, with the wall time of each.
type recorder struct {
	r *run

	mu      sync.Mutex
	opened  map[string]time.Time // stage -> first opening
	decided map[string]time.Time // step -> first decision to start
	ran     map[string]time.Time // step -> when its hook ran, by the hook's own word
	ended   map[string]ending    // step -> its end
	starts  int                  // hooks called
	failed  int
	alarms  map[string]plugins.AlarmState
	raised  []raised
	plan    plugins.PlanState
	planAt  time.Time
	lines   []line // what happened, for the headless readout
	watched sensors.DeviceID
	polls   []time.Time // of the watched device, the first few
	rules   map[string]stepRule
}

// maxPolls bounds the polls that are noted: enough for one every ten minutes.
const maxPolls = 8

type raised struct {
	at    time.Time
	alarm plugins.AlarmState
}

type line struct {
	at   time.Time
	text string
	fine bool // not in the timeline at the end
}

func newRecorder(r *run) *recorder {
	return &recorder{r: r, opened: map[string]time.Time{}, decided: map[string]time.Time{}, ran: map[string]time.Time{},
		ended: map[string]ending{}, alarms: map[string]plugins.AlarmState{}}
}

// follow takes from the configuration, before the agent starts, what its updates do not say.
func (c *recorder) follow(cfg *config.Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range cfg.Devices {
		if cfg.Devices[i].Name == sim.BMSName {
			c.watched = cfg.Devices[i].ID
		}
	}
	c.rules = stepRules(cfg)
}

// Offer takes an update; it only notes.
func (c *recorder) Offer(u plugins.Update) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case u.State != nil:
		if u.State.Device == c.watched && len(c.polls) < maxPolls {
			c.polls = append(c.polls, u.State.Wall)
		}
	case u.Alarm != nil:
		c.alarm(u.Wall, *u.Alarm)
	case u.Plan != nil:
		c.planState(u.Wall, *u.Plan)
	case u.Event != nil:
		c.event(u.Wall, *u.Event)
	}
}

// hazardAlarm: alarms of conditions have plain names; those of the agent itself hold a slash.
func hazardAlarm(name string) bool { return !strings.Contains(name, "/") }

func (c *recorder) alarm(at time.Time, a plugins.AlarmState) {
	was := c.alarms[a.Name]
	c.alarms[a.Name] = a
	if a.Active && !was.Active {
		if hazardAlarm(a.Name) {
			c.raised = append(c.raised, raised{at, a})
		}
		c.lines = append(c.lines, line{at: at, text: "alarm " + a.Name + ": " + cause(a)})
	}
}

// cause leaves out the name of the only member, which is that of the alarm.
func cause(a plugins.AlarmState) string {
	if strings.HasPrefix(a.Cause, a.Name+"@") {
		_, rest, _ := strings.Cut(a.Cause, " ")
		return rest
	}
	return a.Cause
}

func (c *recorder) planState(at time.Time, p plugins.PlanState) {
	c.plan, c.planAt = p, at
	for _, s := range p.Steps {
		if ends(s.State) {
			if old, ok := c.ended[s.Step]; !ok || old.state != s.State {
				c.ended[s.Step] = ending{at, s.State, s.Evidence, old.capped || s.State == "capped", s.Detail}
				c.lines = append(c.lines, line{at: at, text: s.Step + " " + c.how(s.Step)})
			}
		}
	}
}

func (c *recorder) event(at time.Time, e plugins.Event) {
	switch e.Type {
	case "stage.opened":
		if _, ok := c.opened[e.Stage]; !ok {
			c.opened[e.Stage] = at
			c.lines = append(c.lines, line{at: at, text: "STAGE " + e.Stage + " opens"})
		}
	case "step.starting":
		if _, ok := c.decided[e.Step]; !ok {
			c.decided[e.Step] = at
		}
	case "step.running":
		c.starts++
		c.lines = append(c.lines, line{at: at, text: e.Step + " starts: " + c.rules[e.Step].kind + " hook, " + atMost(c.rules[e.Step].cap), fine: true})
	case "step.failed":
		c.failed++
	}
}

func (c *recorder) hookRan(step string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.ran[step]; !ok {
		c.ran[step] = at
	}
}

// allEnded tells whether every step of an open plan has ended, and when the last did.
func (c *recorder) allEnded() (bool, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := time.Duration(0)
	for _, e := range c.ended {
		last = max(last, c.r.at(e.at))
	}
	return len(c.plan.Steps) > 0 && len(c.ended) == len(c.plan.Steps), last
}

// busy: a step has begun and not ended.
func (c *recorder) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.plan.Steps {
		switch s.State {
		case "starting", "running", "working", "waiting":
			return true
		}
	}
	return false
}

// delays are the real times from each decision to the hook's own first word, in ms, sorted.
func (c *recorder) delays() []float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ms []float64
	for step, at := range c.ran {
		if d, ok := c.decided[step]; ok {
			ms = append(ms, float64(at.Sub(d).Microseconds())/1000)
		}
	}
	sort.Float64s(ms)
	return ms
}
