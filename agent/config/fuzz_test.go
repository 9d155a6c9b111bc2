package config

import (
	"io"
	"testing"
	"testing/fstest"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// FuzzParse: no file makes the parser panic; a file without faults compiles to rules that the core
// takes, and that hold what was promised of them.
func FuzzParse(f *testing.F) {
	base := readFile(f, "testdata/base.toml")
	f.Add(base)
	f.Add(readFile(f, exampleFile))
	f.Add([]byte("a.b.c = { d = [1, { e = 2 }] }\n[[plan]]\n[[plan.stage]]\n[x.y]\n"))
	f.Add([]byte("site = \"\"\nstands = 7\nbus = [1]\n[[device]]\n[[vote]]\nof=[1]\n"))
	f.Add(append(base, "\n[[pack]]\nuse = \"more\"\nroles = { cabinet = \"cab.temperature\" }\n[[pack.detector]]\nname = \"m-hot\"\nrate = \"5 C/min over 1m\"\n[[pack.vote]]\nname = \"m-any\"\nof = [\"m-hot\"]\n"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzed(t, data, testKinds())
	})
}

// FuzzPack: nor does any pack.
func FuzzPack(f *testing.F) {
	for _, name := range []string{"mini", "more", "bad", "loop"} {
		f.Add(readFile(f, "testdata/hazards/"+name+".toml"))
	}
	use := append(readFile(f, "testdata/base.toml"), "\n[[pack]]\nuse = \"x\"\n[[pack.detector]]\nname = \"m-hot\"\nabove = \"50 C\"\n[[pack.vote]]\nname = \"m-two\"\nof = [\"m-hot\"]\n"...)
	f.Fuzz(func(t *testing.T, data []byte) {
		k := testKinds()
		k.Packs = fstest.MapFS{"x.toml": &fstest.MapFile{Data: data}, "mini.toml": &fstest.MapFile{Data: data}}
		fuzzed(t, use, k)
	})
}

func fuzzed(t *testing.T, data []byte, kinds Kinds) {
	t.Helper()
	c, faults := parse("f", data, kinds) // not Parse, which would hide a panic
	if (c == nil) != (len(faults) > 0) {
		t.Fatalf("config %v with %d faults", c != nil, len(faults))
	}
	for i, ft := range faults {
		if ft.Text == "" || ft.Line < 1 || ft.Column < 1 {
			t.Fatalf("fault without place or text: %+v", ft)
		}
		if i > 0 && faults[i-1].File == ft.File && (faults[i-1].Line > ft.Line || faults[i-1].Line == ft.Line && faults[i-1].Column > ft.Column) {
			t.Fatalf("faults are not in order: %v before %v", faults[i-1], ft)
		}
	}
	if c != nil {
		checkRules(t, c)
	}
}

// checkRules holds the compiled rules to what the rooms below rely on.
func checkRules(t testing.TB, c *Config) {
	t.Helper()
	if _, err := core.New(c.Rules, nil); err != nil {
		t.Fatalf("the core refuses the rules: %v", err)
	}
	if err := Report(io.Discard, c); err != nil {
		t.Fatal(err)
	}
	hz := c.Rules.Hazard
	if len(c.Devices) != len(hz.Devices) || len(c.Hooks) != len(c.Rules.Response.Hooks) || len(c.Rules.Hash) != 16 {
		t.Fatalf("lists of different length, or no hash")
	}
	for i, p := range hz.Points {
		d := c.Devices[p.Device]
		if p.ID != sensors.PointID(i) || p.ID < d.First || int(p.ID) >= int(d.First)+d.Count || p.Stale < 2*d.Poll {
			t.Fatalf("point %s does not belong to its device", p.Name)
		}
	}
	names := map[string]bool{}
	for i := range hz.Conds {
		k := &hz.Conds[i]
		if names[k.Name] {
			t.Fatalf("two conditions named %q", k.Name)
		}
		names[k.Name] = true
		if k.Kind != hazard.Vote && len(k.Members) == 0 {
			t.Fatalf("detector %q has no member", k.Name)
		}
	}
	for i := range c.Rules.Response.Plans {
		checkPlan(t, c, &c.Rules.Response.Plans[i])
	}
}

func checkPlan(t testing.TB, c *Config, p *response.Plan) {
	t.Helper()
	if p.Deadline <= 0 || p.PowerLoss <= p.Deadline || p.Mode == response.Armed && p.Ungated == "" {
		t.Fatalf("plan %q without deadline, power loss or gate", p.Name)
	}
	for i, s := range p.Stages {
		if i > 0 && s.Level <= p.Stages[i-1].Level {
			t.Fatalf("plan %q: stages are not ascending", p.Name)
		}
		if s.Level.Irreversible() != (s.IfBlind != response.BlindUnset) {
			t.Fatalf("plan %q, stage %s: if_blind %d", p.Name, s.Level, s.IfBlind)
		}
	}
	last := plugins.Watch
	for i, s := range p.Steps {
		if s.Stage < last || s.Hook >= len(c.Hooks) || s.Cap < s.Timeout || s.Timeout <= 0 || s.Irreversible && !s.Stage.Irreversible() {
			t.Fatalf("plan %q: step %q is not sound: %+v", p.Name, s.Name, s)
		}
		if (s.Evidence == response.ByCondition) != (s.EvidenceCond != hazard.NoCond) {
			t.Fatalf("plan %q: step %q has evidence %d and condition %d", p.Name, s.Name, s.Evidence, s.EvidenceCond)
		}
		last = s.Stage
		seen := map[int]bool{}
		var walk func(int)
		walk = func(k int) {
			for _, a := range p.Steps[k].After {
				if a == i {
					t.Fatalf("plan %q: step %q waits for itself", p.Name, s.Name)
				}
				if !seen[a] {
					seen[a] = true
					walk(a)
				}
			}
		}
		walk(i)
	}
}

// BenchmarkParse is the time of reading, compiling and judging the annotated example.
func BenchmarkParse(b *testing.B) {
	data, k := readFile(b, exampleFile), exampleKinds()
	for b.Loop() {
		mustParse(b, "f", data, k)
	}
}
