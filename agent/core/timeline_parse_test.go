package core_test

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// script is a parsed timeline: a room, and what happens in it.
type script struct {
	hz    hazard.Rules
	rs    response.Rules
	hooks []hookPlan // by hook index

	consumers []string
	acts      []act
	end       time.Duration
	head      string // everything above "expect", kept as it is written
	want      string
}

// hookPlan is how a hook behaves, call by call; the last repeats.
type hookPlan []hookEnd

type hookEnd struct {
	after  time.Duration
	result plugins.Result
	hangs  bool
}

// act is one thing that happens at an instant of the script.
type act struct {
	at   time.Duration
	kind string // read, kill, snapshot, journal, order
	// read
	point   sensors.PointID
	value   float64
	quality sensors.Quality
	// kill
	back   time.Duration
	reboot bool
	clock  bool
	// order
	order core.Order
	event core.Event
	again bool // of a range: not printed
	fails bool
}

func (s *script) rules() *core.Rules {
	return &core.Rules{Site: "site", Zone: "zone", Agent: "agent", Hash: "h1", Hazard: &s.hz, Response: &s.rs, Consumers: s.consumers}
}

// line is one line of a script: plain words, and key=value options.
type line struct {
	words []string
	opts  map[string]string
}

func (l *line) dur(key string) time.Duration {
	v, ok := l.opts[key]
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(v)
	must(err)
	return d
}

func (l *line) num(key string) float64 {
	v, ok := l.opts[key]
	if !ok {
		return 0
	}
	return number(v)
}

// parseError is thrown by must and caught by parse, so that the many small steps stay readable.
type parseError struct{ error }

func must(err error) {
	if err != nil {
		panic(parseError{err})
	}
}

func number(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	must(err)
	return f
}

func duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	must(err)
	return d
}

var option = regexp.MustCompile(`^([a-z-]+)=(\S+)$`)

func parse(text string) (s *script, err error) {
	s = &script{hz: hazard.Rules{}}
	head, want, _ := strings.Cut(text, "\nexpect\n")
	s.head, s.want = head, want
	no, raw := 0, ""
	defer func() {
		if r := recover(); r != nil {
			p, ok := r.(parseError)
			if !ok {
				panic(r)
			}
			err = fmt.Errorf("line %d: %q: %w", no, raw, p.error)
		}
	}()
	for no, raw = range strings.Split(head, "\n") {
		raw, _, _ = strings.Cut(raw, "#")
		for _, text := range braces(raw) {
			l := line{opts: map[string]string{}}
			for _, w := range strings.Fields(text) {
				if m := option.FindStringSubmatch(w); m != nil {
					l.opts[m[1]] = m[2]
				} else {
					l.words = append(l.words, strings.TrimSuffix(w, ","))
				}
			}
			if len(l.words) > 0 {
				s.line(&l)
			}
		}
	}
	if s.end == 0 {
		return nil, fmt.Errorf(`the script does not say when it ends: "end 5m"`)
	}
	return s, nil
}

var brace = regexp.MustCompile(`\{(\d+)\.\.(\d+)\}`)

// braces expands z{1..3} into three lines; a range that stands twice in a line runs in step.
func braces(text string) []string {
	m := brace.FindStringSubmatch(text)
	if m == nil {
		return []string{text}
	}
	from, to := int(number(m[1])), int(number(m[2]))
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, braces(strings.ReplaceAll(text, m[0], strconv.Itoa(i)))...)
	}
	return out
}

func (s *script) line(l *line) {
	switch l.words[0] {
	case "held-true":
		s.hz.HeldTrue = duration(l.words[1])
	case "loss-persist":
		s.hz.LossPersist = duration(l.words[1])
	case "device":
		s.hz.Devices = append(s.hz.Devices, sensors.Device{ID: sensors.DeviceID(len(s.hz.Devices)), Name: l.words[1],
			Path: sensors.Path{Bus: l.opts["bus"], Gateway: l.opts["gateway"], Supply: l.opts["supply"]}})
	case "point":
		s.point(l)
	case "detector":
		s.detector(l)
	case "vote":
		s.vote(l)
	case "plan":
		p := response.Plan{Name: l.words[1], Zone: "zone", Mode: response.Armed, ExpectedMode: response.Armed,
			ClearTime: l.dur("clear"), ResumeMax: l.dur("resume-max"), MaxHold: l.dur("max-hold"), Peer: l.opts["peer"]}
		if l.opts["mode"] == "observe" {
			p.Mode = response.Observe
		}
		s.rs.Plans = append(s.rs.Plans, p)
	case "stage":
		s.stage(l)
	case "step":
		s.step(l)
	case "consumers":
		s.consumers = l.words[1:]
	case "energise": // NAME takes=2s
		s.rs.Energise = append(s.rs.Energise, response.Energise{Name: l.words[1], Hook: len(s.rs.Hooks), Timeout: 30 * time.Second})
		s.rs.Hooks, s.hooks = append(s.rs.Hooks, l.words[1]), append(s.hooks, behaviour(l))
	case "end":
		s.end = duration(l.words[1])
	default:
		s.act(l)
	}
}

