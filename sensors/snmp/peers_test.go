//go:build peers

package snmp

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/sensors/profile"
)

// snmpd is Net-SNMP's, of its own on loopback, that serves the objects of a file.
type snmpd struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
	log  bytes.Buffer
}

const (
	upsMIB   = "1.3.6.1.2.1.33.1."
	powerNet = "1.3.6.1.4.1.318."
)

func newSnmpd(t *testing.T) *snmpd {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &snmpd{t: t, dir: t.TempDir(), addr: conn.LocalAddr().String()}
	conn.Close()
	script, err := filepath.Abs("testdata/mib.py")
	if err != nil {
		t.Fatal(err)
	}
	pass := fmt.Sprintf("/usr/bin/python3 %s %s", script, filepath.Join(s.dir, "objects"))
	s.write("agent.conf", strings.Join([]string{
		"dontLogTCPWrappersConnects yes", "rocommunity public 127.0.0.1",
		"createUser firebreak SHA-256 \"sixteen letters.\" AES \"other letters...\"", "rouser firebreak priv",
		"createUser signer SHA \"sixteen letters.\"", "rouser signer auth",
		"sysObjectID .1.3.6.1.4.1.318.1.3.27",
		"pass_persist ." + strings.TrimSuffix(upsMIB, ".1.") + " " + pass, "pass_persist ." + strings.TrimSuffix(powerNet, ".") + " " + pass,
	}, "\n")+"\n")
	s.objects()
	s.start()
	return s
}

func (s *snmpd) write(name, text string) {
	s.t.Helper()
	tmp := filepath.Join(s.dir, name+".new")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

// objects writes what is served: a healthy UPS, a PDU and two probes, and alarms of the UPS by number.
func (s *snmpd) objects(alarms ...int) {
	s.t.Helper()
	lines := []string{
		upsMIB + "2.1.0 integer 2", upsMIB + "2.2.0 integer 0", upsMIB + "2.3.0 integer 42", upsMIB + "2.4.0 integer 100", upsMIB + "2.5.0 integer 2730", upsMIB + "2.6.0 integer -12", upsMIB + "2.7.0 integer 31",
		upsMIB + "3.3.1.2.1 integer 499", upsMIB + "3.3.1.3.1 integer 231", upsMIB + "4.1.0 integer 3", upsMIB + "4.4.1.5.1 integer 23",
		upsMIB + fmt.Sprintf("6.1.0 gauge %d", len(alarms)),
		powerNet + "1.1.26.4.3.1.5.1 integer 157", powerNet + "1.1.26.4.3.1.4.1 integer 4", powerNet + "1.1.26.6.3.1.5.1 integer 28", powerNet + "1.1.26.10.2.2.1.6.1 integer 2", powerNet + "1.1.26.10.2.2.1.8.1 integer 239",
		powerNet + "1.1.25.1.2.1.10.1.1 integer 2", powerNet + "1.1.25.1.2.1.6.1.1 integer 27", powerNet + "1.1.25.1.2.1.7.1.1 string 40", powerNet + "1.1.25.1.2.1.9.1.1 integer 3",
	}
	for i, n := range alarms {
		lines = append(lines, upsMIB+fmt.Sprintf("6.2.1.2.%d objectid .%s6.3.%d", 7*i+95, upsMIB, n))
	}
	s.write("objects", strings.Join(lines, "\n")+"\n")
}

func (s *snmpd) start() {
	s.t.Helper()
	cmd := exec.Command("/usr/sbin/snmpd", "-f", "-Lo", "-I", "-smux", "-C", "-c", filepath.Join(s.dir, "agent.conf"), "-p", filepath.Join(s.dir, "pid"), "udp:"+s.addr)
	cmd.Env = append(os.Environ(), "SNMP_PERSISTENT_DIR="+s.dir, "MIBS=")
	cmd.Stdout, cmd.Stderr = &s.log, &s.log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("snmpd: %s", s.log.String())
		}
	})
}

func (s *snmpd) signal(x syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(x); err != nil {
		s.t.Fatal(err)
	}
}

func (s *snmpd) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// until polls d until it says what is wanted of a channel; without a want, until the poll fails.
func (d *device) until(what, channel, want string) {
	d.t.Helper()
	var got map[string]string
	var err error
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-tick.C {
		if got, err = d.poll(time.Second); want == "" && err != nil || want != "" && err == nil && got[channel] == want {
			return
		}
	}
	d.t.Fatalf("%s: %s is %q, error %v, want %q", what, channel, got[channel], err, want)
}

// still polls once: what another server does is no matter of d.
func (d *device) still(what, channel, want string) {
	d.t.Helper()
	if got, err := d.poll(5 * time.Second); err != nil || got[channel] != want {
		d.t.Errorf("%s: %s is %q, error %v, want %q", what, channel, got[channel], err, want)
	}
}

