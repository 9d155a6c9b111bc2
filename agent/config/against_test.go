package config

import (
	"slices"
	"strings"
	"testing"

	"firebreak/agent/hazard"
)

// Each change of the base that weakens protection is named, and one that does not is not (S24).
func TestWeaker(t *testing.T) {
	base := mustParse(t, "f", with(t), testKinds())
	if got := Weaker(base, base); len(got) > 0 {
		t.Errorf("against itself: %q", got)
	}
	for _, k := range []struct{ from, to, want string }{
		{`above = "55 C"`, `above = "50 C"`, ""},
		{`above = "55 C"`, `above = "58 C"`, "weaker: cell-hot: threshold 58, was 55"},
		{`on_delay = "5s"`, `on_delay = "9s"`, "later: cell-hot: on_delay 9s, was 5s"},
		{`on_delay = "5s"`, `on_delay = "1s"`, ""},
		{`rate = "5 C/min over 1m"`, `rate = "8 C/min over 1m"`, "weaker: cell-rise: threshold"},
		{`if_blind = "proceed"`, `if_blind = "hold"`, "weaker: plan leave, stage 3 waits for a person"},
		{`deadline = "3m"`, `deadline = "4m"`, "later: plan leave: deadline 4m, was 3m"},
		{`of = ["cell-hot", "cell-rise", "cab-hot", "smoke", "duct-smoke"]` + "\nneed = 1", `of = ["cell-hot", "cell-rise", "cab-hot", "smoke"]` + "\nneed = 1",
			"fewer: plan leave, stage 1 is not opened by duct-smoke"},
		{`if_blind = "proceed"`, "if_blind = \"proceed\"\ncountdown = \"45s\"", "later: plan leave, stage 3: countdown 45s, was 30s"},
	} {
		next := mustParse(t, "f", with(t, k.from, k.to), testKinds())
		got := Weaker(base, next)
		if k.want == "" && len(got) > 0 {
			t.Errorf("%q for %q: %q, want nothing", k.to, k.from, got)
		}
		if k.want != "" && !slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, k.want) }) {
			t.Errorf("%q for %q: %q, want %q", k.to, k.from, got, k.want)
		}
	}
}

// What is gone is named, whatever takes its place.
func TestWeakerNamesWhatIsGone(t *testing.T) {
	base := mustParse(t, "f", with(t), testKinds())
	next := mustParse(t, "f", with(t), testKinds())
	next.Plans[0].Stages = next.Plans[0].Stages[:1]
	next.Plans[0].Protects = nil
	got := strings.Join(Weaker(base, next), "\n")
	for _, want := range []string{"fewer: plan leave has no stage 3", "fewer: plan leave no longer protects b3"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	i := slices.IndexFunc(next.Rules.Hazard.Conds, func(c hazard.Cond) bool { return c.Name == "sure" })
	next.Rules.Hazard.Conds[i].Need++
	if got := Weaker(base, next); !slices.Contains(got, "weaker: sure needs 3 members, was 2") {
		t.Errorf("a larger quorum: %q", got)
	}
	next.Plans = nil
	if got := strings.Join(Weaker(base, next), "\n"); !strings.Contains(got, "fewer: plan leave is gone") {
		t.Errorf("a plan is gone:\n%s", got)
	}
}