func (s *script) point(l *line) {
	dev, _, _ := strings.Cut(l.words[1], ".")
	p := sensors.Point{ID: sensors.PointID(len(s.hz.Points)), Name: l.words[1], Register: l.opts["register"],
		Stale: 3 * time.Second, MaxRate: l.num("max-rate"), Device: s.device(dev)}
	if l.opts["stale"] != "" {
		p.Stale = l.dur("stale")
	}
	for _, w := range l.words[2:] {
		if ph, err := sensors.ParsePhysics(w); err == nil {
			p.Physics = ph
			continue
		}
		switch w {
		case "rising":
			p.Hazard = 1
		case "falling":
			p.Hazard = -1
		case "panel":
			p.Panel = true
		case "contact":
			p.Kind = sensors.Binary
		default:
			u, err := sensors.ParseUnit(w)
			must(err)
			p.Unit = u
		}
	}
	if r := l.opts["range"]; r != "" {
		lo, hi, _ := strings.Cut(r, "..")
		p.Min, p.Max = number(lo), number(hi)
	}
	s.hz.Points = append(s.hz.Points, p)
}

func (s *script) device(name string) sensors.DeviceID {
	for i := range s.hz.Devices {
		if s.hz.Devices[i].Name == name {
			return sensors.DeviceID(i)
		}
	}
	must(fmt.Errorf("no device %q", name))
	return 0
}

func (s *script) cond(name string) hazard.CondID {
	for i := range s.hz.Conds {
		if s.hz.Conds[i].Name == name {
			return hazard.CondID(i)
		}
	}
	must(fmt.Errorf("no detector or vote %q", name))
	return 0
}

// detector NAME POINTS OP VALUE [options]; points may be a pattern: one member for each device.
//
//	rises 5 per=1m over=1m            a rate; "falls" the other way
//	deviates 5 from=POINT             up by 5; side=down, side=either; a * in POINT as in POINTS
//	deviates 5 from=median            or from=device-median, from=baseline learn=1h
//	times 3 from=baseline floor=5     a ratio; below 1: such a part or less
//	jumps 10 over=10s                 side= as above
//	silent 30s
//	runs-away 1 per=1s over=4s limit=60 volts=POINT drop=0.25 drop-over=10m
func (s *script) detector(l *line) {
	c := hazard.Cond{Name: l.words[1], Deadband: l.num("deadband"), OnDelay: l.dur("on"), OffDelay: l.dur("off"),
		HeldTrue: l.dur("held-true"), Priority: int(l.num("priority")), Latching: l.opts["latching"] != ""}
	if l.opts["fault"] == "votes" {
		c.OnFault = hazard.FaultVotes
	}
	s.members(&c, l.words[2])
	c.ReAlarm, c.Group = l.dur("re-alarm"), l.opts["group"]
	if l.words[3] == "silent" {
		c.Kind, c.Window = hazard.Silent, duration(l.words[4])
		s.hz.Conds = append(s.hz.Conds, c)
		return
	}
	v := number(l.words[4])
	switch l.words[3] {
	case ">=":
		c.Kind, c.Threshold = hazard.Above, v
	case "<=":
		c.Kind, c.Threshold = hazard.Below, v
	case "is":
		c.Kind, c.Values = hazard.In, []float64{v}
	case "is-not":
		c.Kind, c.Values = hazard.NotIn, []float64{v}
	case "rises", "falls":
		c.Kind, c.Threshold, c.Window = hazard.Rate, v/l.dur("per").Seconds(), l.dur("over")
		if l.words[3] == "falls" {
			c.Threshold = -c.Threshold
		}
	default:
		s.compares(&c, l, v)
	}
	s.hz.Conds = append(s.hz.Conds, c)
}

