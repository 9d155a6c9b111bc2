//go:build peers

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"firebreak/sensors/sim/slave"
)

// upsdLab is a upsd of Debian with two dummy UPSes, each with a driver.
type upsdLab struct {
	*inRack
	Port    int
	drivers map[string]*process
}

func (u *upsdLab) ups(t *testing.T, name, status string, temperature int) {
	t.Helper()
	put(t, filepath.Join(u.Dir, name+".dev"), fmt.Sprintf("ups.status: %s\nbattery.temperature: %d\n", status, temperature))
}

func (u *upsdLab) start(t *testing.T) *process {
	t.Helper()
	t.Setenv("NUT_CONFPATH", u.Dir)
	t.Setenv("NUT_STATEPATH", u.Dir)
	t.Setenv("NUT_ALTPIDPATH", u.Dir)
	conf := ""
	for _, name := range []string{"one", "two"} {
		conf += fmt.Sprintf("[%s]\ndriver = dummy-ups\nport = %s/%s.dev\npollinterval = 1\n", name, u.Dir, name)
		u.ups(t, name, "OL", 25)
		past := time.Now().Add(-time.Hour) // dummy-ups takes a file anew when its second is a later one
		if err := os.Chtimes(filepath.Join(u.Dir, name+".dev"), past, past); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(u.Dir, "ups.conf"), conf)
	put(t, filepath.Join(u.Dir, "upsd.conf"), fmt.Sprintf("LISTEN 127.0.0.1 %d\nSTATEPATH %s\nMAXAGE 3\n", u.Port, u.Dir))
	put(t, filepath.Join(u.Dir, "upsd.users"), "")
	for _, name := range []string{"one", "two"} {
		u.drivers[name] = start(t, "/lib/nut/dummy-ups", "-a", name, "-D", "-u", "root")
		u.drivers[name].errs.line(t, 0, "upsdrv_updateinfo")
	}
	return start(t, "/lib/nut/upsd", "-D", "-u", "root")
}

// A upsd of Debian read by the agent itself: its readings vote, a driver that is stopped (ERR DATA-STALE) costs the points of its
// UPS, a upsd that is stopped those of both and of nobody else, and they come back.
func TestUpsdSource(t *testing.T) {
	duct := slave.NewBank()
	duct.Set(slave.Discretes, 0, 1, 0, 0, 0)
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{3: duct})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	u := &upsdLab{inRack: &inRack{lab: newLab(t, "", "", ""), Duct: srv.Addr()}, Port: freePort(t), drivers: map[string]*process{}}
	upsd := u.start(t)
	tmpl, err := template.ParseFiles("testdata/nut.toml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, u); err != nil {
		t.Fatal(err)
	}
	u.file = filepath.Join(u.Dir, "firebreak.toml")
	put(t, u.file, b.String())
	a := start(t, binary, "run", "-c", u.file)
	u.until(t, true, "bus ups-host: .* 0 devices silent", "status", "-c", u.file)

	u.ups(t, "one", "OB DISCHRG", 25)
	u.status(t, "on-battery: unacknowledged", true)
	send(t, u.drivers["one"], syscall.SIGSTOP)
	u.status(t, "loss/device/ups-a: unacknowledged", true)
	u.status(t, "loss/device/ups-b: unacknowledged", false)
	duct.Set(slave.Discretes, 2, 1)
	u.ups(t, "two", "OL", 61)
	u.hook(t, "with-b", 0)
	send(t, u.drivers["one"], syscall.SIGCONT)
	u.status(t, "loss/device/ups-a: unacknowledged", false)

	send(t, upsd, syscall.SIGSTOP)
	u.status(t, "bus/ups-host: unacknowledged", true)
	u.until(t, true, "bus net: .* 0 devices silent", "status", "-c", u.file)
	send(t, upsd, syscall.SIGCONT)
	u.status(t, "bus/ups-host: unacknowledged", false)
	u.ups(t, "one", "OL", 62)
	u.hook(t, "with-a", 0)
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

func send(t *testing.T, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
