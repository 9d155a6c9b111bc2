package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/sim"
)

// look is how often a target looks how far its work is, in real time.
const look = 5 * time.Millisecond

// targets are what the hooks of one room call, on real sockets: a pager and a load balancer behind
// HTTP, programs, an orchestrator on MQTT, and the hosts of the racks as clients of the NUT server.
// The load controller, which takes its commands by Modbus, is a device of the room itself.
type targets struct {
	world *sim.World
	clock *sensors.Clock
	ran   func(step string, at time.Time) // hears when a target first has a call, by its own word
	agent string

	proof    string // directory of the programs' proof files
	users    string // file of the NUT server
	password string
	web      net.Listener
	srv      *http.Server
	wg       sync.WaitGroup

	mu     sync.Mutex
	drains map[string]bool // by key of the call
}

// newTargets opens what must have an address before the agent starts.
func newTargets(world *sim.World, clock *sensors.Clock, dir, agent string, ran func(string, time.Time)) (*targets, error) {
	t := &targets{world: world, clock: clock, ran: ran, agent: agent, proof: filepath.Join(dir, "proof"), users: filepath.Join(dir, "nut.users"),
		password: rand.Text(), drains: map[string]bool{}}
	if err := os.MkdirAll(t.proof, 0o700); err != nil {
		return nil, err
	}
	account := fmt.Sprintf("%s %s secondary %s\n", nutUser, t.password, nutUPS)
	if err := os.WriteFile(t.users, []byte(account), 0o600); err != nil {
		return nil, err
	}
	var err error
	if t.web, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /page", t.page)
	mux.HandleFunc("POST /drain", t.drain)
	mux.HandleFunc("GET /drain", t.drained)
	t.srv = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}
	world.OnCommand(func(work string) { ran(work, time.Now()) })
	t.wg.Go(func() { _ = t.srv.Serve(t.web) })
	return t, nil
}

// run plays the targets that come to the agent by themselves, until ctx ends; nutAt is nil where no
// host has a server to ask.
func (t *targets) run(ctx context.Context, broker string, nutAt func() string) {
	t.wg.Go(func() { t.programs(ctx) })
	t.wg.Go(func() { t.orchestrate(ctx, broker) })
	for i := range hosts {
		if nutAt == nil {
			break
		}
		t.wg.Go(func() { t.host(ctx, i, nutAt) })
	}
}

// close ends the receiver and waits for all targets; the context of run must have ended.
func (t *targets) close() error {
	ctx, done := context.WithTimeout(context.Background(), time.Second)
	defer done()
	err := t.srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = t.srv.Close()
	}
	t.wg.Wait()
	return err
}

// data is what the configuration of the agent says of its targets.
func (t *targets) data() map[string]any {
	return map[string]any{"Proof": t.proof, "HTTP": "http://" + t.web.Addr().String(), "Topic": t.topic(), "Consumer": consumer,
		"NUT": nutListen, "Users": t.users, "Hosts": hostAddresses()}
}

// start begins the work of a step once its call has come. The steps that have none are over with it.
func (t *targets) start(step string, at time.Time) {
	t.ran(step, at)
	if sim.WorkTime(step) > 0 {
		_ = t.world.StartWork(step, t.clock.Now()) // the name is known: it cannot fail
	}
}

// page is the pager: it has rung when it answers.
func (t *targets) page(w http.ResponseWriter, _ *http.Request) {
	t.start("page", time.Now())
	answer(w, http.StatusOK, map[string]string{"state": "done"})
}

// drain is the load balancer: it takes the work on, and is asked later.
func (t *targets) drain(w http.ResponseWriter, req *http.Request) {
	t.mu.Lock()
	t.drains[req.Header.Get("Idempotency-Key")] = true
	t.mu.Unlock()
	t.start("drain", time.Now())
	answer(w, http.StatusAccepted, map[string]string{"state": "accepted"})
}

// drained answers what has become of a call.
func (t *targets) drained(w http.ResponseWriter, req *http.Request) {
	t.mu.Lock()
	known := t.drains[req.URL.Query().Get("call")]
	t.mu.Unlock()
	switch {
	case !known:
		answer(w, http.StatusNotFound, map[string]string{"state": "unknown"})
	case t.world.WorkDone("drain"):
		answer(w, http.StatusOK, map[string]string{"state": "drained"})
	default:
		answer(w, http.StatusOK, map[string]string{"state": "draining"})
	}
}

func answer(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever asked has gone
}

// programs starts the work of every proof file that a hook's process has left.
func (t *targets) programs(ctx context.Context) {
	every := time.NewTicker(look)
	defer every.Stop()
	seen := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
		files, err := os.ReadDir(t.proof)
		if err != nil {
			continue
		}
		for _, f := range files {
			step, ok := strings.CutSuffix(f.Name(), ".proof")
			if !ok || seen[step] {
				continue
			}
			seen[step] = true
			t.start(step, proofTime(filepath.Join(t.proof, f.Name())))
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