func (s *script) members(c *hazard.Cond, pattern string) {
	at := map[sensors.DeviceID]int{}
	for i := range s.hz.Points {
		p := &s.hz.Points[i]
		if ok, err := path.Match(pattern, p.Name); err != nil || !ok {
			must(err)
			continue
		}
		m, ok := at[p.Device]
		if !ok {
			m = len(c.Members)
			at[p.Device] = m
			c.Members = append(c.Members, hazard.Member{Device: p.Device})
		}
		c.Members[m].Points = append(c.Members[m].Points, p.ID)
	}
	if len(c.Members) == 0 {
		must(fmt.Errorf("no point fits %q", pattern))
	}
}

// vote NAME K of A B C [independent]
func (s *script) vote(l *line) {
	c := hazard.Cond{Name: l.words[1], Kind: hazard.Vote, Need: int(number(l.words[2])), Priority: int(l.num("priority"))}
	for _, w := range l.words[4:] {
		if w == "independent" {
			c.Independent = true
			continue
		}
		c.Of = append(c.Of, s.cond(w))
	}
	s.hz.Conds = append(s.hz.Conds, c)
}

// stage LEVEL when CONDITION
func (s *script) stage(l *line) {
	level, err := plugins.ParseStage(l.words[1])
	must(err)
	st := response.Stage{Level: level, When: s.cond(l.words[3]), Countdown: l.dur("countdown"), Parallel: int(l.num("parallel"))}
	switch l.opts["if-blind"] {
	case "proceed":
		st.IfBlind = response.BlindProceed
	case "hold":
		st.IfBlind = response.BlindHold
	}
	p := &s.rs.Plans[len(s.rs.Plans)-1]
	p.Stages = append(p.Stages, st)
}

// step NAME in LEVEL [irreversible] [proof] after=A,B takes=20s hook=failed@1s,done@5s
func (s *script) step(l *line) {
	level, err := plugins.ParseStage(l.words[3])
	must(err)
	p := &s.rs.Plans[len(s.rs.Plans)-1]
	st := response.Step{Name: l.words[1], Stage: level, Hook: len(s.rs.Hooks), Timeout: 30 * time.Second, Cap: 10 * time.Minute,
		OnlyIf: hazard.NoCond, Retries: int(l.num("retries")), Backoff: time.Second}
	for _, w := range l.words[4:] {
		st.Irreversible = st.Irreversible || w == "irreversible"
		st.Proof = st.Proof || w == "proof"
		if w == "escalate" {
			st.OnFailure = response.Escalate
		}
	}
	if l.opts["timeout"] != "" {
		st.Timeout = l.dur("timeout")
	}
	if l.opts["cap"] != "" {
		st.Cap = l.dur("cap")
	}
	if c := l.opts["only-if"]; c != "" {
		st.OnlyIf = s.cond(c)
	}
	if c := l.opts["evidence"]; c != "" {
		st.Evidence, st.EvidenceCond = response.ByCondition, s.cond(c)
	}
	for _, a := range strings.FieldsFunc(l.opts["after"], func(r rune) bool { return r == ',' }) {
		found := false
		for k := range p.Steps {
			if p.Steps[k].Name == a {
				st.After, found = append(st.After, k), true
			}
		}
		if !found {
			must(fmt.Errorf("no step %q above", a))
		}
	}
	s.rs.Hooks, s.hooks = append(s.rs.Hooks, st.Name), append(s.hooks, behaviour(l))
	st.Owner, st.Revert, st.Review = l.opts["owner"], l.opts["revert"], l.dur("review")
	if u := l.opts["undo"]; u != "" {
		st.HasUndo, st.Undo = true, len(s.rs.Hooks)
		back := line{opts: map[string]string{"hook": u}}
		s.rs.Hooks, s.hooks = append(s.rs.Hooks, st.Name+"-undo"), append(s.hooks, behaviour(&back))
	}
	p.Steps = append(p.Steps, st)
}

func behaviour(l *line) hookPlan {
	if h := l.opts["hook"]; h != "" {
		var out hookPlan
		for _, part := range strings.Split(h, ",") {
			word, after, _ := strings.Cut(part, "@")
			e := hookEnd{hangs: word == "hangs"}
			if after != "" {
				e.after = duration(after)
			}
			switch word {
			case "done":
				e.result = plugins.Done
			case "failed":
				e.result = plugins.Failed
			case "unknown", "hangs":
				e.result = plugins.Unknown
			default:
				must(fmt.Errorf("a hook cannot be %q", word))
			}
			out = append(out, e)
		}
		return out
	}
	return hookPlan{{after: l.dur("takes"), result: plugins.Done}}
}
