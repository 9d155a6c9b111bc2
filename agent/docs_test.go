package main

import (
	"bytes"
	"io"
	"maps"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"firebreak/agent/app"
	"firebreak/agent/config"
)

// TestReadmeExcerpt: the configuration in the README is 15 lines of the annotated example, verbatim
// and in order.
func TestReadmeExcerpt(t *testing.T) {
	_, rest, ok := strings.Cut(readFile(t, "README.md"), "```toml\n")
	excerpt, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatal("README.md has no block of toml")
	}
	lines := strings.Split(excerpt, "\n")
	if len(lines) != 15 {
		t.Errorf("the excerpt has %d lines, want 15", len(lines))
	}
	example := strings.Split(readFile(t, "configs/firebreak.toml"), "\n")
	for _, line := range lines {
		i := slices.Index(example, line)
		if i < 0 {
			t.Fatalf("this line of the README is not in configs/firebreak.toml, or not in this order: %q", line)
		}
		example = example[i+1:]
	}
}

// commands are the beginnings of all command lines that a document may show, and who runs them.
var commands = map[string]string{
	"make":                       "the Makefile has the target, and .ci/run or a person runs it",
	"firebreak run":              "TestRunStatusAckKillAndGoOn starts it",
	"firebreak check":            "here",
	"firebreak demo":             "TestDemoJSON and .ci/run play it",
	"firebreak replay":           "here: the scenarios, and the recordings of docs/replay.md",
	"firebreak status":           "TestRunStatusAckKillAndGoOn asks it; here without an agent",
	"firebreak ack":              "TestRunStatusAckKillAndGoOn gives it; here without an agent",
	"firebreak reset":            "TestResetAfterClearTime gives it; here without an agent",
	"firebreak reset-alarm":      "here without an agent",
	"firebreak out-of-service":   "here without an agent",
	"firebreak in-service":       "here without an agent",
	"firebreak hold":             "TestHoldRenewsAndReleases keeps one; here without an agent",
	"firebreak release":          "here without an agent",
	"firebreak bundle":           "TestBundle makes several; here there is no journal",
	"firebreak version":          "here",
	"firebreak outstanding":      "TestOrdersOfARunningAgent asks it; here without an agent",
	"firebreak shelve":           "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak trip":             "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak undo":             "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak arm":              "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak disarm":           "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak settle":           "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak drill":            "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak prove":            "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak restart":          "TestOrdersOfARunningAgent and TestPeerDeadManRestarts give it; here without an agent",
	"firebreak bypass":           "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak learn":            "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak reload":           "TestOrdersOfARunningAgent gives it; here without an agent",
	"firebreak energise":         "TestOrdersOfARunningAgent gives it; here without an agent",
	"sudo firebreak-helper":      "TestCheck of the helper runs it, and TestSampleList on the sample",
	"sudo dpkg":                  "installing: by a person; make deb-test installs into a directory",
	"sudo useradd":               "installing: by a person",
	"sudo install":               "installing: by a person; the sources exist",
	"ssh":                        "reaching a controller: by a person",
	"sudo systemctl":             "installing: by a person",
	"mosquitto_sub":              "seeing the readings: by a person",
	"echo":                       "trying a hook: TestSampleHook calls the program",
	"firebreak console":          "TestConsoleOfARunningAgent runs it, and TestPeerChromium as a process",
	"firebreak watch":            "TestWatch follows an agent",
	"firebreak acl":              "TestACL prints both",
	"sh configs/deploy/certs.sh": "TestCertificates runs it",
	"firebreak profile":          "here: it needs nothing",
	"firebreak probe":            "TestProbe asks a unit; here it is known",
	"firebreak doctor":           "TestDoctorLine and TestDoctorTCP run it; here it is known",
	"firebreak bus":              "TestSetAddress runs it; here it is known",
	"firebreak commission":       "TestCommission runs it beside an agent; here it is known",
	"firebreak import":           "TestImport runs it; here it is known",
	"firebreak sim":              "TestSimServesEveryProfile starts it; here it is known",
	"firebreak scan":             "TestScanTCP, TestScanLine and TestScanNUT; here its plan alone",
	"firebreak key":              "TestKeys gives each of its commands",
	"firebreak hub":              "TestHubCommand serves one and asks it",
	"firebreak telegraf":         "TestTelegrafInput runs it, and TestStockTelegraf in a stock Telegraf",
	"firebreak-telegraf":         "the companion: TestList prints what is built in",
}

