package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/configs"
	"firebreak/plugins"
	"firebreak/sensors"
	"firebreak/sensors/sim"

	periph "periph.io/x/conn/v3/i2c"
)

//go:embed *.tmpl
var templates embed.FS

// probe is the budget of one probe of a silent device: simulated back-off is short in real time.
const probe = 50 * time.Millisecond

// run is one room with one agent.
type run struct {
	name    string
	sc      sim.Scenario
	clock   *sensors.Clock
	begun   time.Time // wall time at which the clock stood at zero
	world   *sim.World
	targets *targets
	rec     *recorder
	died    chan error

	mu      sync.Mutex
	running app.Running

	stop func()
	end  sync.Once
	errs error
	wg   sync.WaitGroup
}

// newRun starts a room and its agent. poll is that of UPS and BMS.
func newRun(ctx context.Context, o Options, sc sim.Scenario, name, tmpl, dir, broker string, poll time.Duration) (*run, error) {
	r := &run{name: name, sc: sc, died: make(chan error, 1)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r.begun, r.clock = time.Now(), sensors.NewScaledClock(0, o.Speed)
	var err error
	if r.world, err = sim.New(sc, r.clock, configs.Profiles()); err != nil {
		return nil, err
	}
	r.rec = newRecorder(r)
	if r.targets, err = newTargets(r.world, r.clock, dir, name, r.rec.hookRan); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	served, err := r.world.Serve(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(err, r.targets.close())
	}
	r.stop = func() {
		cancel()
		r.errs = errors.Join(r.targets.close(), served.Close())
		r.wg.Wait()
	}
	data := r.targets.data()
	maps.Copy(data, map[string]any{"Dir": dir, "Broker": broker, "Speed": o.Speed, "Poll": poll.String(), "Stale": max(30*time.Second, 3*poll).String()})
	for _, e := range served.Endpoints() {
		data[map[string]string{"power": "Power", "smoke": "Smoke", "load": "Load", "line": "Line", "i2c": "I2C"}[e.Bus]] = e.Address
	}
	c, text, err := configure(tmpl, data)
	if err != nil {
		r.close()
		return nil, err
	}
	r.rec.follow(c)
	r.targets.run(ctx, broker, r.nutServer(c))
	r.wg.Go(func() {
		r.died <- app.Run(ctx, app.Options{Config: c, Source: text, Clock: r.clock, Origin: sensors.Simulated, Drill: true,
			I2C:   func(string) (periph.BusCloser, error) { return r.world.I2C(), nil },
			Probe: probe, Publishers: []plugins.Publisher{r.rec}, Log: o.Log.With("room", name),
			Ready: func(x app.Running) { r.mu.Lock(); r.running = x; r.mu.Unlock() }})
	})
	return r, nil
}

// nutServer tells where the agent's NUT server listens, "" as long as it does not; nil if the
// configuration has none.
func (r *run) nutServer(c *config.Config) func() string {
	i := slices.IndexFunc(c.Hooks, func(h config.Hook) bool { return h.Kind == "nut" })
	if i < 0 {
		return nil
	}
	return func() string {
		r.mu.Lock()
		defer r.mu.Unlock()
		if i >= len(r.running.Hooks) {
			return ""
		}
		srv, ok := r.running.Hooks[i].(interface{ Bound(string) string })
		if !ok {
			return ""
		}
		return srv.Bound(nutListen)
	}
}

func configure(tmpl string, data any) (*config.Config, []byte, error) {
	t, err := template.ParseFS(templates, "*.tmpl")
	if err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, tmpl, data); err != nil {
		return nil, nil, err
	}
	c, faults := config.Parse(tmpl, b.Bytes(), app.Kinds())
	if len(faults) > 0 {
		all := make([]string, len(faults))
		for i, f := range faults {
			all[i] = f.String()
		}
		return nil, nil, fmt.Errorf("the demo's own configuration has faults:\n%s", strings.Join(all, "\n"))
	}
	return c, b.Bytes(), nil
}

// sinceSpark is the simulated time after T+0; negative before.
func (r *run) sinceSpark() time.Duration { return r.clock.Now().Sub(r.world.SparkAt()) }

// at converts an instant of the wall clock to simulated time after T+0.
func (r *run) at(wall time.Time) time.Duration {
	return time.Duration(float64(wall.Sub(r.begun))*r.clock.Factor()) - r.world.SparkAt().Sub(0)
}

// over: one simulated minute after the first loss of power or the last step.
func (r *run) over() bool {
	end := r.sc.PowerLossAfter
	done, last := r.rec.allEnded()
	if !done && r.sinceSpark() < end+30*time.Minute && r.rec.busy() {
		return false
	}
	return r.sinceSpark() > max(end, last)+afterEnd
}

func (r *run) close() error {
	r.end.Do(r.stop)
	return r.errs
}
