package config

import (
	"slices"
	"testing"
	"time"

	"firebreak/agent/response"
)

// What a step says of its target, its undo and the ledger arrives in the rules.
func TestCompiledAction(t *testing.T) {
	text := string(with(t, "hook = \"tell\"\nafter = [\"page\"]\n", "hook = \"lb\"\ntarget = \"zone-b3\"\nafter = [\"page\"]\nundo = \"lb\"\nreview_after = \"2h\"\n",
		"evidence = \"lb.sessions == 0\"\n", "evidence = \"hook:verified\"\n", "name = \"page\"\nhook = \"tell\"\n", "name = \"page\"\nhook = \"tell\"\nrevert = \"call off\"\n")) +
		"[[hook]]\nname = \"lb\"\nkind = \"many\"\ndoes = { zone-b3 = \"gently\", off = \"final\" }\nstands = { zone = \"b1\", feed = \"A\" }\n"
	c := mustParse(t, "f", []byte(text), testKinds())
	checkRules(t, c)
	p := c.Rules.Response.Plans[0]
	page, drain, hosts := p.Steps[0], p.Steps[1], p.Steps[2]
	if drain.Target != "zone-b3" || !drain.HasUndo || c.Hooks[drain.Undo].Name != "lb" || drain.UndoTarget != "zone-b3" || drain.Review != 2*time.Hour {
		t.Errorf("the undo by the same hook has the step's target: %+v", drain)
	}
	if drain.Owner != "noc" || drain.Revert != "let the sessions in again" || drain.Evidence != response.ByHook || drain.EvidenceName != "verified" {
		t.Errorf("drain: %+v", drain)
	}
	if page.Owner != "noc" || page.Review != 24*time.Hour || page.HasUndo {
		t.Errorf("a step of stage 1 stands in the ledger if it says how it is taken back: %+v", page)
	}
	if hosts.Owner != "" || hosts.Review != 0 || !hosts.Irreversible {
		t.Errorf("an irreversible step stands in no ledger: %+v", hosts)
	}
}

// Steps of a tier wait for those of the next lower one of their stage, and for no other.
func TestTiers(t *testing.T) {
	step := func(name, more string) string {
		return "[[plan.stage.step]]\nname = \"" + name + "\"\nhook = \"off\"\n" + more + "\n"
	}
	text := string(with(t, "if_blind = \"proceed\"\n", "if_blind = \"proceed\"\nmax_parallel = 2\n", "evidence = \"lb.sessions == 0\"\n", "evidence = \"lb.sessions == 0\"\ntier = 1\n")) +
		step("d", "tier = 9\nproof_required = true") + step("a", "tier = 2") + step("b", "tier = 2") + step("c", "tier = 5\nafter = [\"a\"]") + step("free", "")
	c := mustParse(t, "f", []byte(text), testKinds())
	checkRules(t, c)
	p := c.Rules.Response.Plans[0]
	after := map[string][]string{}
	for i := range p.Steps {
		for _, a := range p.Steps[i].After {
			after[p.Steps[i].Name] = append(after[p.Steps[i].Name], p.Steps[a].Name)
		}
	}
	for name, want := range map[string][]string{"a": nil, "b": nil, "c": {"a", "b"}, "d": {"c"}, "free": nil, "drain": {"page"}} {
		if !slices.Equal(after[name], want) {
			t.Errorf("%s waits for %v, want %v", name, after[name], want)
		}
	}
	if p.Stages[2].Parallel != 2 || p.Stages[1].Parallel != 0 {
		t.Errorf("max_parallel: %+v", p.Stages)
	}
}

// What switches power on stands in no step and can be ordered by an engineer (S1).
func TestEnergise(t *testing.T) {
	text := string(with(t)) + "[[hook]]\nname = \"pdu\"\nkind = \"many\"\ndoes = { on = \"powers-on\", off = \"final\" }\nstands = { zone = \"b1\", feed = \"A\" }\n"
	c := mustParse(t, "f", []byte(text), testKinds())
	want := []response.Energise{{Name: "pdu:on", Hook: 2, Target: "on", Timeout: time.Minute}}
	if got := c.Rules.Response.Energise; !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := mustParse(t, "f", with(t), testKinds()).Rules.Response.Energise; len(got) > 0 {
		t.Errorf("of hooks that switch nothing on: %+v", got)
	}
}
