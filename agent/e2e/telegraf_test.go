//go:build peers

package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"firebreak/sensors/sim/slave"
)

// build runs a script of .ci that builds a program.
func build(t *testing.T, script string, args ...string) {
	t.Helper()
	if out, err := exec.Command("bash", append([]string{"../../.ci/" + script}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// foreign is a configuration with sources that come by Telegraf.
type foreign struct {
	*lab
	Companion, OID        string
	NUT, SNMP, Prometheus int
	Victoria              int
	Duct                  string
	duct                  *slave.Bank
	upsd, snmpd           *process
}

const oid = ".1.3.6.1.4.1.318.1.1.10.2.3.2.1.4.1"

func newForeign(t *testing.T) *foreign {
	t.Helper()
	f := &foreign{lab: newLab(t, "", "", ""), OID: oid, NUT: freePort(t), SNMP: freePort(t), Prometheus: freePort(t), Victoria: freePort(t), duct: slave.NewBank()}
	f.Companion = filepath.Join(t.TempDir(), "firebreak-telegraf")
	build(t, "companion", f.Companion, "inputs.upsd", "inputs.snmp", "outputs.prometheus_client", "outputs.influxdb_v2")
	f.duct.Set(slave.Discretes, 0, 1, 0, 0, 0)
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{3: f.duct})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	f.Duct = srv.Addr()
	f.nut(t)
	f.startUPSD(t)
	f.startVictoria(t)
	f.heat(t, 25)
	tmpl, err := template.ParseFiles("testdata/telegraf.toml.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := tmpl.Execute(&b, f); err != nil {
		t.Fatal(err)
	}
	f.file = filepath.Join(f.Dir, "firebreak.toml")
	put(t, f.file, b.String())
	return f
}

func put(t *testing.T, path, text string) {
	t.Helper()
	tmp := path + ".new" // in one piece: somebody may be reading it
	if err := os.WriteFile(tmp, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

// nut is the configuration of a upsd with one dummy UPS, and the driver of that.
func (f *foreign) nut(t *testing.T) {
	t.Helper()
	t.Setenv("NUT_CONFPATH", f.Dir)
	t.Setenv("NUT_STATEPATH", f.Dir)
	t.Setenv("NUT_ALTPIDPATH", f.Dir)
	put(t, filepath.Join(f.Dir, "ups.conf"), "[dummy]\ndriver = dummy-ups\nport = "+f.Dir+"/dummy.dev\n")
	put(t, filepath.Join(f.Dir, "upsd.conf"), fmt.Sprintf("LISTEN 127.0.0.1 %d\nSTATEPATH %s\nMAXAGE 15\n", f.NUT, f.Dir))
	put(t, filepath.Join(f.Dir, "upsd.users"), "")
	f.warm(t, 25)
	start(t, "/lib/nut/dummy-ups", "-a", "dummy", "-D", "-u", "root").errs.line(t, 0, "upsdrv_updateinfo")
}

// startUPSD starts the server itself: what stands in /usr/sbin asks the system first whether it may.
func (f *foreign) startUPSD(t *testing.T) {
	t.Helper()
	f.upsd = start(t, "/lib/nut/upsd", "-D", "-u", "root")
	// Before it has its driver, it answers inputs.upsd in a way that this one waits for ever.
	f.upsd.errs.line(t, 0, "Connected to UPS [dummy]")
}

// warm sets the battery's temperature of the UPS, heat that of the probe, whose agent is started anew.
func (f *foreign) warm(t *testing.T, c int) {
	t.Helper()
	put(t, filepath.Join(f.Dir, "dummy.dev"), fmt.Sprintf("battery.temperature: %d\nbattery.charge: 100\nbattery.runtime: 3600\nups.status: OL\nups.firmware: 1\ndevice.model: dummy\ndevice.serial: 7\n", c))
}

func (f *foreign) heat(t *testing.T, c int) {
	t.Helper()
	put(t, filepath.Join(f.Dir, "snmpd.conf"), fmt.Sprintf("rocommunity public 127.0.0.1\noverride %s integer %d\n", oid, c))
	if f.snmpd != nil {
		_ = f.snmpd.stop() // it takes an override once, at its start
	}
	f.snmpd = start(t, "/usr/sbin/snmpd", "-f", "-Lo", "-C", "-c", filepath.Join(f.Dir, "snmpd.conf"), "-p", filepath.Join(f.Dir, "snmpd.pid"), fmt.Sprintf("udp:127.0.0.1:%d", f.SNMP))
}

// status waits until the agent's status says, or no longer says, something.
func (f *foreign) status(t *testing.T, part string, there bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(4 * patience); ; { // a gather that hangs is ended after a minute
		out, err := exec.Command(binary, "status", "-c", f.file).CombinedOutput()
		if err == nil && strings.Contains(string(out), part) == there {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("status: %q there: want %v\n%s", part, there, out)
		}
	}
}

// A upsd and an snmpd of Debian, through inputs.upsd and inputs.snmp, each vote together with a smoke detector of
// our own. A server that goes takes its points along, which come back with it; a companion that is stopped
// is found and replaced; and what was told stands in the metrics of outputs.prometheus_client.
func TestTelegrafSources(t *testing.T) {
	f := newForeign(t)
	f.refused(t)
	a := start(t, binary, "run", "-c", f.file)
	a.errs.line(t, 0, "the Telegraf companion runs", "upsd", "snmp::probe")
	f.duct.Set(slave.Discretes, 2, 1)
	f.warm(t, 61)
	f.hook(t, "with-ups", 0)
	f.heat(t, 62)
	f.hook(t, "with-probe", 0)
	f.prometheus(t, `firebreak_reading{`, `device="ups-b"`, `61`)
	f.prometheus(t, `firebreak_plan_level{`, `plan="on-with-probe"`, `1`)

	f.victoria(t, `"__name__":"firebreak_reading_value"`, `"device":"ups-b"`, `61`) // by outputs.influxdb_v2, so without a job
	f.victoria(t, `"__name__":"firebreak_plan_level","agent"`, `"plan":"on-with-probe"`, `1`)
	f.victoria(t, `"__name__":"firebreak_reading"`, `"job":"firebreak"`, `"device":"ups-b"`, `61`) // scraped from outputs.prometheus_client
	f.victoria(t, `"__name__":"firebreak_plan_level"`, `"job":"firebreak"`, `"plan":"on-with-probe"`, `1`)

	if err := f.upsd.stop(); err != nil {
		t.Logf("upsd: %v", err)
	}
	f.status(t, "loss/device/ups-b: unacknowledged", true)
	f.status(t, "loss/device/probe: unacknowledged", false)
	f.startUPSD(t)
	f.status(t, "loss/device/ups-b: unacknowledged", false)

	pid := companionOf(t, a.cmd.Process.Pid)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	f.status(t, "loss/bus/telegraf: unacknowledged", true)
	f.status(t, "agent/telegraf: unacknowledged", true)
	f.status(t, "loss/bus/telegraf: unacknowledged", false)
	next := companionOf(t, a.cmd.Process.Pid)
	if err := a.stop(); err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	for _, group := range []int{pid, next} {
		if err := syscall.Kill(-group, 0); err == nil { // it leads its process group
			t.Errorf("something of the companion %d lives on", group)
		}
	}
}

// refused shows that check does not let these votes open a stage of irreversible steps: neither has a quorum without its
// Telegraf point.
func (f *foreign) refused(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(f.file)
	if err != nil {
		t.Fatal(err)
	}
	deeper := filepath.Join(f.Dir, "deeper.toml")
	put(t, deeper, strings.NewReplacer(`level         = "1"`, "level = \"3\"\nif_blind = \"proceed\"", "need = 2\n", "need = 2\nindependent = true\n").Replace(string(text)))
	out, err := exec.Command(binary, "check", "-c", deeper).CombinedOutput()
	if n := strings.Count(string(out), "stage 3 cannot open without what Telegraf brings"); err == nil || n != 2 {
		t.Fatalf("check refuses %d of the two stages (%v):\n%s", n, err, out)
	}
}

// companionOf finds the child of the agent that is its companion.
func companionOf(t testing.TB, agent int) int {
	t.Helper()
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", agent))
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		for _, c := range strings.Fields(string(b)) {
			var pid int
			_, _ = fmt.Sscan(c, &pid)
			if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.HasPrefix(string(name), "firebreak-tele") {
				return pid
			}
		}
	}
	t.Fatal("the agent has no companion")
	return 0
}

// prometheus waits for a line with all the parts in what outputs.prometheus_client serves.
func (f *foreign) prometheus(t *testing.T, parts ...string) {
	t.Helper()
	f.served(t, fmt.Sprintf("http://127.0.0.1:%d/metrics", f.Prometheus), parts)
}

func (f *foreign) served(t *testing.T, url string, parts []string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for late := time.After(patience); ; {
		if r, err := http.Get(url); err == nil {
			b, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			last = string(b)
			for l := range strings.Lines(last) {
				if hasAll(l, parts) {
					return
				}
			}
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("no metric with %q in\n%s", parts, last)
		}
	}
}

// startVictoria starts VictoriaMetrics, which takes what outputs.influxdb_v2 writes, and scrapes outputs.prometheus_client.
func (f *foreign) startVictoria(t *testing.T) {
	t.Helper()
	scrape := filepath.Join(f.Dir, "scrape.yml")
	put(t, scrape, fmt.Sprintf("scrape_configs:\n- job_name: firebreak\n  scrape_interval: 1s\n  static_configs:\n  - targets: [\"127.0.0.1:%d\"]\n", f.Prometheus))
	start(t, "/usr/bin/victoria-metrics", fmt.Sprintf("-httpListenAddr=127.0.0.1:%d", f.Victoria), "-storageDataPath="+filepath.Join(f.Dir, "victoria"), "-promscrape.config="+scrape).errs.line(t, 0, "started VictoriaMetrics")
}

// victoria waits for a series with all the parts in what VictoriaMetrics has.
func (f *foreign) victoria(t *testing.T, parts ...string) {
	t.Helper()
	f.served(t, fmt.Sprintf("http://127.0.0.1:%d/api/v1/export?match[]=%%7B__name__=~%%22firebreak.*%%22%%7D", f.Victoria), parts)
}

// A stock Telegraf, built by its own build tags, runs `firebreak telegraf` as the document shows, and prints what
// the sensors say.
func TestStockTelegraf(t *testing.T) {
	dir := t.TempDir()
	telegraf := filepath.Join(dir, "telegraf")
	build(t, "stock-telegraf", telegraf)
	bank := slave.NewBank()
	bank.Set(slave.Discretes, 0, 1, 0, 0, 0)
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{3: bank})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	sensors := filepath.Join(dir, "sensors.toml")
	put(t, sensors, fmt.Sprintf("site = \"lab\"\nzone = \"b3\"\nagent = \"rack1\"\n[[bus]]\nname = \"net\"\nkind = \"modbus-tcp\"\naddress = %q\n[[device]]\nname = \"duct-1\"\nprofile = \"calectro-ug3\"\nbus = \"net\"\nunit = 3\npoll = \"100ms\"\n", srv.Addr()))
	doc, err := os.ReadFile("../../docs/telegraf.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```toml\n[agent]\n")
	conf, _, closed := strings.Cut("[agent]\n"+rest, "\n```")
	if !ok || !closed {
		t.Fatal("docs/telegraf.md has no telegraf.conf")
	}
	file := filepath.Join(dir, "telegraf.conf")
	put(t, file, strings.NewReplacer(`"firebreak"`, fmt.Sprintf("%q", binary), "/etc/firebreak/sensors.toml", sensors).Replace(conf))
	p := start(t, telegraf, "--config", file)
	p.out.line(t, 0, "firebreak_reading", "device=duct-1", "point=smoke.alarm", "value=0,", "usable=true")
	bank.Set(slave.Discretes, 2, 1)
	p.out.line(t, 0, "firebreak_reading", "device=duct-1", "point=smoke.alarm", "value=1,")
}
