package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
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

// look is how often the simulated racks look for proof files, in real time.
const look = 5 * time.Millisecond

// probe is the budget of one probe of a silent device: simulated back-off is short in real time.
const probe = 50 * time.Millisecond

// run is one room with one agent.
type run struct {
	name  string
	sc    sim.Scenario
	clock *sensors.Clock
	begun time.Time // wall time at which the clock stood at zero
	world *sim.World
	rec   *recorder
	died  chan error
	proof string

	mu      sync.Mutex
	running app.Running

	stop func()
	end  sync.Once
	errs error
	wg   sync.WaitGroup
}

// newRun starts a room and its agent. poll is that of UPS and BMS.
func newRun(ctx context.Context, o Options, sc sim.Scenario, name, tmpl, dir, broker string, poll time.Duration) (*run, error) {
	r := &run{name: name, sc: sc, proof: filepath.Join(dir, "proof"), died: make(chan error, 1)}
	if err := os.MkdirAll(r.proof, 0o700); err != nil {
		return nil, err
	}
	r.begun, r.clock = time.Now(), sensors.NewScaledClock(0, o.Speed)
	var err error
	if r.world, err = sim.New(sc, r.clock, configs.Profiles()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	served, err := r.world.Serve(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	balancer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return nil, errors.Join(err, served.Close())
	}
	srv := &http.Server{Handler: http.HandlerFunc(r.drain), ReadHeaderTimeout: 5 * time.Second}
	r.wg.Go(func() { _ = srv.Serve(balancer) })
	r.stop = func() {
		cancel()
		shut, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		r.errs = errors.Join(srv.Shutdown(shut), served.Close())
		r.wg.Wait()
	}
	data := map[string]any{"Dir": dir, "Proof": r.proof, "Broker": broker, "Speed": o.Speed,
		"Balancer": "http://" + balancer.Addr().String() + "/drain", "Poll": poll.String(), "Stale": max(30*time.Second, 3*poll).String()}
	for _, e := range served.Endpoints() {
		data[map[string]string{"power": "Power", "smoke": "Smoke", "load": "Load", "line": "Line", "i2c": "I2C"}[e.Bus]] = e.Address
	}
	c, text, err := configure(tmpl, data)
	if err != nil {
		r.close()
		return nil, err
	}
	var bms sensors.DeviceID
	for i := range c.Devices {
		if c.Devices[i].Name == sim.BMSName {
			bms = c.Devices[i].ID
		}
	}
	r.rec = newRecorder(r, bms)
	r.wg.Go(func() { r.work(ctx) })
	r.wg.Go(func() {
		r.died <- app.Run(ctx, app.Options{Config: c, Source: text, Clock: r.clock, Origin: sensors.Simulated, Drill: true,
			I2C:   func(string) (periph.BusCloser, error) { return r.world.I2C(), nil },
			Probe: probe, Publishers: []plugins.Publisher{r.rec}, Log: o.Log.With("room", name),
			Ready: func(x app.Running) { r.mu.Lock(); r.running = x; r.mu.Unlock() }})
	})
	return r, nil
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

// drain is the load balancer of the simulated racks.
func (r *run) drain(w http.ResponseWriter, req *http.Request) {
	r.rec.hookRan("drain", time.Now())
	if err := r.world.StartWork("drain", r.clock.Now()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// work starts the work of every proof file that a hook process has left.
func (r *run) work(ctx context.Context) {
	t := time.NewTicker(look)
	defer t.Stop()
	seen := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		files, err := os.ReadDir(r.proof)
		if err != nil {
			continue
		}
		for _, f := range files {
			step, ok := strings.CutSuffix(f.Name(), ".proof")
			if !ok || seen[step] {
				continue
			}
			seen[step] = true
			r.rec.hookRan(step, proofTime(filepath.Join(r.proof, f.Name())))
			if sim.WorkTime(step) > 0 {
				_ = r.world.StartWork(step, r.clock.Now()) // the name is known: it cannot fail
			}
		}
	}
}

// proofTime is when the hook's process ran, as it wrote itself.
func proofTime(path string) time.Time {
	b, err := os.ReadFile(path)
	if err != nil {
		return time.Now()
	}
	line, _, _ := strings.Cut(string(b), "\n")
	sec, frac, _ := strings.Cut(line, ".")
	var s, ns int64
	if _, err := fmt.Sscan(sec, &s); err != nil {
		return time.Now()
	}
	if _, err := fmt.Sscan(strings.TrimLeft(frac, "0"), &ns); err != nil {
		ns = 0
	}
	return time.Unix(s, ns)
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
