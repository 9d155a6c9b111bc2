//go:build peers

package uplink

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/plugins"
)

// mosquitto is a broker that we did not write, and keeps its sessions and retained messages over a
// stop and a start.
type mosquitto struct {
	t    testing.TB
	conf string
	port int
	cmd  *exec.Cmd
	run  func(name string, args ...string) *exec.Cmd // starts clients elsewhere; nil: here
}

func newMosquitto(t testing.TB) *mosquitto {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m := &mosquitto{t: t, conf: filepath.Join(dir, "m.conf"), port: ln.Addr().(*net.TCPAddr).Port}
	_ = ln.Close()
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nmax_queued_messages 0\nuser root\nlog_dest none\n", m.port, dir)
	if err := os.WriteFile(m.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto"
	}
	m.cmd = exec.Command(bin, "-c", m.conf)
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(m.stop)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		if c, err := net.Dial("tcp", m.address()); err == nil {
			_ = c.Close()
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			m.t.Fatal("mosquitto does not listen")
		}
	}
}

func (m *mosquitto) stop() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	_ = m.cmd.Wait()
	m.cmd = nil
}

func (m *mosquitto) address() string { return fmt.Sprintf("127.0.0.1:%d", m.port) }

// subscribe runs mosquitto_sub with a lasting session; it finds the broker again by itself.
func (m *mosquitto) subscribe(in *inbox, filter string) {
	m.t.Helper()
	run := m.run
	if run == nil {
		run = exec.Command
	}
	cmd := run("mosquitto_sub", "-h", "127.0.0.1", "-p", fmt.Sprint(m.port), "-q", "1", "-c", "-i", "watcher", "-t", filter, "-F", "%t %r %p")
	out, err := cmd.StdoutPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		sc := bufio.NewScanner(out)
		sc.Buffer(nil, wire.MaxPayload+1024)
		for sc.Scan() {
			if f := strings.SplitN(sc.Text(), " ", 3); len(f) == 3 {
				in.add(1, f[0], f[1] == "1", []byte(f[2]))
			}
		}
	}()
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); <-done; _ = cmd.Wait() })
}

// The agent starts before the broker does; the broker stops in the middle and comes back. Every
// alarm transition and event arrives, in order; of the telemetry the newest arrives, in order, and
// the gap in its sequence is what the agent says it dropped.
func TestMosquittoStoppedAndStarted(t *testing.T) {
	const n, kept = 400, 50
	m := newMosquitto(t)
	cfg := config("mqtt://" + m.address())
	cfg.HelloEvery = 50 * time.Millisecond
	cfg.MaxState = kept
	u, stop := start(t, cfg)
	offer := func(from, to int) {
		for i := from; i < to; i++ {
			u.Offer(alarm(fmt.Sprint("a", i%5), uint64(i), 1, true))
			u.Offer(plugins.Update{Event: &plugins.Event{Type: "x", Detail: fmt.Sprint(i)}})
		}
	}
	states := func(k int) {
		for i := range k {
			u.Offer(state(i))
		}
	}
	offer(0, 20) // nobody is there yet
	awaitStats(t, u, func(s BrokerStats) bool { return s.LastError != "" })
	m.start()
	in := newInbox()
	m.subscribe(in, "firebreak/1/#")
	in.await(t, "retained birth and alarms", func(got []received) bool {
		return count(got, "status") > 0 && count(got, "alarm") >= 5 && count(got, "hello") > 0
	})
	offer(20, n/2)
	states(kept)
	in.await(t, "telemetry before the stop", func(got []received) bool { return len(distinct(got, "state")) == kept })
	awaitStats(t, u, func(s BrokerStats) bool { return s.Queued == 0 })
	m.stop()
	awaitStats(t, u, func(s BrokerStats) bool { return !s.Connected })
	offer(n/2, n)
	states(4 * kept)
	m.start()
	got := in.await(t, "all after the start", func(got []received) bool {
		s := distinct(got, "state")
		return len(s) > 0 && s[len(s)-1] == 5*kept && slices.Contains(distinct(got, "alarm"), n) && slices.Contains(distinct(got, "event"), n)
	})

	checkArrival(t, got, u.Stats().Brokers[0].Dropped, n, kept)
	in.await(t, "a hello that tells the drops", func(got []received) bool {
		return slices.ContainsFunc(got, func(r received) bool {
			return strings.Contains(r.topic, "/hello/") && strings.Contains(r.payload, fmt.Sprintf(`"state":%d,"superseded"`, 3*kept))
		})
	})
	stop()
	in.await(t, "farewell", func(got []received) bool {
		return slices.ContainsFunc(got, func(r received) bool { return strings.Contains(r.payload, `"reason":"stopped"`) })
	})
}

