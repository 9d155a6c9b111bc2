package profile

import (
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/configs"
	"firebreak/sensors"

	"pgregory.net/rapid"
)

// shipped loads every profile in the binary, but for the templates (TestTemplates).
func shipped(t testing.TB) []*Profile {
	t.Helper()
	names := List(configs.Profiles())
	if len(names) < 6 {
		t.Fatalf("only %v are embedded", names)
	}
	var ps []*Profile
	for _, n := range names {
		p, err := Load(configs.Profiles(), n)
		if err != nil {
			t.Fatal(err)
		}
		if p.Template == "" {
			ps = append(ps, p)
		}
	}
	return ps
}

// A profile ships with what proves it: a recorded case for each channel, and a note.
func TestShippedProfiles(t *testing.T) {
	for _, p := range shipped(t) {
		t.Run(p.Name, func(t *testing.T) {
			note, err := os.ReadFile("../../firmware-notes/" + p.Name + ".md")
			if err != nil {
				t.Errorf("the profile has no firmware note: %v", err)
			}
			if p.Unverified != "" && !strings.Contains(strings.ToLower(string(note)), "unverified") {
				t.Error("the profile has unverified parts that its note does not name")
			}
			files, _ := filepath.Glob("testdata/" + p.Name + "/*.txt")
			seen := map[string]bool{}
			if p.Bus == I2C {
				wireCases(t, p, seen)
			} else if len(files) == 0 {
				t.Fatalf("the profile has no recorded case in testdata/%s", p.Name)
			}
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				o := p.Cases(f, string(text))
				maps.Copy(seen, o.Seen)
				for _, w := range o.Wrong {
					t.Error(w)
				}
			}
			for _, what := range p.Untold(seen) {
				t.Errorf("%s stands in no recorded case", what)
			}
		})
	}
}

// wireCases notes the channels that stand in the cases of a chip: what goes over its wire and what comes of
// it, which sensors/i2c plays to the driver (TestChipCases).
func wireCases(t *testing.T, p *Profile, seen map[string]bool) {
	t.Helper()
	files, _ := filepath.Glob("../i2c/testdata/" + p.Name + "/*.txt")
	if len(files) == 0 {
		t.Fatalf("the profile has no recorded case in sensors/i2c/testdata/%s", p.Name)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if f := strings.Fields(line); len(f) > 2 && f[0] == "want" {
				seen[f[1]] = true
			}
		}
	}
}

// Every value that we ship says how often its device renews it, with a word on where that is from: the
// worst case and the window of a rate count with it (S24).
func TestShippedRefresh(t *testing.T) {
	for _, p := range shipped(t) {
		for i := range p.Channels {
			if c := &p.Channels[i]; c.Refresh <= 0 || c.Refresh > time.Minute {
				t.Errorf("%s: channel %q is renewed every %s: state refresh", p.Name, c.Name, c.Refresh)
			}
		}
		text, err := os.ReadFile("../../configs/profiles/" + p.Name + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if _, why, _ := strings.Cut(line, "#"); strings.HasPrefix(line, "refresh") && len(why) < 10 {
				t.Errorf("%s: the line %q does not say where this is from, or that it is an assumption", p.Name, line)
			}
		}
		note, err := os.ReadFile("../../firmware-notes/" + p.Name + ".md")
		if err != nil {
			t.Fatal(err)
		}
		if _, about, ok := strings.Cut(string(note), "**Refresh.** "); !ok {
			t.Errorf("%s: the note has no paragraph **Refresh.**", p.Name)
		} else if strings.Contains(string(text), "assumption: ") && !strings.HasPrefix(about, "An assumption") {
			t.Errorf("%s: the profile assumes its refresh and the note does not say so", p.Name)
		}
	}
}

