//go:build peers

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"firebreak/sensors/sim/slave"
)

// card is an snmpd of Debian that serves the objects of a file.
type card struct {
	Port int
	dir  string
	proc *process
}

func startCard(t *testing.T, access string) *card {
	t.Helper()
	c := &card{Port: freePort(t), dir: t.TempDir()}
	script, err := filepath.Abs("../../sensors/snmp/testdata/mib.py")
	if err != nil {
		t.Fatal(err)
	}
	text := access + "\nsysObjectID .1.3.6.1.4.1.318.1.3.27\n"
	for _, root := range []string{"1.3.6.1.2.1.33", "1.3.6.1.4.1.318"} {
		text += fmt.Sprintf("pass_persist .%s /usr/bin/python3 %s %s/objects\n", root, script, c.dir)
	}
	put(t, filepath.Join(c.dir, "agent.conf"), text)
	t.Setenv("SNMP_PERSISTENT_DIR", c.dir)
	t.Setenv("MIBS", "")
	c.proc = start(t, "/usr/sbin/snmpd", "-f", "-Lo", "-I", "-smux", "-C", "-c", filepath.Join(c.dir, "agent.conf"), "-p", filepath.Join(c.dir, "pid"), fmt.Sprintf("udp:127.0.0.1:%d", c.Port))
	return c
}

// ups writes the objects of a UPS; alarms are numbers of RFC 1628.
func (c *card) ups(t *testing.T, temperature int, alarms ...int) {
	t.Helper()
	const mib = "1.3.6.1.2.1.33.1."
	text := fmt.Sprintf("%[1]s2.1.0 integer 2\n%[1]s2.7.0 integer %[2]d\n%[1]s4.1.0 integer 3\n%[1]s6.1.0 gauge %[3]d\n", mib, temperature, len(alarms))
	for i, n := range alarms {
		text += fmt.Sprintf("%s6.2.1.2.%d objectid .%s6.3.%d\n", mib, 95+7*i, mib, n)
	}
	put(t, filepath.Join(c.dir, "objects"), text)
}

// probe writes those of a probe at the first universal port.
func (c *card) probe(t *testing.T, temperature int) {
	t.Helper()
	const mib = "1.3.6.1.4.1.318.1.1.25.1.2.1."
	put(t, filepath.Join(c.dir, "objects"), fmt.Sprintf("%[1]s6.1.1 integer %[2]d\n%[1]s9.1.1 integer 1\n%[1]s10.1.1 integer 2\n", mib, temperature))
}

// inRack is an agent that reads both.
type inRack struct {
	*lab
	Card, Air *card
	Duct      string
}

// status waits until the agent's status says, or no longer says, something.
func (r *inRack) status(t *testing.T, part string, there bool) {
	t.Helper()
	r.until(t, there, regexp.QuoteMeta(part), "status", "-c", r.file)
}

// until runs a command until what it prints has, or has no longer, a form.
func (r *inRack) until(t *testing.T, there bool, form string, args ...string) {
	t.Helper()
	want := regexp.MustCompile(form)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		out, err := exec.Command(binary, args...).CombinedOutput()
		if err == nil && want.Match(out) == there {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: %q there: want %v\n%s", args[0], form, there, out)
		}
	}
}

// An snmpd of Debian as the card of a UPS (version 3, signed and encrypted), and another one with a probe (version 2c): their
// readings vote, alarms come and go with the rows of the table, and one that is stopped, loses its objects or
// changes its key costs its own points alone, which come back.
func TestSNMPSources(t *testing.T) {
	duct := slave.NewBank()
	duct.Set(slave.Discretes, 0, 1, 0, 0, 0)
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{3: duct})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	r := &inRack{lab: newLab(t, "", "", ""), Duct: srv.Addr()}
	r.Card = startCard(t, "createUser firebreak SHA-256 \"sixteen letters.\" AES \"other letters...\"\nrouser firebreak priv")
	r.Air = startCard(t, "rocommunity readers 127.0.0.1")
	r.Card.ups(t, 25)
	r.Air.probe(t, 22)
	for name, text := range map[string]string{"auth": "sixteen letters.\n", "priv": "other letters...\n", "community": "readers\n"} {
		put(t, filepath.Join(r.Dir, name), text)
	}
	tmpl, err := template.ParseFiles("testdata/snmp.toml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, r); err != nil {
		t.Fatal(err)
	}
	r.file = filepath.Join(r.Dir, "firebreak.toml")
	put(t, r.file, b.String())
	if out, err := exec.Command(binary, "check", "-c", r.file).CombinedOutput(); err != nil || !strings.Contains(string(out), "profile apc-uio is unverified in part") {
		t.Fatalf("check: %v\n%s", err, out)
	}
	a := start(t, binary, "run", "-c", r.file)
	r.until(t, true, "bus ups-card: .* 0 devices silent", "status", "-c", r.file)

	r.Card.ups(t, 25, 2, 6)
	r.status(t, "on-battery: unacknowledged", true)
	r.Card.ups(t, 25)
	r.status(t, "on-battery: unacknowledged", false)

	send(t, r.Card.proc, syscall.SIGSTOP)
	r.status(t, "loss/device/ups-b: unacknowledged", true)
	r.status(t, "loss/device/rack-air: unacknowledged", false)
	duct.Set(slave.Discretes, 2, 1)
	r.Air.probe(t, 61)
	r.hook(t, "with-air", 0) // the other one votes meanwhile
	send(t, r.Card.proc, syscall.SIGCONT)
	r.status(t, "loss/device/ups-b: unacknowledged", false)

	if err := os.Remove(filepath.Join(r.Card.dir, "objects")); err != nil {
		t.Fatal(err)
	}
	r.status(t, "loss/device/ups-b: unacknowledged", true) // it answers: no such object
	r.status(t, "loss/device/rack-air: unacknowledged", false)
	r.Card.ups(t, 62)
	r.hook(t, "with-ups", 0)
	r.status(t, "loss/device/ups-b: unacknowledged", false)
	if err := a.stop(); err != nil {
		t.Error(err)
	}
	r.prove(t, b.String())
}

// prove shows the points to a person, and walks through one of them, as an agent that acts on nothing.
func (r *inRack) prove(t *testing.T, text string) {
	t.Helper()
	text = strings.NewReplacer("mode       = \"armed\"\nungated    = \"a test\"\n", "", r.Dir+"/journal", r.Dir+"/journal2", r.Dir+"/run", r.Dir+"/run2").Replace(text)
	put(t, r.file, text)
	start(t, binary, "run", "-c", r.file)
	r.status(t, ": unacknowledged: device/", false)
	r.Card.ups(t, 25)
	r.until(t, true, `ups-b.battery.temperature +25 `, "watch", "ups-b.*", "-c", r.file, "--once")
	walk := start(t, binary, "commission", "ups-b.battery.temperature", "-c", r.file, "--by", "somebody", "--rest", "1s", "--patience", "20s", "--sheet", filepath.Join(r.Dir, "sheet.md"))
	if _, err := walk.in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	walk.out.line(t, 0, "Make it move NOW")
	r.Card.ups(t, 45)
	<-walk.done
	// Whether it is recorded depends on the clock of this machine (S23): an unset one proves nothing.
	sheet, err := os.ReadFile(filepath.Join(r.Dir, "sheet.md"))
	if out := walk.out.tail(20); err != nil || !strings.Contains(out, "from 25 to 45 C") || !strings.Contains(string(sheet), "ups-b.battery.temperature") {
		t.Fatalf("commission: %v\n%s\n%s%s", err, sheet, out, walk.errs.tail(20))
	}
}