// checkArrival: all of the alarm lane in order, and of the telemetry all but what was dropped.
func checkArrival(t *testing.T, got []received, dropped wire.Drops, n, kept int) {
	t.Helper()
	// Before the subscriber came, the first 20 events passed, and of the alarms the retained stood.
	for _, class := range []string{"alarm", "event"} {
		var after []uint64
		for _, s := range distinct(got, class) {
			if s > 20 {
				after = append(after, s)
			}
		}
		if !slices.Equal(after, upTo(n)[20:]) {
			t.Errorf("%s missing or out of order: %v", class, after)
		}
	}
	s := distinct(got, "state")
	if !slices.IsSorted(s) || len(s)+int(dropped.State) != 5*kept || int(dropped.State) != 3*kept || dropped.Alarm+dropped.Event != 0 {
		t.Errorf("%d states arrived, sorted %v, dropped %+v", len(s), slices.IsSorted(s), dropped)
	}
}

// A connection that is cut tells the will; the birth of the next session is newer than it.
func TestMosquittoTellsTheWill(t *testing.T) {
	m := newMosquitto(t)
	m.start()
	in := newInbox()
	m.subscribe(in, "firebreak/1/status/#")
	var mu sync.Mutex
	var conn net.Conn
	cfg := config("mqtt://" + m.address())
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		mu.Lock()
		conn = c
		mu.Unlock()
		return c, err
	}
	start(t, cfg)
	in.await(t, "birth", func(got []received) bool { return count(got, "status") > 0 && got[0].online })
	mu.Lock()
	_ = conn.(*net.TCPConn).SetLinger(0) // a reset, not an orderly end
	_ = conn.Close()
	mu.Unlock()
	got := in.await(t, "will and second birth", func(got []received) bool {
		will := slices.ContainsFunc(got, func(r received) bool { return strings.Contains(r.payload, `"reason":"lost"`) && r.head.Seq%2 == 0 })
		return will && got[len(got)-1].online && got[len(got)-1].head.Seq >= 3
	})
	if !slices.IsSortedFunc(got, func(a, b received) int { return int(a.head.Seq) - int(b.head.Seq) }) {
		t.Logf("the will came after the birth, which was told again: %+v", got)
	}
}

// mosquitto acknowledges what its access list forbids: the echo finds it out.
func TestMosquittoGrants(t *testing.T) {
	m := newMosquitto(t)
	acl := filepath.Join(t.TempDir(), "acl")
	if err := os.WriteFile(acl, []byte("topic readwrite firebreak/1/status/#\ntopic readwrite firebreak/1/hello/#\ntopic readwrite firebreak/1/alarm/#\ntopic readwrite firebreak/1/event/#\ntopic read firebreak/1/#\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(m.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.conf, append(b, "acl_file "+acl+"\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	c := config("mqtt://" + m.address())
	c.Brokers[0].Sessions = 2
	u, _ := start(t, c)
	awaitStats(t, u, func(s BrokerStats) bool {
		return s.Connected && strings.Contains(s.Refused, "firebreak/1/plan/site/zone/agent/_echo") && !strings.Contains(s.Refused, "alarm/")
	})
}
