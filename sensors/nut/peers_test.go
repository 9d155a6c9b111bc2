//go:build peers

package nut

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const nutDir = "/lib/nut"

// program is one of NUT's, in the foreground, ended with the test.
type program struct {
	cmd *exec.Cmd
	out *bytes.Buffer
}

func start(t *testing.T, dir string, args ...string) *program {
	t.Helper()
	p := &program{exec.Command(args[0], args[1:]...), &bytes.Buffer{}}
	p.cmd.Env = append(os.Environ(), "NUT_CONFPATH="+dir, "NUT_STATEPATH="+dir, "NUT_ALTPIDPATH="+dir)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *program) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// rig is an upsd of its own on loopback, with two UPSes.
type rig struct {
	t    *testing.T
	dir  string
	port int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "nut") // short: there are sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t, dir, ln.Addr().(*net.TCPAddr).Port}
	ln.Close()
	r.write("ups.conf", "[ups]\ndriver = dummy-ups\nport = ups.dev\nmode = dummy-once\n[other]\ndriver = dummy-ups\nport = other.dev\nmode = dummy-once\n")
	r.write("ups.dev", "ups.status: OB DISCHRG LB\nups.mfr: A \"B\" C\nbattery.temperature: 41.7\nbattery.charge: 17\nambient.humidity: 38.5\n")
	r.write("other.dev", "ups.status: OL\nbattery.temperature: 25.0\n")
	r.write("upsd.conf", fmt.Sprintf("LISTEN 127.0.0.1 %d\nMAXAGE 2\n", r.port))
	r.write("upsd.users", "")
	return r
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o640); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) run(args ...string) *program {
	r.t.Helper()
	me, err := user.Current()
	if err != nil {
		r.t.Fatal(err)
	}
	return start(r.t, r.dir, append([]string{filepath.Join(nutDir, args[0]), "-u", me.Username}, args[1:]...)...)
}

func (r *rig) driver(ups string) *program { return r.run("dummy-ups", "-a", ups, "-D") }
func (r *rig) upsd() *program             { return r.run("upsd", "-D") }

// until polls u until it says what is wanted of a channel; "" is an error.
func (u *ups) until(what, channel, want string) {
	u.t.Helper()
	var got map[string]string
	var err error
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if got, err = u.poll(500 * time.Millisecond); got[channel] == want && (err != nil) == (want == "") {
			return
		}
	}
	u.t.Fatalf("%s: %s is %q, error %v, want %q", what, channel, got[channel], err, want)
}

// TestPeerUpsd: a real upsd, silent, dead or without a driver, costs only its points, and they come back.
func TestPeerUpsd(t *testing.T) {
	r, far := newRig(t), newRig(t)
	d := r.driver("ups")
	r.driver("other")
	far.driver("other")
	server := r.upsd()
	far.upsd()
	c := client(t, Options{Address: fmt.Sprintf("127.0.0.1:%d", r.port)})
	a, b := newUPS(t, c, "ups"), newUPS(t, c, "other")
	z := newUPS(t, client(t, Options{Address: fmt.Sprintf("127.0.0.1:%d", far.port)}), "other")
	a.until("start", "status.on-battery", "1 good")
	b.until("start", "battery.temperature", "25 good")
	z.until("start", "status.on-line", "1 good")
	if got, err := a.poll(time.Second); err != nil || got["battery.temperature"] != "41.7 good" || got["status.low-battery"] != "1 good" || got["status.on-line"] != "0 good" || got["load"] != "bad:sentinel" {
		t.Errorf("%v, %v", got, err)
	}
	if all, err := c.UPSes(t.Context()); err != nil || len(all) != 2 || all[0].Name != "other" && all[1].Name != "other" {
		t.Errorf("its UPSes: %v, %v", all, err)
	}
	if vars, err := c.Variables(t.Context(), "ups"); err != nil || vars["ups.mfr"] != "A B C" || vars["driver.name"] != "dummy-ups" {
		t.Errorf("its variables: %v, %v", vars, err)
	}
	_, err := newUPS(t, c, "nobody").poll(time.Second)
	wantErr(t, err, "UNKNOWN-UPS")

	d.signal(t, syscall.SIGSTOP)
	a.until("driver stopped", "status.on-battery", "bad:stale")
	b.until("driver of the other stopped", "status.on-line", "1 good")
	d.signal(t, syscall.SIGCONT)
	a.until("driver back", "status.on-battery", "1 good")
	d.kill()
	a.until("driver gone", "status.on-battery", "bad:comm")
	b.until("driver of the other gone", "status.on-line", "1 good")
	r.driver("ups")
	a.until("new driver", "status.on-battery", "1 good")

	server.signal(t, syscall.SIGSTOP)
	began := time.Now()
	_, err = a.poll(300 * time.Millisecond)
	wantErr(t, err, "upsd at")
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a silent upsd held its poll for %v", took)
	}
	z.until("another upsd silent", "status.on-line", "1 good")
	server.signal(t, syscall.SIGCONT)
	a.until("upsd goes on", "status.on-battery", "1 good")
	server.kill()
	a.until("upsd dead", "status.on-battery", "")
	z.until("another upsd dead", "status.on-line", "1 good")
	r.upsd()
	a.until("new upsd", "status.on-battery", "1 good")
	b.until("new upsd, other UPS", "status.on-line", "1 good")
}
