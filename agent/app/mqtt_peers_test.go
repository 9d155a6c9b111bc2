//go:build peers

package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/plugins"
	"firebreak/plugins/hooks/mqtt"
)

// mosquitto is a broker that we did not write.
type mosquitto struct {
	t    testing.TB
	conf string
	port int
	cmd  *exec.Cmd
}

// newMosquitto makes one that allows everything, or what the access list says.
func newMosquitto(t testing.TB, acl string) *mosquitto {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	m := &mosquitto{t: t, conf: filepath.Join(dir, "m.conf"), port: ln.Addr().(*net.TCPAddr).Port}
	_ = ln.Close()
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nuser root\nlog_dest none\nset_tcp_nodelay true\n", m.port)
	if acl != "" {
		conf += "acl_file " + filepath.Join(dir, "acl") + "\n"
		if err := os.WriteFile(filepath.Join(dir, "acl"), []byte(acl), 0o600); err != nil {
			t.Fatal(err)
		}
	}
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
	for deadline := time.After(20 * time.Second); ; {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.port)); err == nil {
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

func (m *mosquitto) broker(name string) config.Broker {
	return config.Broker{Name: name, URL: fmt.Sprintf("mqtt://127.0.0.1:%d", m.port)}
}

// consumer runs the sample consumer of the documentation as failover-1. Its program adds a line to
// the file log for each command that it does.
func (m *mosquitto) consumer(dir string) {
	m.t.Helper()
	cmd := exec.Command("sh", "../../configs/hooks/mqtt-consumer.sh", "failover-1", "site/failover/cmd", filepath.Join(dir, "state"),
		"sh", "-c", "jq -r '[.key, .undo, .ttl_s > 0] | join(\" \")' >>"+filepath.Join(dir, "log"))
	cmd.Env = append(os.Environ(), fmt.Sprintf("MQTT_OPTS=-h 127.0.0.1 -p %d", m.port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with what it starts
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
}

type sightings struct {
	mu  sync.Mutex
	all []plugins.Evidence
}

func (s *sightings) seen(ev plugins.Evidence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, ev)
}

func (s *sightings) has(key plugins.Key, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range s.all {
		if ev.Key == key && ev.Name == name && ev.OK == (name != plugins.SeenDecline) && strings.HasPrefix(ev.Detail, "failover-1 says ") {
			return true
		}
	}
	return false
}

func failover(episode uint64, timeout time.Duration) plugins.Call {
	return plugins.Call{Key: plugins.Key{Plan: "evacuate", Zone: "b3", Stage: plugins.SwitchOver, Step: "move", Episode: episode}, Timeout: timeout}
}

func asking(c *mqtt.Config) {
	c.AskConsumers, c.ProbeVersion, c.Resend = true, "1", 500*time.Millisecond
}

// The sample consumer takes a command on, does it once however often it is sent, also by an agent
// that was started anew, and says when it is done; it declines when it is switched off; a broker
// that stops in the middle, and one that is not there at all, only delay.
func TestMosquittoCommands(t *testing.T) {
	dir := t.TempDir()
	m, absent := newMosquitto(t, ""), newMosquitto(t, "")
	m.start()
	m.consumer(dir)
	brokers := []config.Broker{absent.broker("noc"), m.broker("site")}
	h := commander(t, brokers, asking)
	var s, late sightings
	stop := runHook(t, h, late.seen)
	worksWithoutStandby(t, h)

	c := failover(1, patience)
	if o := h.Do(t.Context(), c, s.seen); o.Result != plugins.Done || !strings.HasPrefix(o.Detail, "failover-1 says accept") {
		t.Fatalf("%+v", o)
	}
	until(t, "it is done", func() bool { return s.has(c.Key, plugins.SeenDone) || late.has(c.Key, plugins.SeenDone) })
	c.Key.Undo = true
	if o := h.Do(t.Context(), c, s.seen); o.Result != plugins.Done {
		t.Errorf("undo: %+v", o)
	}
	until(t, "the undo is done", func() bool { return s.has(c.Key, plugins.SeenDone) || late.has(c.Key, plugins.SeenDone) })

	stop()
	h = commander(t, brokers, asking) // the agent after a restart: it knows nothing
	var after sightings
	runHook(t, h, after.seen)
	worksWithoutStandby(t, h)
	c.Key.Undo = false
	if o := h.Do(t.Context(), c, after.seen); o.Result != plugins.Done || o.Attached {
		t.Errorf("again: %+v", o)
	}
	until(t, "done is told again", func() bool { return after.has(c.Key, plugins.SeenDone) })

	m.stop()
	out := make(chan plugins.Outcome, 1)
	c2 := failover(2, patience)
	go func() { out <- h.Do(t.Context(), c2, after.seen) }()
	m.start()
	if o := <-out; o.Result != plugins.Done {
		t.Errorf("over a restart of the broker: %+v", o)
	}
	until(t, "that is done", func() bool { return after.has(c2.Key, plugins.SeenDone) })

	if err := os.WriteFile(filepath.Join(dir, "state", "off"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c3 := failover(3, patience)
	if o := h.Do(t.Context(), c3, after.seen); o.Result != plugins.Failed || !strings.Contains(o.Detail, "failover-1 says decline: switched off at failover-1") || !after.has(c3.Key, plugins.SeenDecline) {
		t.Errorf("%+v", o)
	}
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	want := "evacuate/b3/2b/move/1/do/0 false true\nevacuate/b3/2b/move/1/undo/0 true true\nevacuate/b3/2b/move/2/do/0 false true\n"
	if string(b) != want {
		t.Errorf("the consumer did\n%s%v; want\n%s", b, err, want)
	}
}

// A drill has topics of its own: the consumer of real commands does not hear it.
func TestMosquittoDrillIsNotHeard(t *testing.T) {
	dir := t.TempDir()
	m := newMosquitto(t, "")
	m.start()
	m.consumer(dir)
	h := commander(t, []config.Broker{m.broker("site")}, asking, func(c *mqtt.Config) { c.Drill = "native" })
	var s sightings
	runHook(t, h, s.seen)
	works(t, h)
	c := failover(1, 4*time.Second) // for the broker's acknowledgement
	c.Mark = plugins.MarkDrill
	if o := h.Do(t.Context(), c, s.seen); o.Result != plugins.Unknown || !strings.Contains(o.Detail, "site: acknowledged") {
		t.Errorf("%+v", o)
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); err == nil || len(s.all) != 0 {
		t.Errorf("a drill was taken for real: %v", s.all)
	}
}

// A broker acknowledges what its access list forbids: that is no evidence, and the end is not known.
// A probe that asks the consumers finds it out before the fire.
func TestMosquittoDenies(t *testing.T) {
	m := newMosquitto(t, "topic readwrite firebreak/1/receipt/#\ntopic read site/failover/cmd\n")
	m.start()
	m.consumer(t.TempDir())
	h := commander(t, []config.Broker{m.broker("site")})
	var s sightings
	runHook(t, h, s.seen)
	works(t, h)
	o := h.Do(t.Context(), failover(1, 4*time.Second), s.seen)
	if o.Result != plugins.Unknown || !strings.Contains(o.Detail, "site: acknowledged; an acknowledgement is no evidence") || len(s.all) != 0 {
		t.Errorf("%+v", o)
	}
	h = commander(t, []config.Broker{m.broker("site")}, asking)
	runHook(t, h, s.seen)
	if err := h.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "no consumer answers the probe, not failover-1") {
		t.Errorf("%v", err)
	}
}

// newEcho is a consumer that accepts every command at once.
func newEcho(t testing.TB, m *mosquitto) (stop func()) {
	t.Helper()
	b := brokerOf(m.broker("site"))
	s, err := sessions(b, "echo", time.Now)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	work := make(chan []byte, 100)
	if err := s.Subscribe(t.Context(), "site/failover/cmd", func(_ string, p []byte, _ bool) { work <- p }); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for p := range work {
			var c struct {
				Key     string `json:"key"`
				ReplyTo string `json:"reply_to"`
			}
			_ = json.Unmarshal(p, &c)
			_ = s.Publish(context.Background(), c.ReplyTo, fmt.Appendf(nil, `{"key":%q,"answer":"accept","consumer":"failover-1"}`, c.Key))
		}
	}()
	return func() { s.Close(); close(work); <-done }
}

// BenchmarkMosquittoReceipt: from the call of Do over mosquitto to a consumer in Go and back; the
// sample consumer starts programs, which takes longer than the way.
func BenchmarkMosquittoReceipt(b *testing.B) {
	m := newMosquitto(b, "")
	m.start()
	h := commander(b, []config.Broker{m.broker("site")})
	runHook(b, h, func(plugins.Evidence) {})
	works(b, h)
	echo := newEcho(b, m)
	defer echo()
	var took []time.Duration
	c := failover(0, time.Minute)
	for b.Loop() {
		c.Key.Episode++
		begin := time.Now()
		if o := h.Do(b.Context(), c, nil); o.Result != plugins.Done {
			b.Fatal(o)
		}
		took = append(took, time.Since(begin))
	}
	quantiles(b, took)
}