func (s *snmpd) device(o Options, p *profile.Profile) *device {
	o.Address = s.addr
	return newDevice(s.t, client(s.t, o), p)
}

// TestPeerSnmpd: the shipped profiles read through a real snmpd, by each version; its alarms come and go.
func TestPeerSnmpd(t *testing.T) {
	s := newSnmpd(t)
	ways := map[string]Options{"1": {Version: "1"}, "2c": {Version: "2c"}, "signed": {Version: "3", User: "signer", Auth: "sha"},
		"encrypted": {Version: "3", User: "firebreak", Auth: "sha256", Priv: "aes"}}
	for name, o := range ways {
		ups, pdu, uio := s.device(o, shipped(t, "ups-mib")), s.device(o, shipped(t, "apc-rpdu2")), s.device(o, shipped(t, "apc-uio"))
		s.objects()
		ups.until(name, "battery.temperature", "31 good")
		ups.want(name, "battery.voltage", "273 good", "battery.current", "-1.2 good", "battery.runtime", "42 good", "input.frequency", "49.9 good", "output.on-battery", "0 good",
			"battery.low", "0 good", "output.1.load", "23 good", "input.2.voltage", "bad:sentinel", "alarm.on-battery", "0 good", "alarm.communications-lost", "0 good")
		pdu.want(name, "power", "1570 good", "overload", "1 good", "phase.1.current", "2.8 good", "bank.1.current", "bad:sentinel", "probe.temperature", "23.9 good", "probe.humidity", "bad:sentinel")
		uio.want(name, "port.1.temperature", "27 good", "port.1.humidity", "bad:implausible", "port.1.critical", "1 good", "port.2.temperature", "bad:sentinel")
		s.objects(2, 5)
		ups.until(name, "alarm.on-battery", "1 good")
		ups.want(name, "alarm.temperature-bad", "1 good", "alarm.low-battery", "0 good", "battery.temperature", "31 good")
		s.objects(20)
		ups.until(name, "alarm.communications-lost", "1 good")
		ups.want(name, "alarm.on-battery", "0 good", "battery.temperature", "bad:stale")
	}
	other := s.device(ways["2c"], own(t, 1, "system = [\"1.3.6.1.4.1.476\"]"))
	other.want("another maker", "a.1", "bad:identity")
}

// TestPeerSnmpdSilent: a real snmpd that is stopped, dead, without its objects or with another key costs only its
// points, and they come back.
func TestPeerSnmpdSilent(t *testing.T) {
	s, far := newSnmpd(t), newSnmpd(t)
	v3 := Options{Version: "3", User: "firebreak", Auth: "sha256", Priv: "aes"}
	a, b, z := s.device(v3, shipped(t, "ups-mib")), s.device(Options{Version: "2c"}, shipped(t, "ups-mib")), far.device(v3, shipped(t, "ups-mib"))
	back := func(what string) {
		t.Helper()
		for _, d := range []*device{a, b} {
			d.until(what, "battery.temperature", "31 good")
			d.until(what, "alarm.on-battery", "0 good")
		}
		z.still(what, "battery.temperature", "31 good")
	}
	z.until("start", "battery.temperature", "31 good")
	back("start")

	s.signal(syscall.SIGSTOP)
	began := time.Now()
	got, err := a.poll(300 * time.Millisecond)
	if wantErr(t, err, "SNMP agent at "+s.addr); got["battery.temperature"] != "bad:comm" || got["alarm.on-battery"] != "bad:comm" {
		t.Errorf("silent: %v", got)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a silent snmpd held its poll for %v", took)
	}
	b.until("silent", "", "")
	z.still("another one silent", "battery.temperature", "31 good")
	s.signal(syscall.SIGCONT)
	back("goes on")

	s.kill()
	a.until("dead", "", "")
	z.still("another one dead", "battery.temperature", "31 good")
	s.start()
	back("started again") // its boots have grown: version 3 learns them anew

	if err := os.Remove(filepath.Join(s.dir, "objects")); err != nil {
		t.Fatal(err)
	}
	a.until("without objects", "battery.temperature", "bad:sentinel")
	a.still("without objects", "alarm.on-battery", "bad:sentinel")
	s.objects()
	back("objects again")

	c := a.p.c
	right := c.opt.Secrets
	c.opt.Secrets = func() (Secrets, error) { return Secrets{AuthKey: "another password", PrivKey: "other letters..."}, nil }
	c.drop()
	_, err = a.poll(2 * time.Second)
	wantErr(t, err, "see user, auth")
	c.opt.Secrets = right
	back("right key")
	c.opt.User = "nobody"
	c.drop()
	_, err = a.poll(2 * time.Second)
	wantErr(t, err, "user")
	t.Logf("an unknown user: %v", err)
}