// Every channel that we ship can be written by a simulator and read back.
func TestShippedRoundTrip(t *testing.T) {
	for _, p := range shipped(t) {
		if files, _ := filepath.Glob("testdata/" + p.Name + "/*.txt"); len(files) == 0 || p.Bus == NUT || p.Bus == SNMP {
			continue // a chip whose driver converts: the profile says nothing of its registers
		}
		for i := range p.Channels {
			c := &p.Channels[i]
			lo, hi := c.Min, c.Max
			if lo == hi {
				lo, hi = 0, 100
			}
			if c.Kind == sensors.Binary {
				lo, hi = 0, 1
			}
			if c.Kind == sensors.State && c.Mask != 0 {
				hi = 1
			}
			for _, v := range []float64{lo, hi, (lo + hi) / 2} {
				if c.Kind != sensors.Measurement {
					v = math.Round(v)
				}
				words := make([]uint16, c.Type.Words())
				c.Encode(v, words)
				got, q := c.Decode(words)
				if !q.Usable() || math.Abs(got-v) > math.Max(c.Scale, 1e-5*hi) {
					t.Errorf("%s %s: %v became %v %s (% x)", p.Name, c.Name, v, got, q, words)
				}
			}
			if words := make([]uint16, c.Type.Words()); c.EncodeSentinel(words) {
				if _, q := c.Decode(words); q.Usable() {
					t.Errorf("%s %s: its sentinel decodes as %s", p.Name, c.Name, q)
				}
			}
		}
	}
}

// The plans of the shipped profiles read what the device allows, and every channel once.
func TestShippedPlans(t *testing.T) {
	want := map[string]int{"apc-smart-ups": 2, "soltaro-c": 6, "faast": 4, "calectro-ug3": 1, "tmp117": 1, "lm75": 1, "load-controller": 1, "waveshare-relay-8": 3, "daly-bms": 4, "fire-panel-di": 1}
	for _, p := range shipped(t) {
		plan := p.Plan()
		checkPlan(t, p, plan)
		if n, ok := want[p.Name]; ok && len(plan) != n {
			t.Errorf("%s is read in %d requests, want %d: %v", p.Name, len(plan), n, plan)
		}
	}
}

type failer interface {
	Helper()
	Errorf(string, ...any)
}

func checkPlan(t failer, p *Profile, plan []Block) {
	t.Helper()
	times := make([]int, len(p.Channels))
	for _, b := range plan {
		for _, i := range b.Items {
			times[i]++
			if !b.Holds(p.Channels[i].Span()) {
				t.Errorf("%v does not hold %s", b, p.Channels[i].Name)
			}
		}
		limit := p.Read.MaxWords
		if b.Func.Bits() {
			limit = p.Read.MaxBits
		}
		if int(b.Count) > limit {
			t.Errorf("%v is longer than %d", b, limit)
		}
		for _, f := range p.Read.Forbidden {
			if f.Touches(b.Span) {
				t.Errorf("%v reads the forbidden %v", b, f)
			}
		}
		for _, d := range p.Read.Blocks {
			if d.Touches(b.Span) && d != b.Span {
				t.Errorf("%v reads the block %v in part", b, d)
			}
		}
	}
	for i, n := range times {
		if n != 1 {
			t.Errorf("%s is read %d times", p.Channels[i].Name, n)
		}
	}
}

func TestPlanProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := &Profile{Bus: Modbus, Read: ReadRules{
			MaxWords: rapid.IntRange(2, 20).Draw(rt, "words"), MaxBits: rapid.IntRange(1, 40).Draw(rt, "bits"),
			MaxGap: rapid.IntRange(0, 8).Draw(rt, "gap"),
		}}
		p.Read.Blocks = []Span{{Holding, 50, 2}}
		p.Read.Forbidden = []Span{{Holding, 30, 3}, {Discrete, 10, 1}}
		for range rapid.IntRange(1, 40).Draw(rt, "channels") {
			c := Channel{Func: Function(rapid.IntRange(1, 4).Draw(rt, "function")), Address: uint16(rapid.IntRange(0, 45).Draw(rt, "address") * 2)}
			if !c.Func.Bits() {
				c.Type = Type(rapid.IntRange(int(U16), int(F32)).Draw(rt, "type"))
			}
			bad := false
			for _, f := range p.Read.Forbidden {
				bad = bad || f.Touches(c.Span())
			}
			if !bad {
				p.Channels = append(p.Channels, c)
			}
		}
		checkPlan(rt, p, p.Plan())
	})
}
