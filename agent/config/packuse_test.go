package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"firebreak/agent/hazard"
)

const lithium = "lithium-ion-room"

// What the file says otherwise than a pack is told in words, and what is weaker is marked as check
// --against marks it.
func TestPackChanges(t *testing.T) {
	room := packRooms[lithium]
	room.stages = map[string]string{"1": "battery-warn"}
	room.deadline = "4m" // a BMS tells its cells a minute late, and one override has a window of 2 min
	for _, k := range []struct {
		more string
		want []string
	}{
		{"", nil},
		{"[[pack.detector]]\nname = \"cell-critical\"\nabove = \"65 C\"", []string{"cell-critical: above 60 C -> 65 C (weaker)"}},
		{"[[pack.detector]]\nname = \"cell-critical\"\nabove = \"58 C\"\nsource = \"the maker\"", []string{"cell-critical: above 60 C -> 58 C, by the maker"}},
		{"[[pack.detector]]\nname = \"cell-critical\"\nabove = \"60 C\"", nil},
		{"[[pack.detector]]\nname = \"cell-hot\"\non_delay = \"20s\"\nlatching = true\npriority = 4", []string{"cell-hot: on_delay 5s -> 20s (later)", "cell-hot: latching (its default) -> true", "cell-hot: priority 2 -> 4 (weaker)"}},
		{"[[pack.detector]]\nname = \"cell-rising\"\nrate = \"8 C/min over 2m\"", []string{"cell-rising: rate 5 C/min over 1m -> 8 C/min over 2m (later, weaker)"}},
		{"[[pack.detector]]\nname = \"cell-rising\"\nlimit = \"40 C\"", []string{"cell-rising: limit 30 C -> 40 C (weaker)"}},
		{"[[pack.detector]]\nname = \"cell-runaway\"\nlimit = \"58 C\"", []string{"cell-runaway: limit 60 C -> 58 C"}},
		{"[[pack.detector]]\nname = \"module-far-off\"\nabove = \"70 C\"", []string{"module-far-off: deviation 10 C -> above 70 C (weaker)"}},
		{"[[pack.detector]]\nname = \"voc-rising\"\nratio = 4", []string{"voc-rising: ratio 3 -> 4 (weaker)"}},
		{"[[pack.detector]]\nname = \"cell-hot\"\npoint = \"bms-1.module.*.temperature\"", []string{"cell-hot: point those of role cell -> bms-1.module.*.temperature (fewer)"}},
		{"[[pack.vote]]\nname = \"battery-fire\"\nneed = 3", []string{"battery-fire: need 2 -> 3 (weaker)"}},
		{"[[pack.vote]]\nname = \"gas-critical\"\nof = [\"hydrogen-critical\", \"voc-alarm\"]", []string{"gas-critical: of hydrogen-critical, carbon-monoxide-critical -> hydrogen-critical, voc-alarm (fewer)"}},
	} {
		c := mustParse(t, "f", room.config(lithium, k.more), packKinds(t))
		var got []string
		for _, g := range c.Packs[0].Changes {
			got = append(got, g.String())
		}
		if !slices.Equal(got, k.want) {
			t.Errorf("%s\ngives %q\nwant  %q", k.more, got, k.want)
		}
	}
}

// An override counts in the rules, key by key: what it does not name is as the pack has it, but for what
// belongs to another comparison.
func TestPackOverrideCounts(t *testing.T) {
	c := mustParse(t, "f", packRooms[lithium].config(lithium, `without = ["cell-creeping", "gas-critical"]
[[pack.detector]]
name = "cell-critical"
above = "65 C"
[[pack.detector]]
name = "cell-hot"
rate = "2 C/min over 1m"
[[pack.vote]]
name = "battery-fire"
need = 3`), packKinds(t))
	checkRules(t, c)
	get := func(name string) *hazard.Cond {
		i := slices.IndexFunc(c.Rules.Hazard.Conds, func(k hazard.Cond) bool { return k.Name == name })
		if i < 0 {
			return nil
		}
		return &c.Rules.Hazard.Conds[i]
	}
	if k := get("cell-critical"); k.Threshold != 65 || k.Deadband != 2 || k.OnDelay != 5e9 || k.Priority != 1 {
		t.Errorf("cell-critical is %+v", *k)
	}
	if k := get("cell-hot"); k.Kind != hazard.Rate || k.Deadband != 0 || k.OnDelay != 5e9 {
		t.Errorf("cell-hot is %+v: the deadband of the threshold went with it, the on-delay stays", *k)
	}
	if k := get("battery-fire"); k.Need != 3 || !k.Independent {
		t.Errorf("battery-fire is %+v", *k)
	}
	if get("cell-creeping") != nil || get("gas-critical") != nil {
		t.Error("what was taken out is there")
	}
	if k := get("gas-high"); len(k.Of) != 5 {
		t.Errorf("gas-high still has %d members", len(k.Of))
	}
}