// TestEveryCommandIsTold: the usage text, the README and a page of docs know each command that the program does.
func TestEveryCommandIsTold(t *testing.T) {
	names := slices.Collect(maps.Keys(orders))
	for _, m := range regexp.MustCompile(`(?m)^\tcase "([a-z-]+)"[:,]`).FindAllStringSubmatch(readFile(t, "agent/main.go"), -1) {
		names = append(names, m[1])
	}
	if len(names) < 30 {
		t.Fatalf("only %d commands found: the search is broken", len(names))
	}
	_, rest, _ := strings.Cut(readFile(t, "README.md"), "\n## Commands\n")
	readme, _, _ := strings.Cut(rest, "\n## ")
	docs := ""
	for _, f := range allFiles(t) {
		if strings.HasPrefix(f, "docs/") && strings.HasSuffix(f, ".md") {
			docs += readFile(t, f)
		}
	}
	for _, n := range names {
		word := regexp.MustCompile(`(^|[\s` + "`" + `])` + n + `($|[\s` + "`" + `:])`)
		if n != "help" && !word.MatchString(usage) {
			t.Errorf("the usage text does not know %q", n)
		}
		if !word.MatchString(readme) {
			t.Errorf("the commands of README.md lack %q", n)
		}
		if !regexp.MustCompile("firebreak " + n + `\b|` + "`" + n + `[ ` + "`]").MatchString(docs) {
			t.Errorf("no page of docs tells of %q", n)
		}
	}
}

// shown are the command lines in the code blocks of the documents for users, without comments.
func shown(t *testing.T) []string {
	var out []string
	indented := regexp.MustCompile(`(?m)^    ((?:make|firebreak|sudo) .*)$`)
	block := regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	for _, doc := range allFiles(t) {
		if !strings.HasSuffix(doc, ".md") || strings.HasPrefix(doc, "firmware-notes/") {
			continue
		}
		text := readFile(t, doc)
		for _, m := range indented.FindAllStringSubmatch(text, -1) {
			out = append(out, m[1])
		}
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			out = append(out, strings.Split(strings.TrimSpace(m[1]), "\n")...)
		}
	}
	for i := range out {
		out[i] = regexp.MustCompile(` #.*|   .*`).ReplaceAllString(out[i], "")
		out[i] = strings.TrimPrefix(out[i], "sudo -u firebreak ")
	}
	return out
}

// TestShownCommands: a command that a document shows is one that somebody runs, what it names
// exists, and it is understood.
func TestShownCommands(t *testing.T) {
	lines := shown(t)
	if len(lines) < 20 {
		t.Errorf("only %d command lines found: the search is broken", len(lines))
	}
	makefile := readFile(t, "Makefile")
	for _, line := range lines {
		f := strings.Fields(line)
		two := strings.Join(f[:min(2, len(f))], " ")
		if commands[f[0]] == "" && commands[two] == "" {
			t.Errorf("%q: nobody is known to run this; say in this test who does", line)
			continue
		}
		switch {
		case f[0] == "make" && !strings.Contains(makefile, "\n"+f[1]+":"):
			t.Errorf("%q: the Makefile has no such target", line)
		case f[0] == "firebreak":
			understood(t, f[1:])
		}
		for _, w := range f {
			if strings.HasPrefix(w, "configs/") && !exists(w) {
				t.Errorf("%q: %s does not exist", line, w)
			}
		}
	}
}

// understood runs a command without an agent, but for those that would start one.
func understood(t *testing.T, args []string) {
	t.Helper()
	switch args[0] {
	case "run", "demo", "key", "acl", "watch", "console", "hub", "telegraf", "probe", "sim", "doctor", "bus", "commission", "import": // they start something, write files or ask for brokers: tests of their own do
		if !strings.Contains(usage, "\n  firebreak "+args[0]+" ") && !strings.Contains(usage, "\n  "+args[0]+" ") {
			t.Errorf("the usage text does not know %q", args[0])
		}
		return
	}
	if args[0] == "replay" {
		replayed(t, args[1:])
		return
	}
	want := 1 // no agent answers
	switch args[0] {
	case "scan": // what it names is not here: the plan alone, or no adapter
		if args[1] == "modbus" || args[1] == "nut" {
			args, want = append(args, "--plan"), 0
		}
	case "check", "version", "profile":
		want = 0
	}
	args = slices.Clone(args)
	if !slices.Contains([]string{"version", "profile", "scan"}, args[0]) {
		if i := slices.Index(args, "-c"); i > 0 && i+1 < len(args) {
			args = slices.Delete(args, i, i+2)
		}
		args = append(args, "-c", path.Join(repo, "configs/firebreak.toml"))
	}
	var stderr bytes.Buffer
	if code := run(args, io.Discard, &stderr); code != want {
		t.Errorf("firebreak %s: exit %d, want %d: %s", strings.Join(args, " "), code, want, stderr.String())
	}
}

