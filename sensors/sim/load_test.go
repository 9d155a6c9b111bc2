package sim

import (
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
)

// Each work takes its simulated time and is seen in the load controller's registers.
func TestWorkTakesItsTime(t *testing.T) {
	w := still(t, "quiet")
	src, points := all(t, w, time.Second)
	now := time.Duration(0)
	see := func(point string) float64 {
		v, ok := values(t, src, points, now)["load-1."+point]
		if !ok {
			t.Fatalf("%s: no value at %v", point, now)
		}
		return v
	}
	for _, step := range []struct {
		work, point string
		takes       time.Duration
		done        float64
	}{
		{"freeze-deploys", "deploys_frozen", 2 * time.Second, 1},
		{"replicate", "replication_lag_s", 40 * time.Second, 0},
		{"drain", "sessions", 60 * time.Second, 0},
		{"migrate", "vms_running", 120 * time.Second, 40},
		{"vm-stop", "vms_running", 120 * time.Second, 0},
		{"os-stop", "hosts_up", 70 * time.Second, 0},
		{"outlets-off", "outlets_on", 5 * time.Second, 0},
		{"breaker-open", "battery_breaker_closed", 2 * time.Second, 0},
	} {
		now += 10 * time.Second
		before := see(step.point)
		if before == step.done {
			t.Fatalf("%s: %s is %v before it starts", step.work, step.point, before)
		}
		if err := w.StartWork(step.work, sensors.Mono(now)); err != nil {
			t.Fatal(err)
		}
		begun := now
		now = begun + step.takes/2
		if err := w.StartWork(step.work, sensors.Mono(now)); err != nil { // again: runs once
			t.Fatal(err)
		}
		now = begun + step.takes - time.Second
		if v := see(step.point); v == step.done || w.WorkDone(step.work) {
			t.Errorf("%s: done a second early", step.work)
		}
		now = begun + step.takes
		if v := see(step.point); v != step.done || !w.WorkDone(step.work) {
			t.Errorf("%s: %s is %v after %v, want %v", step.work, step.point, v, step.takes, step.done)
		}
	}
	now += time.Second
	if l := w.Snapshot().Load; l.RackAmps != 0 || l.BusVolts < 100 {
		t.Errorf("just behind the open breaker: %v A, %v V: the current is gone, the bus bleeds down", l.RackAmps, l.BusVolts)
	}
	now += 20 * time.Second
	if v := see("bus_voltage"); v > 5 {
		t.Errorf("the bus is at %v V 20 s after the breaker", v)
	}
	if l := w.Snapshot().Load; l.CrashedHosts != 0 {
		t.Errorf("%d hosts lost their power while running", l.CrashedHosts)
	}
}

// What a rack had begun when its power went is never done.
func TestNoWorkInTheDark(t *testing.T) {
	w := still(t, "pangyo-2022")
	sc := w.Scenario()
	lost := sc.SparkAt() + sc.PowerLossAfter
	for name, before := range map[string]time.Duration{"drain": time.Minute, "migrate": time.Minute} { // 60 s and 120 s of work
		if w.WorkDone(name) {
			t.Errorf("%s is done and has not begun", name)
		}
		if err := w.StartWork(name, sensors.Mono(lost-before)); err != nil {
			t.Fatal(err)
		}
	}
	w.AdvanceTo(lost + time.Hour)
	if !w.WorkDone("drain") || w.WorkDone("migrate") {
		t.Errorf("drain done %v, migrate done %v: want true, false", w.WorkDone("drain"), w.WorkDone("migrate"))
	}
}

func TestUnknownWork(t *testing.T) {
	err := still(t, "quiet").StartWork("reboot", 0)
	if err == nil || !strings.Contains(err.Error(), "breaker-open") {
		t.Errorf("got %v: it should name what there is", err)
	}
	for _, n := range WorkNames() {
		if WorkTime(n) <= 0 {
			t.Errorf("%s takes no time", n)
		}
	}
}

// Outlets cut under running hosts, and a breaker that is welded shut: both must show.
func TestWorkThatGoesWrong(t *testing.T) {
	w := still(t, "quiet")
	if err := w.StartWork("outlets-off", 0); err != nil {
		t.Fatal(err)
	}
	w.AdvanceTo(time.Minute)
	if l := w.Snapshot().Load; l.CrashedHosts != 40 || l.Hosts != 0 || l.RackAmps != 0 {
		t.Errorf("outlets cut under load: %+v", l)
	}
	w, err := New(Scenario{Name: "welded", NoSpark: true, BreakerWelded: true}, nil, profiles)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.StartWork("breaker-open", 0); err != nil {
		t.Fatal(err)
	}
	w.AdvanceTo(time.Minute)
	if l := w.Snapshot().Load; l.BreakerClosed || l.RackAmps != 40 || l.BusVolts != 256 {
		t.Errorf("welded breaker: %+v", l)
	}
}
