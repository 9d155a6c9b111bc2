package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// peerFile is the base as a file of its own, for an agent of another name.
func peerFile(t *testing.T, file, agent string, pairs ...string) *Config {
	t.Helper()
	return mustParse(t, file, with(t, append([]string{`agent = "rack1"`, `agent = "` + agent + `"`}, pairs...)...), testKinds())
}

// What two agents drive, each must know of the other, and both must call by the same names (S13).
func TestPeersOfTwoFiles(t *testing.T) {
	const loss = "power_loss = \"7m\"\n"
	peer := func(name string) []string { return []string{loss, loss + "peer = \"" + name + "\"\n"} }
	other := []string{`url = "http://127.0.0.1/tell"`, `url = "http://127.0.0.1/other"`, `argv = ["/bin/true"]`, `argv = ["/bin/false"]`}
	for _, k := range []struct {
		name string
		a, b *Config
		want []string // "file:line", with a part of the text
	}{
		{"they name each other", peerFile(t, "a", "rack1", peer("rack2")...), peerFile(t, "b", "rack2", peer("rack1")...), nil},
		{"they drive different things", peerFile(t, "a", "rack1"), peerFile(t, "b", "rack2", other...), nil},
		{"they page the same people only", peerFile(t, "a", "rack1"),
			peerFile(t, "b", "rack2", `argv = ["/bin/true"]`, `argv = ["/bin/false"]`, "[[broker]]\n", "[[hook]]\nname = \"drain\"\nkind = \"run\"\nargv = [\"/bin/drain\"]\nstands = { zone = \"b1\", feed = \"A\" }\n[[broker]]\n", "hook = \"tell\"\nafter", "hook = \"drain\"\nafter"), nil},
		{"neither names the other", peerFile(t, "a", "rack1"), peerFile(t, "b", "rack2"), []string{
			`a:143:14: step "drain" drives hook "tell", and so does step "drain" of plan "leave" of agent "rack2" (b): both plans must name`,
			`a:155:14: step "hosts" drives hook "off", and so does step "hosts"`, `b:143:14: step "drain" drives`, `b:155:14: step "hosts" drives`}},
		{"one names the other", peerFile(t, "a", "rack1", peer("rack2")...), peerFile(t, "b", "rack2"), []string{
			`a:129:8: plan "leave" in b does not name "rack1" as its peer`, `a:144:14: step "drain" drives`, `a:156:14: step "hosts" drives`, `b:143:14: step`, `b:155:14: step`}},
		{"the names of a step differ", peerFile(t, "a", "rack1", peer("rack2")...), peerFile(t, "b", "rack2", append(peer("rack1"), `name = "hosts"`, `name = "racks"`)...), []string{
			`a:156:14: step "hosts" drives hook "off", which peer "rack2" drives in step "racks" of stage 3 of plan "leave" (b): give plan, stage and step the same names`,
			`b:156:14: step "racks" drives hook "off", which peer "rack1" drives in step "hosts"`}},
		{"the names of the plan differ", peerFile(t, "a", "rack1", append(peer("rack2"), other...)...), peerFile(t, "b", "rack2", append(peer("rack1"), `name = "leave"`, `name = "go"`)...), []string{
			`a:129:8: b has no plan "leave"`, `b:129:8: a has no plan "go"`}},
		{"the zones differ", peerFile(t, "a", "rack1", append(peer("rack2"), other...)...), peerFile(t, "b", "rack2", append(peer("rack1"), `zone = "b3"`+"\n", "zone = \"b4\"\n", `protects = ["b3"]`, `protects = ["b4"]`)...), []string{
			`a:129:8: the zone is "b3" here and "b4" in b`, `b:129:8: the zone is "b4" here`}},
		{"the agents have one name", peerFile(t, "a", "rack1"), peerFile(t, "b", "rack1", other...), []string{`a:1:1: b describes an agent "rack1" of site "test" too`}},
	} {
		var got []string
		for _, f := range Peers(k.a, k.b) {
			got = append(got, f.String())
		}
		slices.Sort(got)
		ok := len(got) == len(k.want)
		for i := range k.want {
			ok = ok && strings.HasPrefix(got[i], k.want[i])
		}
		if !ok {
			t.Errorf("%s: got\n  %s\nwant\n  %s", k.name, strings.Join(got, "\n  "), strings.Join(k.want, "\n  "))
		}
	}
}

func TestPlanCalendar(t *testing.T) {
	c := mustParse(t, "f", with(t, "site = \"test\"\n", "site = \"test\"\nconsumers = [\"noc\", \"b3.desk\"]\nproof_max = \"720h\"\n", "power_loss = \"7m\"\n", "power_loss = \"7m\"\npeer = \"rack2\"\ndrill_every = \"48h\"\n"), testKinds())
	plan := c.Rules.Response.Plans[0]
	if !slices.Equal(c.Rules.Consumers, []string{"noc", "b3.desk"}) || c.Rules.ProofMax != 720*time.Hour || plan.Peer != "rack2" || plan.DrillEvery != 48*time.Hour {
		t.Errorf("%+v %+v", c.Rules, plan)
	}
	if text := string(report(t, c)); !strings.Contains(text, "\n  peer rack2 drives the same targets") {
		t.Errorf("the report does not speak of the peer:\n%s", text)
	}
	c = mustParse(t, "f", with(t), testKinds())
	if plan := c.Rules.Response.Plans[0]; c.Rules.ProofMax != 8760*time.Hour || plan.DrillEvery != 2160*time.Hour || plan.Peer != "" || c.Rules.Consumers != nil {
		t.Errorf("defaults: %+v %+v", c.Rules, plan)
	}
}