// replayed runs a shown replay. The recordings of docs/replay.md are in the testdata of the package; a bundle
// that a document names is nobody's.
func replayed(t *testing.T, args []string) {
	t.Helper()
	args = slices.Clone(args)
	want := 0
	for i, a := range args {
		switch {
		case strings.HasSuffix(a, ".tar.gz"):
			want = 2
		case exists("agent/replay/testdata/recordings/" + a):
			args[i] = path.Join(repo, "agent/replay/testdata/recordings", a)
		case exists(a):
			args[i] = path.Join(repo, a)
		}
	}
	var stderr bytes.Buffer
	if code := run(append([]string{"replay"}, args...), io.Discard, &stderr); code != want {
		t.Errorf("firebreak replay %s: exit %d, want %d: %s", strings.Join(args, " "), code, want, stderr.String())
	}
}

// mustHold are the clauses that hold in this version, with tests; a part of one may be open.
var mustHold = []string{"S1", "S2", "S3", "S4", "S5", "S6", "S8", "S9", "S10", "S15", "S24"}

// TestSafetyScripts: the scripts that docs/safety.md and docs/detection.md name exist, each script is
// named, and the clauses that must hold name tests.
func TestSafetyScripts(t *testing.T) {
	const dir = "agent/core/testdata/timelines/"
	text := readFile(t, "docs/safety.md")
	named := map[string]bool{}
	for _, s := range regexp.MustCompile(`\b[\w-]+\.txt\b`).FindAllString(text+readFile(t, "docs/detection.md"), -1) {
		named[s] = true
		if !exists(dir + s) {
			t.Errorf("docs/safety.md or docs/detection.md names %s, which is not in %s", s, dir)
		}
	}
	for _, f := range allFiles(t) {
		if s, ok := strings.CutPrefix(f, dir); ok && strings.HasSuffix(s, ".txt") && !named[s] {
			t.Errorf("neither docs/safety.md nor docs/detection.md names the script %s", s)
		}
	}
	for _, clause := range mustHold {
		_, rest, _ := strings.Cut(text, "\n## "+clause+" ")
		body, _, _ := strings.Cut(rest, "\n## ")
		if !regexp.MustCompile(`(?m)^Tests: .*\bTest`).MatchString(body) {
			t.Errorf("clause %s must hold in this version, and names no test", clause)
		}
	}
}

// TestUnit: without these lines a stop or an upgrade of the agent would end or double hooks (S10), or
// the service manager would give up (S22).
func TestUnit(t *testing.T) {
	unit := "\n" + readFile(t, "configs/deploy/firebreak.service")
	for _, want := range []string{"KillMode=process", "RuntimeDirectory=firebreak", "RuntimeDirectoryPreserve=yes", "StateDirectory=firebreak",
		"StartLimitIntervalSec=0", "Restart=always", "Type=notify", "WatchdogSec=10"} {
		if !strings.Contains(unit, "\n"+want+"\n") {
			t.Errorf("the unit lacks the line %s", want)
		}
	}
	// The agent needs no right at all, and what would take its sensors away is not there.
	for _, want := range []string{"NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "User=firebreak", "Wants=firebreak-helper.socket"} {
		if !strings.Contains(unit, "\n"+want+"\n") {
			t.Errorf("the unit lacks the line %s", want)
		}
	}
	for _, bad := range []string{"PrivateDevices=", "DevicePolicy=", "ProtectClock="} {
		if strings.Contains(unit, "\n"+bad) {
			t.Errorf("the unit has %s, which takes serial lines away", bad)
		}
	}
}

// TestActionExcerpt: the list in docs/hooks.md is of the sample, verbatim and in order.
func TestActionExcerpt(t *testing.T) {
	_, rest, ok := strings.Cut(readFile(t, "docs/hooks.md"), "```toml\n[[action]]\n")
	excerpt, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatal("docs/hooks.md has no list of actions")
	}
	sample := strings.Split(readFile(t, "configs/deploy/actions.toml"), "\n")
	for _, line := range strings.Split(excerpt, "\n") {
		i := slices.Index(sample, line)
		if i < 0 {
			t.Fatalf("this line is not in configs/deploy/actions.toml, or not in this order: %q", line)
		}
		sample = sample[i+1:]
	}
}

