package app

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/agent/history"
	"firebreak/plugins"
	"firebreak/sensors"
)

func TestParseEpisode(t *testing.T) {
	for s, want := range map[string]struct {
		plan string
		n    uint64
		bad  bool
	}{"last": {}, "7": {n: 7}, "evacuate/7": {plan: "evacuate", n: 7}, "": {bad: true}, "0": {bad: true}, "/7": {bad: true},
		"evacuate": {bad: true}, "evacuate/": {bad: true}, "evacuate/x": {bad: true}, "-1": {bad: true}} {
		plan, n, err := parseEpisode(s)
		if (err != nil) != want.bad || plan != want.plan || n != want.n {
			t.Errorf("%q: %q %d %v", s, plan, n, err)
		}
	}
}

// A hook's file holds the calls under its own key, and no other episode's.
func TestBundleHookFiles(t *testing.T) {
	c := &collector{ctx: t.Context(), ep: &history.Episode{Plan: "evacuate", Number: 7}}
	ended := func(key, output string) {
		data, _ := json.Marshal(plugins.HookEnded{Result: "done", Output: output, Cut: 9})
		c.hook(&history.Record{Event: &plugins.Event{Type: plugins.EventHookEnded, Key: key, Data: data}})
	}
	ended("evacuate/b3/2a/freeze/7/do/0", "first")
	ended("evacuate/b3/2a/freeze/7/do/0", "second")
	ended("evacuate/b3/2a/freeze/8/do/0", "other episode")
	ended("maintain/b3/2a/freeze/7/do/0", "other plan")
	ended("no key", "x")
	if len(c.hooks) != 1 {
		t.Fatalf("%d files", len(c.hooks))
	}
	text := string(c.hooks[0].text)
	if name := keyFile(c.hooks[0].key); name != "evacuate.b3.2a.freeze.7.do.0" {
		t.Errorf("named %s", name)
	}
	if !strings.Contains(text, "first") || !strings.Contains(text, "second") || strings.Contains(text, "other") || !strings.Contains(text, "9 bytes more") {
		t.Errorf("it says:\n%s", text)
	}
}

// A value that was never read is no zero, and a name with a comma is one field.
func TestBundleReadings(t *testing.T) {
	d, err := newBundleDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.remove()
	c, err := newCollector(t.Context(), d, &history.Episode{})
	if err != nil {
		t.Fatal(err)
	}
	r := &history.Record{Devices: []string{"d"}, Points: []history.Point{{Name: `a,"b"`, Unit: sensors.Celsius}}, Poll: &sensors.Batch{Wall: time.UnixMilli(1), Readings: []sensors.Reading{
		{Value: 23.5, Quality: sensors.GoodQuality, At: 5},
		{Value: 0, Quality: sensors.BadQuality(sensors.Comm)},
		{Value: 99, Quality: sensors.BadQuality(sensors.Implausible).WithOrigin(sensors.Injected)},
		{Point: 9, Value: 1, Quality: sensors.GoodQuality}}}}
	if err := errors.Join(c.record(r), c.close()); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(filepath.Join(d.path, "readings.csv"))
	want := `wall_time,mono_ns,device,point,value,unit,quality,reason,origin
1970-01-01T00:00:00.001Z,5,d,"a,""b""",23.5,C,good,,real
1970-01-01T00:00:00.001Z,0,d,"a,""b""",,C,bad,comm,real
1970-01-01T00:00:00.001Z,0,d,"a,""b""",99,C,bad,implausible,injected
1970-01-01T00:00:00.001Z,0,d,unknown-9,1,,good,,real
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// What the configuration is made of beside its own text goes along: device profiles and hazard packs
// of the site's own. One that is gone is a gap.
func TestBundleOwnFiles(t *testing.T) {
	dir := t.TempDir()
	pack := filepath.Join(dir, "own.toml")
	if err := os.WriteFile(pack, []byte("name = \"own\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := room(t, in(dir)...)
	c.OwnPacks = []string{pack, filepath.Join(dir, "gone.toml")}
	if err := os.MkdirAll(c.Journal, 0o700); err != nil {
		t.Fatal(err)
	}
	openRun(t, c.Journal, c.Rules.Hash)
	out := filepath.Join(dir, "a.tar.gz")
	_, missing, err := Bundle(t.Context(), BundleOptions{Episode: "last", Journal: c.Journal, Config: c, Out: out, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	list, err := exec.Command("tar", "-tzf", out).Output()
	if err != nil || !strings.Contains(string(list), "hazards/1-own.toml\n") {
		t.Errorf("%v, the archive holds\n%s", err, list)
	}
	if !slices.ContainsFunc(missing, func(s string) bool { return strings.Contains(s, "hazard pack gone.toml cannot be read") }) {
		t.Errorf("missing: %q", missing)
	}
}

// A disk without room leaves nothing half done under the archive's name.
func TestBundleWithoutAPlace(t *testing.T) {
	dir := t.TempDir()
	c, _ := room(t, in(dir)...)
	if err := os.MkdirAll(c.Journal, 0o700); err != nil {
		t.Fatal(err)
	}
	openRun(t, c.Journal, c.Rules.Hash)
	out := filepath.Join(dir, "no", "such", "a.tar.gz")
	o := BundleOptions{Episode: "last", Journal: c.Journal, Out: out, Now: time.Now()}
	if _, _, err := Bundle(t.Context(), o); err == nil {
		t.Error("written into a directory that is not there")
	}
	o.Out = filepath.Join(dir, "a.tar.gz")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Bundle(ctx, o); err == nil {
		t.Error("written after it was ended")
	}
	if _, err := os.Stat(o.Out); err == nil {
		t.Error("something stands under the archive's name")
	}
	if _, missing, err := Bundle(t.Context(), o); err != nil || len(missing) == 0 {
		t.Errorf("from the journal alone: %v, missing %v", err, missing)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".firebreak-bundle-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
