package nut

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

const users = `# NAME PASSWORD ROLE ZONES
host "pass word" secondary rack12
admin s3cret primary rack12,rack13
nas   other  secondary *
`

// testPoints are what the configuration's points resolve to.
var testPoints = map[string]sensors.Point{
	"ups-a.battery.temperature": {ID: 1, Name: "ups-a.battery.temperature", Unit: sensors.Kelvin, Kind: sensors.Measurement, Stale: 10 * time.Second},
	"ups-a.battery.charge":      {ID: 2, Name: "ups-a.battery.charge", Unit: sensors.Percent, Kind: sensors.Measurement},
	"smoke-1.alarm":             {ID: 3, Name: "smoke-1.alarm", Kind: sensors.Binary},
	"ups-a.runtime":             {ID: 4, Name: "ups-a.runtime", Unit: sensors.Minute, Kind: sensors.Measurement},
}

func find(name string) (sensors.Point, bool) { p, ok := testPoints[name]; return p, ok }

// rig is a hook with what belongs to it. In a synctest bubble its clients come over pipes, because
// sockets stop the clock; else over loopback.
type rig struct {
	*Hook
	t     testing.TB
	dirs  []string
	log   *lines
	stop  func()
	ctx   context.Context
	wg    sync.WaitGroup // what inBubble and pipe started
	mu    sync.Mutex
	given []plugins.Evidence // by Run
}

type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), s)
}

func writeFile(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func config(t testing.TB) Config {
	dir := t.TempDir()
	path := filepath.Join(dir, "users")
	writeFile(t, path, users, 0o600)
	return Config{Listen: []string{"127.0.0.1:0"}, UsersFile: path, UPS: []UPS{
		{Name: "rack12", Description: `Rack "12"`, Plans: []string{"evacuate"}, DeadMan: true,
			Vars:     map[string]string{"battery.temperature": "ups-a.battery.temperature", "battery.charge": "ups-a.battery.charge", "battery.runtime": "ups-a.runtime"},
			Contacts: []Contact{{N: 1, X: 2, Point: "smoke-1.alarm", Name: "smoke-detector1"}}},
		{Name: "rack13", Zone: "b3"},
	}}
}

// newRig makes a hook that keeps its state in dirs, or in new ones.
func newRig(t testing.TB, cfg Config, dirs ...string) *rig {
	t.Helper()
	if len(dirs) == 0 {
		dirs = []string{t.TempDir(), t.TempDir()}
	}
	r := &rig{t: t, dirs: dirs, log: &lines{}}
	var err error
	r.Hook, err = New("power", cfg, Deps{StateDirs: dirs, Point: find, Log: slog.New(slog.NewTextHandler(r.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) seen(ev plugins.Evidence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.given = append(r.given, ev)
}

func (r *rig) evidence(name string) (out []plugins.Evidence) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.given {
		if e.Name == name {
			out = append(out, e)
		}
	}
	return out
}

// inBubble does what Run does, but for the ports.
func (r *rig) inBubble() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	r.restore(ctx)
	r.mu0(func() { r.since = time.Now() })
	r.ctx = ctx
	r.wg.Go(func() { r.tellLate(ctx, r.seen) })
	r.stop = sync.OnceFunc(func() {
		cancel()
		r.wg.Wait()
		for _, s := range r.stores {
			_ = s.wait(context.Background())
		}
	})
	r.t.Cleanup(r.stop)
	return r
}

func (r *rig) mu0(f func()) {
	r.Hook.mu.Lock()
	defer r.Hook.mu.Unlock()
	f()
}

// run starts the server on loopback.
func (r *rig) run() *rig {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, r.seen) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(r.stop)
	for _, at := range r.addresses() {
		r.until("the port is open", func() bool { return r.Bound(at) != "" })
	}
	return r
}

// until waits for something that changes with the hosts, the latches or the server.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			r.t.Fatalf("never: %s", what)
		}
	}
}

// client is one connection to the server.
type client struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

// from is a pipe's end that says where it comes from.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(f.addr)) }

// pipe connects without a socket, as a client at an address.
func (r *rig) pipe(addr string) *client { return r.pipeTo(addr, nil) }

func (r *rig) pipeTo(addr string, only *zone) *client {
	r.t.Helper()
	a, b := net.Pipe()
	c := r.newConn(from{b, addr + ":1000"}, only)
	if !r.admit(c) {
		_ = b.Close()
	} else {
		r.wg.Go(func() { r.serve(r.ctx, c) })
	}
	r.t.Cleanup(func() { _ = a.Close() })
	return &client{r.t, a, bufio.NewReader(a)}
}

