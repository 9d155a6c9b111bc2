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
		{"power_loss = \"7m\"\n", "power_loss = \"7m\"\nmax_zones_2b = 2\n", "fewer: plan leave: at most 2 zones switch over at once"},
		{"power_loss = \"7m\"\n", "power_loss = \"7m\"\nclear_time = \"5m\"\n", "weaker: plan leave: clear_time 5m, was 10m"},
		{"power_loss = \"7m\"\n", "power_loss = \"7m\"\nclear_time = \"20m\"\n", ""},
		{"power_loss = \"7m\"\n", "power_loss = \"7m\"\nresume_max = \"5m\"\n", "weaker: plan leave: resume_max 5m, was 15m"},
		{"power_loss = \"7m\"\n", "power_loss = \"7m\"\ndrill_every = \"4320h\"\n", "later: plan leave: drill_every 4320h, was 2160h"},
		{"power_loss = \"7m\"\n", "power_loss = \"7m\"\nmode = \"armed\"\nungated = \"x\"\n", "weaker: plan leave is armed past the gate of arming (x)"},
		{"power_loss = \"7m\"\n", "power_loss = \"7m\"\npeer = \"rack2\"\n", ""},
		{"if_blind = \"proceed\"", "if_blind = \"proceed\"\nmax_parallel = 1", "later: plan leave, stage 3: at most 1 steps at once"},
		{"if_blind = \"proceed\"", "if_blind = \"proceed\"\naccept_single = \"x\"", "weaker: plan leave, stage 3: a single failure is accepted (x)"},
		{"name = \"hosts\"\nhook = \"off\"", "name = \"hosts\"\nhook = \"tell\"", "weaker: plan leave, step hosts calls hook tell, was off"},
		{"name = \"hosts\"", "name = \"hosts\"\ncap = \"3m\"", "later: plan leave, step hosts: cap 3m, was 2m"},
		{"name = \"hosts\"", "name = \"hosts\"\ncap = \"1m\"", ""},
		{"name = \"hosts\"", "name = \"hosts\"\ntimeout = \"2s\"", "weaker: plan leave, step hosts: timeout 2s, was 10s"},
		{"on_failure = \"escalate\"", "on_failure = \"continue\"", "weaker: plan leave, step hosts: on_failure is continue, was escalate"},
		{"on_failure = \"escalate\"", "on_failure = \"abort\"", "weaker: plan leave, step hosts: when it fails, what waits for it never starts"},
		{"on_failure = \"escalate\"", "on_failure = \"retry\"", ""},
		{"after = [\"drain\"]", "after = [\"drain\", \"page\"]", "later: plan leave, step hosts waits for page too"},
		{"after = [\"drain\"]\n", "", "weaker: plan leave, step hosts does not wait for drain any more"},
		{"after = [\"drain\"]", "after = [\"drain\"]\nproof_required = true", "weaker: plan leave, step hosts never starts without proof"},
		{"only_if = \"lb.power-ok\"\n", "", "weaker: plan leave, step hosts starts whatever its only_if said"},
		{"evidence = \"lb.sessions == 0\"\n", "evidence = \"lb.sessions == 0\"\nonly_if = \"lb.power-ok\"\n", "weaker: plan leave, step drain starts only if a condition holds"},
		{"evidence = \"lb.current < 1 A\"\n", "", "weaker: plan leave, step hosts: no evidence says that it is done"},
		{"evidence = \"lb.current < 1 A\"", "evidence = \"hook\"", "weaker: plan leave, step hosts: the word of the hook is its evidence"},
		{"revert = \"let the sessions in again\"", "revert = \"nothing\"", "weaker: plan leave, step drain stands in no ledger any more"},
		{"revert = \"let the sessions in again\"", "revert = \"let the sessions in again\"\nreview_after = \"48h\"", "later: plan leave, step drain: review_after 48h, was 24h"},
		{"name = \"hosts\"", "name = \"hosts\"\nirreversible = false\nrevert = \"nothing\"", "weaker: plan leave, step hosts counts as reversible"},
		{"site = \"test\"\n", "site = \"test\"\njournal_bound = \"1s\"\n", "later: journal_bound 1s, was 100ms"},
		{"site = \"test\"\n", "site = \"test\"\nheld_true = \"10m\"\n", "weaker: held_true 10m, was 30m"},
		{"site = \"test\"\n", "site = \"test\"\nloss_persist = \"1m\"\nproof_max = \"9000h\"\n", "later: loss_persist 1m, was 10s"},
		{"site = \"test\"\n", "site = \"test\"\nproof_max = \"9000h\"\n", "later: proof_max 9000h, was 8760h"},
		{"site = \"test\"\n", "site = \"test\"\nconsumers = [\"noc\"]\n", ""},
		{"address = 0x48\n", "address = 0x48\npoll = \"2s\"\n", "later: device cab: poll 2s, was 1s"},
		{"url = \"mqtt://127.0.0.1:1883\"", "url = \"mqtt://127.0.0.1:1884\"", ""},
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

// What a step can do less than before, where the base has nothing to take away.
func TestWeakerSteps(t *testing.T) {
	was := mustParse(t, "f", with(t, "revert = \"let the sessions in again\"", "undo = \"tell\"\nrevert = \"by hand\"", "evidence = \"lb.sessions == 0\"", "evidence = \"hook:verified\"",
		"power_loss = \"7m\"\n", "power_loss = \"7m\"\npeer = \"rack2\"\nexpected_mode = \"armed\"\n", "name = \"page\"\n", "name = \"page\"\non_failure = \"retry\"\nretries = 5\n",
		"if_blind = \"proceed\"", "if_blind = \"proceed\"\nmax_parallel = 3", "after = [\"drain\"]", "after = [\"drain\"]\nproof_required = true", "is = true", "is = true\nlatching = true\nheld_true = \"1h\""), testKinds())
	is := mustParse(t, "f", with(t, "revert = \"let the sessions in again\"", "revert = \"by hand\"", "evidence = \"lb.sessions == 0\"", "evidence = \"hook:receipt\"",
		"name = \"page\"\n", "name = \"page\"\non_failure = \"retry\"\nretries = 2\n", "if_blind = \"proceed\"", "if_blind = \"proceed\"\nmax_parallel = 2", "is = true", "is = true\nheld_true = \"30m\""), testKinds())
	want := []string{
		"fewer: plan leave, step page: 2 retries, was 5",
		"later: plan leave, stage 3: at most 2 steps at once",
		"weaker: duct-smoke: held_true 30m, was 1h",
		"weaker: duct-smoke: its alarm does not latch any more",
		"weaker: plan leave is expected to observe only: nobody is told when it does",
		"weaker: plan leave no longer shares its keys with peer rack2",
		"weaker: plan leave, step drain: its evidence is receipt, was verified",
		"weaker: plan leave, step drain: no order takes it back any more",
		"weaker: plan leave, step hosts starts without proof of the steps before it",
	}
	if got := Weaker(was, is); !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
	if got := Weaker(is, was); !slices.Equal(got, []string{"weaker: plan leave, step hosts never starts without proof of the steps before it"}) {
		t.Errorf("the other way round: %q", got)
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
	next.Brokers, next.Devices = nil, next.Devices[:4]
	got = strings.Join(Weaker(base, next), "\n")
	for _, want := range []string{"fewer: broker site is not told any more", "fewer: device duct is gone"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
	next.Plans = nil
	if got := strings.Join(Weaker(base, next), "\n"); !strings.Contains(got, "fewer: plan leave is gone") {
		t.Errorf("a plan is gone:\n%s", got)
	}
}
