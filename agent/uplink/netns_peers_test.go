//go:build peers

package uplink

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// inNamespace marks the process of a test that has a network of its own.
const inNamespace = "FIREBREAK_TEST_NETNS"

// ownNetwork runs the test once more in a network namespace of its own and tells whether this
// is that run.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inNamespace) != "" {
		return true
	}
	how := "-Urn"
	if os.Geteuid() == 0 {
		how = "-n"
	}
	cmd := exec.Command("unshare", how, os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v; this test needs unshare, nsenter and ip, and a kernel that lets users make namespaces (or root)\n%s", err, out)
	}
	return false
}

// far is a namespace at the other end of a cable: 10.77.0.1 here, 10.77.0.2 there.
type far struct {
	t   *testing.T
	pid string
}

func newFar(t *testing.T) *far {
	t.Helper()
	hold := exec.Command("unshare", "-n", "sh", "-c", "echo ready; exec sleep 600")
	out, err := hold.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hold.Process.Kill(); _ = hold.Wait() })
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	f := &far{t, fmt.Sprint(hold.Process.Pid)}
	f.here("ip", "link", "set", "lo", "up")
	f.here("ip", "link", "add", "fb0", "type", "veth", "peer", "name", "fb1", "netns", f.pid)
	f.here("ip", "addr", "add", "10.77.0.1/24", "dev", "fb0")
	f.here("ip", "link", "set", "fb0", "up")
	f.there("ip", "addr", "add", "10.77.0.2/24", "dev", "fb1")
	f.there("ip", "link", "set", "lo", "up")
	f.there("ip", "link", "set", "fb1", "up")
	return f
}

func (f *far) here(name string, args ...string) {
	f.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// command is one that runs at the other end.
func (f *far) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", f.pid, "-n", name}, args...)...)
}

func (f *far) there(name string, args ...string) {
	f.t.Helper()
	if out, err := f.command(name, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// The cable between the agent and its broker is pulled at the broker's end: no FIN, no reset, packets go nowhere. The
// agent finds it by the acknowledgements that do not come; all that was raised meanwhile is there, in order, once the
// cable is back, and of the readings what their bound keeps, the gap named.
func TestMosquittoCablePulled(t *testing.T) {
	t.Parallel()
	if !ownNetwork(t) {
		return
	}
	const n, kept = 1000, 100
	f := newFar(t)
	conf := filepath.Join(t.TempDir(), "m.conf")
	if err := os.WriteFile(conf, []byte("listener 1883\nallow_anonymous true\nmax_queued_messages 0\nuser root\nlog_dest none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto"
	}
	broker := f.command(bin, "-c", conf)
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Process.Kill(); _ = broker.Wait() })
	const address = "10.77.0.2:1883"
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	in := newInbox()
	m := &mosquitto{t: t, port: 1883, run: f.command}
	m.subscribe(in, "firebreak/1/#")
	cfg := config("mqtt://" + address)
	cfg.AckTimeout, cfg.MaxState = time.Second, kept
	u, _ := start(t, cfg)
	in.await(t, "it is connected", func(got []received) bool { return count(got, "status") > 0 })
	f.there("ip", "link", "set", "fb1", "down")
	for i := range n {
		u.Offer(alarm(fmt.Sprint("a", i%7), uint64(i), 1+i%4, i%2 == 0))
		u.Offer(state(i))
	}
	awaitStats(t, u, func(s BrokerStats) bool {
		return !s.Connected && (strings.Contains(s.LastError, errSilent.Error()) || s.Sessions > 1)
	})
	f.there("ip", "link", "set", "fb1", "up")
	got := in.await(t, "all that was raised, and the newest reading", func(got []received) bool {
		return len(distinct(got, "alarm")) == n && slices.Contains(distinct(got, "state"), n)
	})
	if s := distinct(got, "alarm"); !slices.Equal(s, upTo(n)) {
		t.Error("alarms out of order")
	}
	b := u.Stats().Brokers[0]
	if b.Dropped.Alarm+b.Dropped.Event > 0 || len(b.Gaps) == 0 {
		t.Errorf("dropped %+v, gaps %+v", b.Dropped, b.Gaps)
	}
	in.await(t, "all readings that its bound keeps", func(got []received) bool {
		return uint64(len(distinct(got, "state")))+b.Dropped.State >= n
	})
}