func (r *rig) dial() *client { return r.dialTo(r.cfg.Listen[0]) }

func (r *rig) dialTo(at string) *client {
	r.t.Helper()
	nc, err := net.DialTimeout("tcp", r.Bound(at), 5*time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	return &client{r.t, nc, bufio.NewReader(nc)}
}

// ask sends a line and returns the answer: one line, or a whole list joined by "|".
func (c *client) ask(line string) string {
	c.t.Helper()
	_ = c.nc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c.nc, line+"\n"); err != nil {
		return "closed"
	}
	return c.answer()
}

func (c *client) answer() string {
	var out []string
	for {
		s, err := c.r.ReadString('\n')
		if err != nil {
			return strings.Join(append(out, "closed"), "|")
		}
		out = append(out, strings.TrimSuffix(s, "\n"))
		if !strings.HasPrefix(out[0], "BEGIN ") || strings.HasPrefix(s, "END ") {
			return strings.Join(out, "|")
		}
	}
}

func (c *client) want(pairs ...string) {
	c.t.Helper()
	for i := 0; i+1 < len(pairs); i += 2 {
		if got := c.ask(pairs[i]); got != pairs[i+1] {
			c.t.Errorf("%q is answered %q, want %q", pairs[i], got, pairs[i+1])
		}
	}
}

// login is what upsmon does.
func (c *client) login(ups string) *client {
	c.t.Helper()
	c.want("STARTTLS", "ERR FEATURE-NOT-CONFIGURED", "USERNAME nas", "OK", "PASSWORD other", "OK", "LOGIN "+ups, "OK")
	return c
}

func (c *client) status(ups string) string {
	c.t.Helper()
	s := c.ask("GET VAR " + ups + " ups.status")
	return strings.TrimSuffix(strings.TrimPrefix(s, "VAR "+ups+` ups.status "`), `"`)
}

func key(episode uint64, attempt uint16) plugins.Key {
	return plugins.Key{Plan: "evacuate", Zone: "b3", Stage: plugins.Shed, Step: "hosts-off", Episode: episode, Attempt: attempt}
}

func call(k plugins.Key, timeout time.Duration) plugins.Call {
	return plugins.Call{Key: k, Target: "rack12", Timeout: timeout, Journaled: true}
}

// do calls the hook and returns the outcome by a channel, with the evidence that came in the call.
type ended struct {
	plugins.Outcome
	seen []string
}

func (r *rig) do(c plugins.Call) <-chan ended {
	ch := make(chan ended, 1)
	go func() {
		var e ended
		e.Outcome = r.Do(context.Background(), c, func(ev plugins.Evidence) {
			if ev.Key != c.Key || !ev.OK {
				r.t.Errorf("evidence %+v is not of the call %v", ev, c.Key)
			}
			e.seen = append(e.seen, ev.Name)
		})
		slices.Sort(e.seen)
		ch <- e
	}()
	return ch
}

func (r *rig) plan(episode uint64, stage, mode string) {
	r.Offer(plugins.Update{Plan: &plugins.PlanState{Plan: "evacuate", Zone: "b3", Stage: stage, Mode: mode, Episode: episode, Origin: "real"}})
}

func (r *rig) read(readings ...sensors.Reading) {
	r.Offer(plugins.Update{State: &sensors.Batch{Readings: readings}})
}

func wantOutcome(t testing.TB, o plugins.Outcome, want plugins.Result, detail string) {
	t.Helper()
	if o.Result != want || !strings.Contains(o.Detail, detail) {
		t.Errorf("got %v %q, want %v with %q", o.Result, o.Detail, want, detail)
	}
}

func wantErr(t testing.TB, err error, texts ...string) {
	t.Helper()
	for _, s := range texts {
		if !strings.Contains(fmt.Sprint(err), s) {
			t.Errorf("the error does not say %q: %v", s, err)
		}
	}
}

// startTLS goes on encrypted.
func (c *client) startTLS(conf *tls.Config) error {
	c.want("STARTTLS", "OK STARTTLS")
	t := tls.Client(c.nc, conf)
	if err := t.Handshake(); err != nil {
		return err
	}
	c.nc, c.r = t, bufio.NewReader(t)
	return nil
}
