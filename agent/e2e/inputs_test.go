//go:build peers

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// brought is one input, what it reads from, and what comes of it.
type brought struct {
	device, point string
	set           func(t *testing.T, celsius int, at time.Time) // at is for who has a time to give
	stop, again   func(t *testing.T)
	own           bool // the metric has a time of its own
	silent        bool // a peer that is gone is no error of the gather: the point gets stale
}

// Every input that the project names, written as in a Telegraf configuration, in one companion of the default set:
// what it reads becomes the point that the mapping says, with unit and physics, with the metric's own time, and with
// its quality: good; stale, by its own time, when the same metric comes again and again; bad when the gather fails, or
// silent when the plugin calls that no error; and good again.
func TestEveryInput(t *testing.T) {
	f := newInputs(t)
	rows := f.rows(t)
	start := time.Now()
	for _, r := range rows {
		r.set(t, 31, start.Add(-2*time.Second))
	}
	a := f.start(t)
	a.errs.line(t, 0, "the Telegraf companion runs")
	for _, r := range rows {
		f.told(t, r.device, r.point, `value=31,quality="good"`, start.Add(-2*time.Second), r.own)
	}
	f.told(t, "upsd", "on-battery", `physics=electrical`, start, false)

	t.Run("another value, another time", func(t *testing.T) {
		at := time.Now()
		for _, r := range rows {
			r.set(t, 42, at.Add(-1500*time.Millisecond))
		}
		for _, r := range rows {
			f.told(t, r.device, r.point, `value=42,quality="good"`, at.Add(-1500*time.Millisecond), r.own)
		}
	})
	t.Run("stale by its own time", func(t *testing.T) {
		for _, r := range rows {
			if r.own {
				f.lost(t, r.device, true, func() {})
			}
		}
	})
	t.Run("gone", func(t *testing.T) {
		at := time.Now()
		for _, r := range rows {
			r.stop(t)
		}
		for _, r := range rows {
			if !r.silent {
				f.told(t, r.device, r.point, `quality="bad",reason="comm"`, at, false)
			}
			f.lost(t, r.device, true, func() {})
		}
	})
	t.Run("back", func(t *testing.T) {
		for _, r := range rows {
			r.again(t)
		}
		at := time.Now()
		for _, r := range rows {
			r.set(t, 53, at)
		}
		for _, r := range rows {
			f.told(t, r.device, r.point, `value=53,quality="good"`, at, r.own)
			f.lost(t, r.device, false, func() { r.set(t, 53, time.Now()) })
		}
	})
	// A sensor of a BMC that cannot be read is 0 to inputs.ipmi_sensor, without a unit: the tag keeps it out.
	for l := range strings.Lines(f.read(t)) {
		if hasAll(l, []string{"point=unreadable,", "usable=true"}) {
			t.Errorf("a sensor that is not scanned has a value: %s", l)
		}
	}
	if err := a.stop(); err != nil {
		t.Error(err)
	}
}

func (f *inputs) start(t *testing.T) *process {
	t.Helper()
	for from, to := range map[string]string{"testdata/inputs.toml.tmpl": "firebreak.toml", "testdata/inputs.conf.tmpl": "telegraf.conf"} {
		tmpl, err := template.ParseFiles(from)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := tmpl.Execute(&b, f); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(f.Dir, to), b.String())
	}
	f.file = filepath.Join(f.Dir, "firebreak.toml")
	if out, err := exec.Command(binary, "check", "-c", f.file).CombinedOutput(); err != nil {
		t.Fatalf("check: %v\n%s", err, out)
	}
	return start(t, binary, "run", "-c", f.file)
}