// tables of a configuration: the section of docs/configuration.md that lists the keys, and the
// beginning of a file that has such a table with some of its keys.
var tables = []struct{ section, text, given string }{
	{"Top of the file", "site = \"s\"\nzone = \"z\"\nagent = \"a\"\njournal = \"/j\"\n", "site zone agent journal"},
	{"[[bus]]", "[[bus]]\nkind = \"modbus-tcp\"\n", "kind"},
	{"[[bus]]", "[[bus]]\nkind = \"modbus-rtu\"\n", "kind"},
	{"[[bus]]", "[[bus]]\nkind = \"modbus-ascii\"\n", "kind"},
	{"[[bus]]", "[[bus]]\nkind = \"i2c\"\n", "kind"},
	{"[[bus]]", "[[bus]]\nkind = \"gpio\"\n", "kind"},
	{"[[bus]]", "[[bus]]\nkind = \"nut\"\n", "kind"},
	{"[[bus]]", "[[bus]]\nkind = \"snmp\"\n", "kind"},
	{"[[device]]", "[[bus]]\nname = \"b\"\nkind = \"nut\"\naddress = \"h:1\"\n[[device]]\nbus = \"b\"\n", "bus"},
	{"[[device]]", "[[bus]]\nname = \"b\"\nkind = \"i2c\"\nadapter = \"/dev/i2c-1\"\n[[device]]\nbus = \"b\"\n", "bus"},
	{"[[device]]", "[[bus]]\nname = \"b\"\nkind = \"modbus-tcp\"\naddress = \"h:1\"\n[[device]]\nbus = \"b\"\n", "bus"},
	{"[[device.group]]", "[[bus]]\nname = \"b\"\nkind = \"modbus-tcp\"\naddress = \"h:1\"\n[[device]]\nbus = \"b\"\nprofile = \"faast\"\n[[device.group]]\n", ""},
	{"[[detector]]", "[[detector]]\n", ""},
	{"[[vote]]", "[[vote]]\n", ""},
	{"[telegraf]", "[telegraf]\ngateway = \"sw\"\n", "gateway"},
	{"[[source.telegraf]]", "[telegraf]\n[[source.telegraf]]\n", ""},
	{"[[source.telegraf.point]]", "[telegraf]\n[[source.telegraf]]\n[[source.telegraf.point]]\n", ""},
	{"[[pack]]", "[[pack]]\n", ""},
	{"[[target]]", "[[target]]\n", ""},
	{"[[broker]]", "[[broker]]\n", ""},
	{"[[hook]]", "[[hook]]\nkind = \"exec\"\n", "kind"},
	{"[[hook]]", "[[hook]]\nkind = \"webhook\"\n", "kind"},
	{"[[hook]]", "[[hook]]\nkind = \"mqtt\"\n", "kind"},
	{"[[hook]]", "[[hook]]\nkind = \"modbus\"\n", "kind"},
	{"[[hook.command]]", "[[hook]]\nkind = \"modbus\"\n[[hook.command]]\n", ""},
	{"[[hook]]", "[[hook]]\nkind = \"nut\"\n", "kind"},
	{"[[hook.ups]]", "[[hook]]\nkind = \"nut\"\n[[hook.ups]]\n", ""},
	{"[[hook.alias]]", "[[hook]]\nkind = \"nut\"\n[[hook.alias]]\n", ""},
	{"[hub]", "[hub]\n", ""},
	{"[[hub.user]]", "[hub]\n[[hub.user]]\n", ""},
	{"[hub.cluster]", "[hub]\n[hub.cluster]\n", ""},
	{"[[plan]]", "[[plan]]\n", ""},
	{"[[plan.stage]]", "[[plan]]\n[[plan.stage]]\nlevel = \"3\"\n", "level"},
	{"[[plan.stage.step]]", "[[plan]]\n[[plan.stage]]\n[[plan.stage.step]]\n", ""},
}

// keysOf asks the configuration which keys a table may have: its answer to one that it cannot have.
func keysOf(t *testing.T, text, given string) []string {
	t.Helper()
	const odd = "qqqqqqqqqqqqqqqqqqqqqqqqqq"
	_, faults := config.Parse("f", []byte(text+odd+" = 1\n"), app.Kinds())
	for _, f := range faults {
		if _, list, ok := strings.Cut(f.Text, ": use one of "); ok && strings.Contains(f.Text, odd) {
			return append(strings.Split(list, ", "), strings.Fields(given)...)
		}
	}
	t.Fatalf("no fault lists the keys of\n%s\n%v", text, faults)
	return nil
}