// One pack serves two rooms of one agent, each with its devices and names of its own.
func TestPackTwice(t *testing.T) {
	room := packRooms["smoke"]
	text := strings.Replace(string(room.config("smoke", "devices = [\"asd-1\", \"duct-*\"]")), "[[hook]]", `[[pack]]
use = "smoke"
prefix = "hall-"
devices = ["asd-2"]
without = ["hall-smoke-point"]
[[pack.detector]]
name = "hall-smoke-level-fire"
priority = 2
[[vote]]
name = "any-warn"
of = ["smoke-warn", "hall-smoke-warn"]
need = 1
[[vote]]
name = "any-high"
of = ["smoke-high", "hall-smoke-high"]
need = 1
[[hook]]`, 1)
	text = strings.Replace(strings.Replace(text, `when = "smoke-warn"`, `when = "any-warn"`, 1), `when = "smoke-high"`, `when = "any-high"`, 1)
	c := mustParse(t, "f", []byte(text), packKinds(t))
	checkRules(t, c)
	for name, device := range map[string]string{"smoke-fire2": "asd-1", "hall-smoke-level-fire": "asd-2", "smoke-point": "duct-1"} {
		i := slices.IndexFunc(c.Rules.Hazard.Conds, func(k hazard.Cond) bool { return k.Name == name })
		if i < 0 {
			t.Errorf("there is no %s", name)
			continue
		}
		k := &c.Rules.Hazard.Conds[i]
		if len(k.Members) != 1 || c.Devices[k.Members[0].Device].Name != device {
			t.Errorf("%s has the members %v, want %s alone", name, k.Members, device)
		}
	}
	if got := c.Packs[1].Changes; len(got) != 2 || got[0].String() != "hall-smoke-level-fire: priority 1 -> 2 (weaker)" || got[1].String() != "hall-smoke-point: taken out (fewer)" {
		t.Errorf("changes %v", got)
	}
}

// A pack of the site's own is a file; faults in it are told at their place there, and what it says is
// part of the hash.
func TestOwnPack(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mine.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mini := string(readFile(t, "testdata/hazards/mini.toml"))
	use := []byte(string(with(t)) + "\n[[pack]]\nfile = \"" + file + "\"\n")
	write(mini)
	c := mustParse(t, "f", use, testKinds())
	if !slices.Equal(c.OwnPacks, []string{file}) || c.Packs[0].Name != "mini" {
		t.Errorf("own packs %q, packs %v", c.OwnPacks, c.Packs)
	}
	write(strings.Replace(mini, `above    = "55 C"`, `above    = "56 C"`, 1))
	if other := mustParse(t, "f", use, testKinds()); other.Rules.Hash == c.Rules.Hash {
		t.Error("another threshold in a pack does not change the hash")
	} else if got := Weaker(c, other); len(got) != 1 || got[0] != "weaker: m-hot: threshold 56, was 55" {
		t.Errorf("check --against says %q", got)
	}
	write(strings.Replace(mini, `above    = "55 C"`, `above    = "555 C"`, 1))
	if _, faults := Parse("f", use, testKinds()); len(faults) != 1 || faults[0].File != file || faults[0].Line != 33 || faults[0].Column != 12 {
		t.Errorf("faults %v", faults)
	}
	write("name = ")
	if _, faults := Parse("f", use, testKinds()); len(faults) != 1 || faults[0].File != file || faults[0].Line != 1 || !strings.Contains(faults[0].Text, "not valid TOML") {
		t.Errorf("faults %v", faults)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, faults := Parse("f", use, testKinds()); len(faults) != 1 || faults[0].File != "f" || !strings.Contains(faults[0].Text, "is no plain file") {
		t.Errorf("faults %v", faults)
	}
}

// Devices whose profile is broken are the only faults: what packs could not find for them is none, nor
// are the votes that are left out for it.
func TestPackWithoutPoints(t *testing.T) {
	text := strings.ReplaceAll(string(packRooms["it-inlet-a1"].config("it-inlet-a1", "")), `profile = "inlets"`, `profile = "inlots"`)
	_, faults := Parse("f", []byte(text), packKinds(t))
	if len(faults) != 2 || !strings.Contains(faults[0].Text, `there is no profile "inlots"`) || !strings.Contains(faults[1].Text, `there is no profile "inlots"`) {
		t.Errorf("faults %v", faults)
	}
}

// What check prints of packs, as a whole.
func TestPackReport(t *testing.T) {
	c := mustParse(t, "room.toml", packRooms["cooling-loss"].config("cooling-loss", `without = ["cooling-fan-slow"]
[[pack.detector]]
name = "inlet-too-hot"
above = "42 C"
source = "the servers' data sheet"
[[pack.detector]]
name = "inlet-rising"
on_delay = "10s"`), packKinds(t))
	golden(t, "testdata/pack.golden", report(t, c))
}