func (f *inputs) read(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.Dir, "told"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

var stamp = regexp.MustCompile(` (\d+)$`)

// told waits until outputs.file has a reading of a point that says what, from at or later; exactly from at if it is the
// metric's own time. A time passes through two clocks of two processes: what they differ by is far below a second.
func (f *inputs) told(t *testing.T, device, point, what string, at time.Time, exactly bool) {
	t.Helper()
	const slack = 500 * time.Millisecond
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for late := time.After(4 * patience); ; { // a gather that hangs is ended after a minute
		for l := range strings.Lines(f.read(t)) {
			l = strings.TrimSpace(l)
			if !hasAll(l, []string{"firebreak_reading,", ",device=" + device + ",", ",point=" + point + ","}) {
				continue
			}
			last = l
			m := stamp.FindStringSubmatch(l)
			if m == nil || !hasAll(l, strings.Split(what, ",")) { // the companion writes fields in any order
				continue
			}
			if device != "upsd" || point != "on-battery" {
				if !hasAll(l, []string{",physics=temperature,", ",unit=C"}) {
					t.Fatalf("%s.%s is no temperature in C: %s", device, point, l)
				}
			}
			ns, _ := strconv.ParseInt(m[1], 10, 64)
			off := time.Unix(0, ns).Sub(at)
			if off < -slack {
				continue // of before
			}
			if exactly && off > slack {
				t.Fatalf("%s.%s: its metric is of %v, and is told as of %v later: %s", device, point, at, off, l)
			}
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s.%s was not told with %s; the last was %s", device, point, what, last)
		}
	}
}

// lost waits until the agent says that a device is silent, or no longer, and does each before each look.
func (f *inputs) lost(t *testing.T, device string, there bool, each func()) {
	t.Helper()
	want := regexp.MustCompile("loss/device/" + device + ": unacknowledged")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(4 * patience); ; { // a gather that hangs is ended after a minute
		each()
		out, err := exec.Command(binary, "status", "-c", f.file).CombinedOutput()
		if err == nil && want.Match(out) == there {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s lost: want %v\n%s", device, there, out)
		}
	}
}

// rows are the inputs. Those whose metrics have times of their own are told one each time that they are set.
func (f *inputs) rows(t *testing.T) []brought {
	none := func(*testing.T) {}
	return []brought{
		{device: "upsd", point: "battery.temperature", set: func(t *testing.T, c int, _ time.Time) { f.warm(t, c) },
			stop:  func(*testing.T) { _ = f.upsd.stop() },
			again: f.startUPSD},
		{device: "snmp", point: "temperature", set: func(t *testing.T, c int, _ time.Time) { f.Air.probe(t, c) },
			stop:  func(t *testing.T) { send(t, f.Air.proc, syscall.SIGSTOP) },
			again: func(t *testing.T) { send(t, f.Air.proc, syscall.SIGCONT) }},
		{device: "modbus", point: "busbar", set: func(t *testing.T, c int, _ time.Time) { f.meter.set(t, 3, 3, 10*c) },
			stop:  func(*testing.T) { _ = f.meter.stop() },
			again: func(t *testing.T) { f.meter = startPymodbus(t, "tcp", fmt.Sprint(f.Modbus), 7) }},
		{device: "ipmi_sensor", point: "inlet", set: func(t *testing.T, c int, _ time.Time) { put(t, filepath.Join(f.Dir, "inlet"), fmt.Sprint(c)) },
			stop:  func(*testing.T) { _ = f.bmc.stop() },
			again: f.startBMC},
		{device: "temp", point: "board", silent: true,
			set: func(t *testing.T, c int, _ time.Time) {
				put(t, filepath.Join(f.hwmon, "temp1_input"), fmt.Sprint(1000*c))
			},
			stop:  func(*testing.T) { _ = os.Remove(filepath.Join(f.hwmon, "temp1_input")) },
			again: none},
		{device: "redfish", point: "cpu1", set: func(_ *testing.T, c int, _ time.Time) { f.celsius.Store(int64(c)) },
			stop:  func(*testing.T) { f.celsius.Store(-1) },
			again: none},
		{device: "apcupsd", point: "internal", silent: true,
			set:   func(t *testing.T, c int, _ time.Time) { f.UPS.ups(t, c) },
			stop:  func(t *testing.T) { send(t, f.UPS.proc, syscall.SIGSTOP) },
			again: func(t *testing.T) { send(t, f.UPS.proc, syscall.SIGCONT) }},
		{device: "mqtt_consumer", point: "aisle", own: true, set: f.publish,
			stop:  func(*testing.T) { _ = f.broker.stop() },
			again: func(t *testing.T) { f.broker.start(t) }},
		{device: "execd", point: "cell", own: true, silent: true,
			set: func(t *testing.T, c int, at time.Time) {
				put(t, filepath.Join(f.Dir, "cell"), fmt.Sprintf("cell,string=3 heat=%d %d\n", c, at.UnixNano()))
			},
			stop:  none,
			again: none},
		{device: "prometheus", point: "top", own: true, set: f.scrape,
			stop:  func(*testing.T) { _ = f.victoria.stop() },
			again: f.startPrometheus},
	}
}