// TestConfigurationDoc: docs/configuration.md lists every key that the configuration knows, and no
// other.
func TestConfigurationDoc(t *testing.T) {
	known := map[string]map[string]bool{}
	for _, tab := range tables {
		if known[tab.section] == nil {
			known[tab.section] = map[string]bool{}
		}
		for _, k := range keysOf(t, tab.text, tab.given) {
			known[tab.section][k] = true
		}
	}
	text := readFile(t, "docs/configuration.md")
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|")
	for section, keys := range known {
		_, rest, ok := strings.Cut(text, "\n## "+section+"\n")
		if !ok {
			t.Errorf("docs/configuration.md has no section %q", section)
			continue
		}
		body, _, _ := strings.Cut(rest, "\n## ")
		listed := map[string]bool{}
		for _, m := range row.FindAllStringSubmatch(body, -1) {
			listed[m[1]] = true
			if !keys[m[1]] {
				t.Errorf("docs/configuration.md lists %q in %s, which the configuration does not know", m[1], section)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if !listed[k] {
				t.Errorf("docs/configuration.md does not list the key %q of %s", k, section)
			}
		}
	}
}

// TestLicences: docs/licences.md has one row for each module of go.mod, with its version, and says of
// each whether it is in the binary.
func TestLicences(t *testing.T) {
	type row struct{ version, licence, linked string }
	rows := map[string]row{}
	cells := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (v\\S+) \\| ([^|]+) \\| (yes|no) \\|$")
	for _, m := range cells.FindAllStringSubmatch(readFile(t, "docs/licences.md"), -1) {
		rows[m[1]] = row{m[2], m[3], m[4]}
	}
	required := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(?:require )?\s*([a-zA-Z0-9./_-]+\.[a-z]+(?:/\S+)?|[a-z.]+/\S+) (v\S+)`).FindAllStringSubmatch(readFile(t, "go.mod"), -1) {
		required[m[1]] = true
		if rows[m[1]].version != m[2] {
			t.Errorf("go.mod requires %s %s; docs/licences.md has version %q of it: read its licence and correct the row", m[1], m[2], rows[m[1]].version)
		}
	}
	if len(required) < 15 {
		t.Errorf("only %d modules found in go.mod: the search is broken", len(required))
	}
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./agent")
	cmd.Dir = repo
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	linked := strings.Fields(string(out))
	cmd = exec.Command("go", "list", "-deps", "-tags", "telegraf", "-f", "{{with .Module}}{{.Path}}{{end}}", "./plugins/telegraf")
	cmd.Dir = repo
	hosted, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list of the companion: %v", err)
	}
	for _, m := range strings.Fields(string(hosted)) {
		if rows[m].licence == "" && m != "firebreak" {
			t.Errorf("docs/licences.md lacks %s, which the companion links", m)
		}
	}
	for m, r := range rows {
		if !required[m] {
			t.Errorf("docs/licences.md has %s, which go.mod does not require", m)
		}
		if in := slices.Contains(linked, m); in != (r.linked == "yes") {
			t.Errorf("docs/licences.md says %q of %s; in the binary: %v", r.linked, m, in)
		}
	}
}

// TestFigures: the README shows the figures of docs/figures.md, and a command that measures one
// names a benchmark of the package that it runs.
func TestFigures(t *testing.T) {
	readme, doc := readFile(t, "README.md"), readFile(t, "docs/figures.md")
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(doc, -1)
	if len(rows) < 10 {
		t.Errorf("only %d rows found in docs/figures.md: the search is broken", len(rows))
	}
	where := testFuncs(t)
	bench := regexp.MustCompile(`-bench (\w+) \./(\S+)` + "`")
	for _, r := range rows {
		if row := "| " + r[1] + " | " + r[3] + " |"; r[1] != "what" && !strings.Contains(readme, "\n"+row+"\n") {
			t.Errorf("README.md lacks the row %q of docs/figures.md", row)
		}
		if m := bench.FindStringSubmatch(r[2]); m != nil && path.Dir(where[m[1]]) != m[2] {
			t.Errorf("docs/figures.md names %s in %s; it is in %q", m[1], m[2], where[m[1]])
		}
	}
	machine := regexp.MustCompile(`(?m)^Machine: .*$`)
	if machine.FindString(readme) != machine.FindString(doc) {
		t.Errorf("README.md and docs/figures.md name different machines")
	}
}
