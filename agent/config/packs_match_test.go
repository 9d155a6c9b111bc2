package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"firebreak/agent/hazard"
	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// feed is a point of a shipped profile, and the detectors of the packs that find it by its name.
type feed struct {
	profile, channel string
	point            sensors.Point
	by               []string // "pack: detector", or of several packs
}

// shows tells whether the point itself is a sign of a hazard: its profile says which way danger lies.
func (f *feed) shows() bool {
	switch f.point.Physics {
	case sensors.Smoke, sensors.Gas, sensors.Temperature, sensors.Leak:
		return f.point.Hazard != 0
	}
	return f.point.Hazard != 0 && (f.point.Kind == sensors.State || strings.HasPrefix(f.channel, "alarm."))
}

// concerns tells whether a profile that has this point is one of those that packs are made for.
func (f *feed) concerns() bool {
	switch f.point.Physics {
	case sensors.Smoke, sensors.Gas, sensors.Temperature, sensors.Leak:
		return true
	}
	return f.shows() || strings.Contains(f.channel, "alarm") || strings.Contains(f.channel, "temperature")
}

// packGap is a line of testdata/packs-left-to-site.txt: points that no pack finds, and why.
type packGap struct{ profile, pattern, why string }

func packGaps(t *testing.T) (out []packGap) {
	t.Helper()
	for _, line := range strings.Split(string(readFile(t, "testdata/packs-left-to-site.txt")), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		parts := strings.SplitN(line, " ", 3)
		if len(parts) < 3 || len(parts[2]) < 20 {
			t.Fatalf("%q is no profile, pattern of channels and reason in words", line)
		}
		out = append(out, packGap{parts[0], parts[1], parts[2]})
	}
	return out
}

// profileFeeds finds, for each point of each shipped profile, the detectors of the shipped packs.
func profileFeeds(t *testing.T) (out []feed) {
	t.Helper()
	packs := shippedPacks(t)
	for _, name := range profile.List(configs.Profiles()) {
		p, err := profile.Load(configs.Profiles(), name)
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]bool{}
		for i := range p.Channels {
			has[p.Channels[i].Name] = true
		}
		for i, point := range p.Expand(sensors.Device{Name: "d"}, 0) {
			f := feed{profile: name, channel: p.Channels[i].Name, point: point}
			for _, pack := range packs {
				f.by = append(f.by, detectorsOf(pack, &f, has)...)
			}
			out = append(out, f)
		}
	}
	return out
}

// detectorsOf names the detectors of a pack that find a point on a device with these channels.
func detectorsOf(pack *packFile, f *feed, has map[string]bool) (out []string) {
	for _, r := range pack.roles {
		if !r.finds(&f.point, f.channel) || slices.ContainsFunc(r.unless, func(c string) bool { return has[c] }) {
			continue
		}
		for _, d := range pack.detectors {
			if d.text("role") == r.name || d.text("from") == r.name {
				out = append(out, pack.name+": "+d.text("name"))
			}
		}
	}
	return out
}

// Each point of a shipped profile that shows smoke, gas, heat, a leak or an alarm feeds a detector of a
// pack, and each profile that has such points feeds one; what is left to the site says why in words,
// and is nothing that a pack finds after all.
func TestPacksFindProfiles(t *testing.T) {
	gaps, met := packGaps(t), map[packGap]bool{}
	concerned, found := map[string]bool{}, map[string]bool{}
	for _, f := range profileFeeds(t) {
		concerned[f.profile] = concerned[f.profile] || f.concerns()
		found[f.profile] = found[f.profile] || len(f.by) > 0
		i := slices.IndexFunc(gaps, func(g packGap) bool { return g.profile == f.profile && match(g.pattern, f.channel) })
		switch {
		case i >= 0 && len(f.by) > 0:
			t.Errorf("%s: %s is left to the site, and found by %s", f.profile, f.channel, f.by)
		case i >= 0:
			met[gaps[i]], found[f.profile] = true, true
		case f.shows() && len(f.by) == 0:
			t.Errorf("%s: no pack finds %s (%s, hazard %+d): name it in a role, or say why not in testdata/packs-left-to-site.txt", f.profile, f.channel, f.point.Physics, f.point.Hazard)
		}
	}
	for _, g := range gaps {
		if !met[g] {
			t.Errorf("testdata/packs-left-to-site.txt: there is no %s on profile %s", g.pattern, g.profile)
		}
	}
	for name := range concerned {
		if concerned[name] && !found[name] {
			t.Errorf("no pack finds a point of profile %s: name one in a role, or say why not in testdata/packs-left-to-site.txt", name)
		}
	}
}

