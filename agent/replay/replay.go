// Package replay runs a scenario of the built-in ones, or a recording of real readings, through the same
// core that `firebreak run` uses, in simulated time: a day passes in seconds. It prints what the core
// saw and decided. No hook is ever called, no device and no broker is spoken to: steps end after stated
// times, and every reading and message says where it comes from, simulated or replay (S7).
//
// Concurrency: Run works on its caller's goroutine and shares nothing. Failure: a file that cannot be
// understood is an error with its place; a row of a recording that cannot be is told with its line
// number, counted, and costs nothing but itself.
package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/agent/response"
	"firebreak/configs"
	"firebreak/sensors"
)

// Options of a replay.
type Options struct {
	What   string       // name of a scenario, or path of a recording
	Config string       // path of a configuration in place of the scenario's own; a recording needs one
	Map    string       // path of the file that maps the columns of a recording to points; empty: they are named as points
	JSON   bool         // one JSON object a line
	Kinds  config.Kinds // what a configuration may name
	Out    io.Writer
	Errs   io.Writer // rows that were refused
}

// Result is what came of it; the last line of --json.
type Result struct {
	Kind      string     `json:"kind"` // "result"
	What      string     `json:"what"`
	Config    string     `json:"config"`
	Origin    string     `json:"origin"`
	SimulateS float64    `json:"simulated_s"`
	Readings  int        `json:"readings"`
	Refused   int        `json:"rows_refused"`
	Unknown   []string   `json:"unknown_points,omitempty"` // of a recording: no such point in the configuration
	Alarms    int        `json:"alarms"`                   // raised, those of votes included
	Plans     []PlanEnd  `json:"plans"`
	Active    []string   `json:"active_alarms,omitempty"`
	Stages    []StageEnd `json:"stages,omitempty"`
	Then      *Result    `json:"sensors_then,omitempty"` // the same with the sensors that there were
}

// PlanEnd is how a plan stood at the end.
type PlanEnd struct {
	Plan   string `json:"plan"`
	Stage  string `json:"stage"`
	Asking string `json:"asking,omitempty"`
}

// StageEnd is the opening of one stage.
type StageEnd struct {
	Plan  string  `json:"plan"`
	Stage string  `json:"stage"`
	AtS   float64 `json:"t_s"`
}

// ErrRefused says that some rows of a recording were refused; all others were replayed.
var ErrRefused = errors.New("rows were refused")

// feed gives readings in the order of time.
type feed interface {
	// poll hands over what is due, and returns when the next is; never when there is none.
	poll(now sensors.Mono, put func([]sensors.Reading)) (next sensors.Mono)
}

// Run replays. The result is that of what was replayed, also beside an error.
func Run(ctx context.Context, o Options) (*Result, error) {
	if isScenario(o.What) {
		return runScenario(ctx, o)
	}
	kind := recordingKind(o.What)
	if kind == "" {
		return nil, fmt.Errorf("%q is neither a scenario nor a recording: the scenarios are %s; recordings end in .csv, .jsonl or .tar.gz", o.What, strings.Join(Names(), ", "))
	}
	return runRecording(ctx, o, kind)
}

// Names lists the built-in scenarios.
func Names() []string {
	files, _ := fs.Glob(configs.Scenarios(), "*.toml") // the pattern is well formed
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".toml")
	}
	return files
}

func isScenario(name string) bool {
	for _, n := range Names() {
		if n == name {
			return true
		}
	}
	return false
}

func runScenario(ctx context.Context, o Options) (*Result, error) {
	sc, err := loadScenario(o.What)
	if err != nil {
		return nil, err
	}
	c, err := sc.config(o, sc.site)
	if err != nil {
		return nil, err
	}
	var then *Result
	if o.Config == "" && sc.then != "" {
		if then, err = sc.sensorsThen(ctx, o); err != nil {
			return nil, err
		}
	}
	return sc.play(ctx, o, c, then)
}

// sensorsThen replays under the site with the sensors that there were, without a word.
func (sc *scenario) sensorsThen(ctx context.Context, o Options) (*Result, error) {
	c, err := sc.config(o, sc.then)
	if err != nil {
		return nil, err
	}
	o.Out = io.Discard
	return sc.play(ctx, o, c, nil)
}

func (sc *scenario) play(ctx context.Context, o Options, c *config.Config, then *Result) (*Result, error) {
	rules := armed(c.Rules, sensors.Simulated)
	works := newWorks(rules, sc.works)
	s := newScript(sc, rules, works)
	p, err := newPlayer(rules, works, &timeline{out: o.Out, json: o.JSON, begin: sc.begins, zero: sc.zero, origin: sensors.Simulated, rules: rules})
	if err != nil {
		return nil, err
	}
	works.done = s.plants.do
	sc.schedule(p, s)
	p.tl.heading(sc.title+"\n"+sc.record, c.File, o.What, sc.lasts, s.heading())
	err = p.run(ctx, s, sc.lasts)
	r := p.result(o.What, c.File)
	r.Then = then
	p.tl.ending(p.now, r, p.core)
	return r, errors.Join(err, p.tl.err)
}

// config is the configuration that the scenario runs under: its own site, or that of the caller.
func (sc *scenario) config(o Options, site string) (*config.Config, error) {
	if o.Config != "" {
		return parseFile(o.Config, o.kinds())
	}
	file := "sites/" + site + ".toml"
	data, err := fs.ReadFile(configs.Scenarios(), file)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", sc.name, err)
	}
	c, faults := config.Parse(file, data, o.kinds())
	return c, joined(faults)
}

// kinds are those of the caller, and the devices of the scenarios' sites, so that a site can be copied.
func (o *Options) kinds() config.Kinds {
	k := o.Kinds
	k.Profiles = overlay{k.Profiles, scenarioProfiles()}
	return k
}

func parseFile(file string, k config.Kinds) (*config.Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	c, faults := config.Parse(file, data, k)
	return c, joined(faults)
}

// joined is all faults of a file as one error; nil if there are none.
func joined(faults []config.Fault) error {
	all := make([]error, len(faults))
	for i, f := range faults {
		all[i] = f
	}
	return errors.Join(all...)
}

// armed is a copy of the rules for a replay: readings of its origin count and no other, every plan is taken
// as armed, so that its steps are seen, and has no peer.
func armed(r *core.Rules, origin sensors.Origin) *core.Rules {
	out, hz, rs := *r, *r.Hazard, *r.Response
	hz.Origin = origin
	rs.Plans = append([]response.Plan(nil), rs.Plans...)
	for i := range rs.Plans {
		p := &rs.Plans[i]
		p.Mode, p.ExpectedMode, p.Ungated, p.Peer = response.Armed, response.Armed, "", ""
	}
	out.Hazard, out.Response = &hz, &rs
	return &out
}

// overlay looks for a file in one place after the other.
type overlay []fs.FS

func (o overlay) Open(name string) (f fs.File, err error) {
	for _, fsys := range o {
		if f, err = fsys.Open(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, err
}

// scenarioProfiles are the devices of the scenarios' sites that are no real product.
func scenarioProfiles() fs.FS {
	sub, err := fs.Sub(configs.Scenarios(), "profiles")
	if err != nil {
		return configs.Scenarios() // not reached: the path is valid
	}
	return sub
}
