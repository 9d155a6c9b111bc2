package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/agent/near"
)

// ownProfile puts a profile into dir, made of a test profile with one text in place of another.
func ownProfile(t *testing.T, dir, name, from, to string) {
	t.Helper()
	text := string(readFile(t, "testdata/profiles/"+name+".toml"))
	if strings.Count(text, from) != 1 {
		t.Fatalf("%q is not once in profile %s", from, name)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".toml"), []byte(strings.Replace(text, from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

func withProfiles(t *testing.T, dir string, pairs ...string) []byte {
	return with(t, append([]string{`site = "test"`, "site = \"test\"\nprofiles = \"" + dir + "\""}, pairs...)...)
}

// A profile of one's own wins over the built-in one of its name; the others stay as they are.
func TestOwnProfileWins(t *testing.T) {
	dir := t.TempDir()
	empty := mustParse(t, "f", withProfiles(t, dir), testKinds())
	ownProfile(t, dir, "chip", `lag     = "5s"`, `lag     = "7s"`)
	c := mustParse(t, "f", withProfiles(t, dir), testKinds())
	checkRules(t, c)
	if lag := c.Rules.Hazard.Points[c.Devices[3].First].Lag; lag != 7e9 {
		t.Errorf("the profile of the directory does not win: lag %s", lag)
	}
	if c.Rules.Hash == empty.Rules.Hash {
		t.Error("another profile of one's own does not change the hash")
	}
	if text := string(report(t, c)); !strings.Contains(text, "\nprofiles from "+dir+": chip\n") {
		t.Errorf("the report does not name it:\n%s", text)
	} else if !strings.Contains(text, "\nnote: profile chip does not say how often the device renews every value") {
		t.Errorf("the report does not say that it has no refresh:\n%s", text)
	}
	ownProfile(t, dir, "chip", `lag     = "5s"`, "lag     = \"7s\"\nrefresh = \"1s\"")
	if text := string(report(t, mustParse(t, "f", withProfiles(t, dir), testKinds()))); strings.Contains(text, "note: profile") {
		t.Errorf("a note on a profile that states its refresh:\n%s", text)
	}
}

// What a driver waits for its chip keeps the bus from the others, and what nobody has confirmed is noted.
func TestWaitAndUnverified(t *testing.T) {
	dir := t.TempDir()
	before := mustParse(t, "f", withProfiles(t, dir), testKinds())
	ownProfile(t, dir, "chip", `chip   = "tmp117"`, "chip   = \"tmp117\"\nwait = \"40ms\"\nrefresh = \"1s\"\nunverified = \"the lag\"")
	c := mustParse(t, "f", withProfiles(t, dir), testKinds())
	was, is := (&compiler{cfg: before}).exchange(&before.Devices[3]), (&compiler{cfg: c}).exchange(&c.Devices[3])
	if is-was != 40*time.Millisecond {
		t.Errorf("a poll takes %v, and %v with a wait of 40ms", was, is)
	}
	if text := string(report(t, c)); strings.Count(text, "\nnote: profile chip is unverified in part: the lag\n") != 1 {
		t.Errorf("the report does not say what is unverified:\n%s", text)
	}
}

// A device that no built-in profile knows is added without building the agent anew; a name that is
// nowhere is told with the names of both.
func TestOwnProfileOfANewDevice(t *testing.T) {
	dir := t.TempDir()
	text := strings.Replace(string(readFile(t, "testdata/profiles/chip.toml")), `"chip"`, `"probe-x"`, 1)
	if err := os.WriteFile(filepath.Join(dir, "probe-x.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	checkRules(t, mustParse(t, "f", withProfiles(t, dir, `profile = "chip"`, `profile = "probe-x"`), testKinds()))
	for name, meant := range map[string]string{"probe-y": "probe-x", "chop": "chip"} {
		_, faults := Parse("f", withProfiles(t, dir, `profile = "chip"`, `profile = "`+name+`"`), testKinds())
		if len(faults) != 1 || !strings.HasSuffix(faults[0].Text, `(did you mean "`+meant+`"?)`) {
			t.Errorf("profile %q: %v", name, faults)
		}
	}
	for _, name := range []string{"probe", "probe-of-another-make"} {
		_, faults := Parse("f", withProfiles(t, dir, `profile = "chip"`, `profile = "`+name+`"`), testKinds())
		if len(faults) != 1 || !strings.HasSuffix(faults[0].Text, ": use one of probe-x") {
			t.Errorf("profile %q: %v", name, faults)
		}
	}
	many := make([]string, near.MaxListed+1)
	for i := range many {
		many[i] = fmt.Sprintf("device-%d", i)
	}
	if got := profileHint("unheard", many); got != ": firebreak profile list names them" {
		t.Errorf("of many profiles: %q", got)
	}
}

// What is wrong in a profile of one's own is told once, at its place in its own file, and never
// hidden by the built-in one; nor does it put blame on the tables of the configuration.
func TestBrokenOwnProfile(t *testing.T) {
	dir := t.TempDir()
	ownProfile(t, dir, "smoke", `scale    = 0.01
unit     = "%/m"
physics  = "smoke"`, `scale    = 0
unit     = "%/m"
physics  = "smoky"`)
	_, faults := Parse("f", withProfiles(t, dir, `above = "55 C"`, `above = "hot"`), testKinds())
	var got []string
	for _, f := range faults {
		got = append(got, f.String())
	}
	file := filepath.Join(dir, "smoke.toml")
	want := []string{`f:67:9: "above": "hot" does not begin`, file + ":10:1: scale zero", file + ":12:1: physics: unknown physics \"smoky\""}
	if len(got) != len(want) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
}

// What is no plain file, or calls itself otherwise, is told at the device.
func TestOddOwnProfiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "chip.toml"), 0o755); err != nil {
		t.Fatal(err)
	}
	ownProfile(t, dir, "string", `name   = "string"`, `name   = "strong"`)
	_, faults := Parse("f", withProfiles(t, dir), testKinds())
	if len(faults) != 2 || !strings.Contains(faults[0].Text, `calls itself "strong"`) || !strings.Contains(faults[1].Text, "chip.toml is not a plain file") {
		t.Errorf("got %v", faults)
	}
	if err := os.WriteFile(filepath.Join(dir, "load.toml"), make([]byte, maxFile+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, faults = Parse("f", withProfiles(t, dir), testKinds()); len(faults) != 3 || !strings.Contains(faults[1].Text, "load.toml is too large") {
		t.Errorf("got %v", faults)
	}
}