// A room with one of each shipped Modbus device is free of faults under the pack of its chemistry: what a
// role finds has one kind and one unit, and each device that shows a hazard is in a vote that opens a stage.
func TestPacksTakeEveryDevice(t *testing.T) {
	for pack, others := range map[string][]string{
		lithium:       {"alber-bdsu"},
		"vrla-string": {"byd-c130", "jk-bms", "soltaro-c"},
	} {
		others = append(others, "daly-bms", "load-controller") // a number of unit of its own; there already
		room := packRooms[pack]
		room.devices, room.roles = smokeDevices+heatDevices+panelDevices, "" // each kind of evidence on two paths
		for i, name := range profile.List(configs.Profiles()) {
			p, err := profile.Load(configs.Profiles(), name)
			if err != nil {
				t.Fatal(err)
			}
			if p.Bus == profile.Modbus && p.Template == "" && !slices.Contains(others, name) {
				room.devices += fmt.Sprintf("one-%s=%s@%c ", name, name, "ab"[i%2])
			}
		}
		if n := len(strings.Fields(room.devices)); n < 30 {
			t.Errorf("%s: only %d devices", pack, n)
		}
		checkRules(t, mustParse(t, pack, room.config(pack, ""), packKinds(t)))
	}
}

// A point that is dangerous when it falls meets no detector that waits for it to rise, nor the other way round.
func TestPacksWaitTheRightWay(t *testing.T) {
	side := map[string]int8{}
	for _, pack := range shippedPacks(t) {
		for _, d := range pack.detectors {
			switch key := d.comparisonKey(); {
			case key == "above" || key == "rate" || key == "runaway" || key == "ratio" && d.text(key) > "1":
				side[pack.name+": "+d.text("name")] = 1
			case key == "ratio" || key == "below" && d.text("name") != "inlet-cold":
				side[pack.name+": "+d.text("name")] = -1
			}
		}
	}
	for _, f := range profileFeeds(t) {
		for _, by := range f.by {
			if side[by]*f.point.Hazard < 0 {
				t.Errorf("%s: %s is dangerous towards %+d, and %s waits for the other way", f.profile, f.channel, f.point.Hazard, by)
			}
		}
	}
}

// What a pack says is for stage 1 at most opens no other stage, and what it says is an alarm opens none,
// were all of it true at once.
func TestPacksKeepToWhatTheySay(t *testing.T) {
	says := map[string]string{}
	for _, pack := range shippedPacks(t) {
		for _, d := range pack.detectors {
			says[d.text("name")] = d.text("does")
		}
	}
	looked := 0
	for name, room := range packRooms {
		c := mustParse(t, name, room.config(name, ""), packKinds(t))
		m, err := newModel(c.Rules.Hazard)
		if err != nil {
			t.Fatal(err)
		}
		for words, opens := range map[string]string{"(stage 1 at most": "1", "(an alarm": ""} {
			set := make([]bool, len(m.leaves))
			for i := range m.leaves {
				if set[i] = strings.Contains(says[c.Rules.Hazard.Conds[m.leaves[i].cond].Name], words); set[i] {
					looked++
				}
			}
			for _, s := range c.Plans[0].Stages {
				if s.Stage.String() != opens && m.holds([]hazard.CondID{s.WhenID}, set) {
					t.Errorf("%s: what is %q...) opens stage %s", name, words, s.Stage)
				}
			}
		}
	}
	if looked < 20 {
		t.Errorf("only %d were looked at", looked)
	}
}

var unrolled = regexp.MustCompile(`(^|[.])[0-9]+([.]|$)`)

// writeProfiles lists which points of the shipped profiles feed which detectors, and which none.
func writeProfiles(b *strings.Builder, feeds []feed, gaps []packGap) {
	b.WriteString("\n## Which profiles feed them\n\nWhat a pack finds by itself on a device of each profile. Towards: where danger lies. Other points are for the site to name.\n\n" +
		"| profile | points | physics | towards | detectors |\n|---|---|---|---|---|\n")
	type row struct{ profile, physics, towards, by string }
	var rows []row
	channels := map[row][]string{}
	all := map[string]int{} // alike points of a row
	for _, f := range feeds {
		if len(f.by) == 0 {
			continue
		}
		towards := map[int8]string{-1: "falling", 0: "-", 1: "rising"}[f.point.Hazard]
		r := row{f.profile, f.point.Physics.String(), towards, grouped(f.by)}
		name := unrolled.ReplaceAllString(f.channel, "$1*$2")
		if _, ok := channels[r]; !ok {
			rows = append(rows, r)
		}
		all[r.profile+name+r.by]++
		if all[r.profile+name+r.by] == 1 {
			channels[r] = append(channels[r], f.channel)
		} else if i := slices.IndexFunc(channels[r], func(c string) bool { return unrolled.ReplaceAllString(c, "$1*$2") == name }); i >= 0 {
			channels[r][i] = name
		}
	}
	for _, r := range rows {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", r.profile, "`"+strings.Join(channels[r], "`, `")+"`", r.physics, r.towards, r.by)
	}
	b.WriteString("\n### Left to the site\n\n| profile | points | why |\n|---|---|---|\n")
	for _, g := range gaps {
		fmt.Fprintf(b, "| %s | `%s` | %s |\n", g.profile, g.pattern, g.why)
	}
}

// grouped writes "pack: a", "pack: b" as "pack: a, b".
func grouped(by []string) string {
	var out []string
	last := ""
	for _, s := range by {
		pack, name, _ := strings.Cut(s, ": ")
		if pack == last {
			out[len(out)-1] += ", " + name
			continue
		}
		out, last = append(out, s), pack
	}
	return strings.Join(out, "; ")
}
