//go:build peers

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"firebreak/sensors/sim/pty"
)

// settings fill the template of the agent's configuration.
type settings struct {
	Dir, UPS, Line, FIFO, Broker, Poll string
}

// lab is one agent with its surroundings.
type lab struct {
	settings
	file  string
	hooks *feed // one line for each hook that ran: step and the time that its process saw
}

// newLab makes a FIFO that the hooks write to. Its directories are in memory where there is such a
// place, as the run directory of a real agent is.
func newLab(t testing.TB, ups, line, broker string) *lab {
	t.Helper()
	base := ""
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		base = "/dev/shm"
	}
	dir, err := os.MkdirTemp(base, "firebreak-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l := &lab{settings: settings{Dir: dir, UPS: ups, Line: line, Broker: broker, FIFO: filepath.Join(dir, "fifo"), Poll: "100ms"}, hooks: newFeed()}
	if err := syscall.Mkfifo(l.FIFO, 0o600); err != nil {
		t.Fatal(err)
	}
	// Read and write: the end that is ours never sees the end of the file between two hooks.
	f, err := os.OpenFile(l.FIFO, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { l.hooks.read(f) })
	t.Cleanup(func() { _ = f.Close(); wg.Wait() })
	return l
}

// run starts the agent.
func (l *lab) run(t testing.TB) *process {
	t.Helper()
	l.write(t)
	return start(t, binary, "run", "-c", l.file)
}

func (l *lab) write(t testing.TB) {
	t.Helper()
	tmpl, err := template.ParseFiles("testdata/firebreak.toml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, l.settings); err != nil {
		t.Fatal(err)
	}
	l.file = filepath.Join(l.Dir, "firebreak.toml")
	if err := os.WriteFile(l.file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hook waits for the hook of a plan and returns when its process ran, by its own clock.
func (l *lab) hook(t testing.TB, name string, from int) time.Time {
	t.Helper()
	got, _ := l.hooks.line(t, from, "tell-"+name+" ")
	var step string
	var ns int64
	if _, err := fmt.Sscan(got.text, &step, &ns); err != nil {
		t.Fatalf("hook wrote %q: %v", got.text, err)
	}
	return time.Unix(0, ns)
}

// freePort is one that nobody listened on just now.
func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// pymodbus is a device that we did not write.
type pymodbus struct {
	*process
	oks int
}

func startPymodbus(t testing.TB, kind, where string, unit int) *pymodbus {
	t.Helper()
	p := &pymodbus{process: start(t, "/usr/bin/python3", "testdata/pymodbus_server.py", kind, where, fmt.Sprint(unit))}
	p.out.line(t, 0, "ready")
	return p
}

// set writes registers of the table that a function reads, and returns once they stand.
func (p *pymodbus) set(t testing.TB, function, address int, words ...int) {
	t.Helper()
	text := fmt.Sprint("set ", function, address)
	for _, w := range words {
		text += fmt.Sprint(" ", w)
	}
	if _, err := io.WriteString(p.in, text+"\n"); err != nil {
		t.Fatal(err)
	}
	p.oks++
	p.out.await(t, "answer to "+text, func(all []line) bool { return len(all) > p.oks })
}

// ups sets what a healthy Smart-UPS shows.
func (p *pymodbus) ups(t testing.TB) {
	t.Helper()
	p.set(t, 3, 0, 0, 2)                                                            // on line
	p.set(t, 3, 2054, 0x1234, 0x5678, 0xFFFF, 0xFFFB, 0x1234, 0xFFFB, 8224, 0xDFE0) // self-test: it is this model
	p.set(t, 3, 128, 0, 3600, 100<<9, 54.5*32)                                      // runtime, charge, battery voltage
	p.set(t, 3, 135, 25.5*128, 40*256)                                              // battery temperature, output power
	p.set(t, 3, 142, 230*64, 0, 50*128)                                             // output voltage and frequency
	p.set(t, 3, 150, 1, 229*64+32)                                                  // input acceptable, input voltage
}

// serialLine joins two pairs of pseudo terminals into a line with two ends that open like ttys.
func serialLine(t testing.TB) (agent, device string) {
	t.Helper()
	a, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(a.File, b.File) })
	wg.Go(func() { _, _ = io.Copy(b.File, a.File) })
	t.Cleanup(func() { _, _ = a.Close(), b.Close(); wg.Wait() })
	return a.Path(), b.Path()
}

// mosquitto is a broker that we did not write. It keeps sessions and retained messages over a stop
// and a start.
type mosquitto struct {
	conf string
	port int
	*process
}

func newMosquitto(t testing.TB) *mosquitto {
	t.Helper()
	dir := t.TempDir()
	m := &mosquitto{conf: filepath.Join(dir, "mosquitto.conf"), port: freePort(t)}
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nmax_queued_messages 0\nuser root\nlog_dest stderr\nlog_type information\nlog_type notice\nlog_type subscribe\nlog_type debug\n", m.port, dir)
	if err := os.WriteFile(m.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mosquitto) address() string { return fmt.Sprintf("127.0.0.1:%d", m.port) }

func (m *mosquitto) start(t testing.TB) {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto" // not everybody's path has it
	}
	m.process = start(t, bin, "-c", m.conf)
	m.errs.line(t, 0, "mosquitto version", "running")
}

// subscribe runs mosquitto_sub with a session that lasts; it finds the broker again by itself. Each
// line is a topic and its payload.
func (m *mosquitto) subscribe(t testing.TB, filter string) *feed {
	t.Helper()
	p := start(t, "mosquitto_sub", "-h", "127.0.0.1", "-p", fmt.Sprint(m.port), "-q", "1", "-c", "-i", "watcher", "-k", "5", "-t", filter, "-F", "%t %p")
	m.errs.line(t, 0, "Sending SUBACK", "watcher")
	return p.out
}
