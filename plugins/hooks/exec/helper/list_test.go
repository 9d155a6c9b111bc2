package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"firebreak/plugins/hooks/exec"

	"github.com/pelletier/go-toml/v2"
)

const good = `# comment
[[action]] # one
name = "power"
program = '/usr/local/libexec/power'
args = [ "a b", 'c"', # here too
  "\u00e4\n", ]
env = { A = "1", B_2 = '' }
dir = "/var"
user = "firebreak"
group = "0"
max_timeout = "1m30s"
grace = "500ms"
output_limit = 100
drill = "native"
`

func TestParse(t *testing.T) {
	l, faults := parse("f", good)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := &action{name: "power", program: "/usr/local/libexec/power", args: []string{"a b", `c"`, "ä\n"}, env: map[string]string{"A": "1", "B_2": ""},
		dir: "/var", user: "firebreak", group: "0", maxTimeout: 90 * time.Second, grace: 500 * time.Millisecond, outputLimit: 100, drill: "native"}
	if got := l.actions["power"]; !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	l, faults = parse("f", "[[action]]\r\nname = \"x\"\r\nprogram = \"/x\"\r\nuser = \"u\"\r\nmax_timeout = \"1s\"")
	if a := l.actions["x"]; len(faults) > 0 || a.dir != "/" || a.grace != exec.MaxGrace || a.outputLimit != exec.DefaultOutputLimit || a.drill != "" {
		t.Errorf("defaults: %+v, %v", a, faults)
	}
}

func TestListFaults(t *testing.T) {
	with := func(line string) string { return good + line + "\n" }
	without := func(key string) string { return strings.Replace(good, key+" =", "x"+key+" =", 1) }
	for text, want := range map[string]string{
		"":                              "f: it holds no [[action]]",
		"\xff":                          "f: it is not UTF-8",
		"name = \"x\"\n" + good:         `f:1:1: "name" stands before the first`,
		"[action]\n" + good:             `f:1:1: "[action]" is not understood`,
		"[[action]] x\n":                `f:1:12: "x" is not understood here`,
		good + good:                     `f:17:8: there is an action "power" on line 2 already`,
		with("name = \"y\""):            `f:15:1: "name" stands there twice`,
		with("shell = \"sh\""):          `f:15:1: unknown key "shell": use one of name, program`,
		with("x"):                       `f:15:2: "x" lacks its value`,
		with("x = "):                    `f:15:5: "" is no value`,
		with("x = true"):                `f:15:5: "true" is no value`,
		with("x = 1.5"):                 `f:15:5: "1.5" is no whole number`,
		with("x = 0777"):                `f:15:5: "0777" is no whole number`,
		with("x = \"a"):                 `f:15:5: the text is not closed`,
		with("x = \"\"\"a\"\"\""):       `f:15:5: a text of several lines`,
		with("x = \"\\q\""):             `f:15:6: "\\q\"" is no escape`,
		with("x = [\"a\" \"b\"]"):       `f:15:10: "\"b\"]" is not understood in a list`,
		with("x = [1]"):                 `f:15:6: "1]" is not understood in a list`,
		with("x = { A = 1 }"):           `f:15:11: "A" must be a string`,
		with("x = { A = \"1\", }"):      `f:15:16: a key of letters`,
		without("name"):                 `f:2:1: [[action]] needs the key "name"`,
		without("program"):              `f:2:1: [[action]] needs the key "program"`,
		without("user"):                 `f:2:1: [[action]] needs the key "user"`,
		without("max_timeout"):          `f:2:1: [[action]] needs the key "max_timeout"`,
		replace(`"power"`, `"a/b"`):     `f:3:8: "a/b" cannot be a name`,
		replace(`'/usr/`, `'usr/`):      `f:4:11: program "usr/local/libexec/power" is no clean absolute path`,
		replace(`'/usr/`, `'/usr/../`):  `no clean absolute path`,
		replace(`"a b"`, `"a\u0000b"`):  `f:5:8: args hold a NUL byte`,
		replace(`A = `, `FIREBREAK_X=`): `f:7:7: env "FIREBREAK_X": names that begin with FIREBREAK_`,
		replace(`"1m30s"`, `90`):        `f:11:15: "max_timeout" must be a string in quotes`,
		replace(`"1m30s"`, `"0s"`):      `f:11:15: "max_timeout" is "0s": it must be a duration above zero`,
		replace(`"500ms"`, `"3s"`):      `f:12:9: "grace" is "3s": it must be a duration above zero such as "30s" or "5m", at most 2s`,
		replace(`100`, `0`):             `f:13:16: "output_limit" is 0: it must be from 1 to`,
		replace(`"native"`, `"dry"`):    `f:14:9: drill cannot be "dry"`,
	} {
		_, faults := parse("f", text)
		found := false
		for _, f := range faults {
			found = found || strings.Contains(f.String(), want)
		}
		if !found {
			t.Errorf("no fault %q in %v of\n%s", want, faults, text)
		}
	}
	if _, faults := parse("f", replace(`"power"`, `""`)+"shell = 1\nx = true\n"); len(faults) != 3 {
		t.Errorf("want three faults at once: %v", faults)
	}
}

func replace(old, by string) string { return strings.Replace(good, old, by, 1) }

// FuzzList: what the small reader takes is TOML, and a library finds the same in it.
func FuzzList(f *testing.F) {
	f.Add(good)
	f.Add("[[action]]\nx = -1\ny = [ 'a' , ]\nz = {}\n")
	f.Add("[[action]]\na = \"\\U0001F600\\t\"\r\n[[action]]\n")
	f.Fuzz(func(t *testing.T, text string) {
		entries, faults := readList("f", text)
		if len(faults) > 0 {
			return
		}
		var lib struct {
			Action []map[string]any `toml:"action"`
		}
		if err := toml.Unmarshal([]byte(text), &lib); err != nil {
			t.Fatalf("%q is taken, and is no TOML: %v", text, err)
		}
		if len(lib.Action) != len(entries) {
			t.Fatalf("%q: %d tables, want %d", text, len(entries), len(lib.Action))
		}
		for i, e := range entries {
			same(t, e, lib.Action[i])
		}
	})
}

func same(t *testing.T, e entry, want map[string]any) {
	if len(e.vals) != len(want) {
		t.Fatalf("keys %v, want %v", e.keys, want)
	}
	for k, v := range e.vals {
		ok := false
		switch w := want[k].(type) {
		case string:
			ok = v.kind == isString && v.s == w
		case int64:
			ok = v.kind == isNumber && v.n == w
		case []any:
			ok = v.kind == isList && len(v.list) == len(w)
			for i := range v.list {
				ok = ok && any(v.list[i]) == w[i]
			}
		case map[string]any:
			ok = v.kind == isTable && len(v.tab) == len(w)
			for n, s := range v.tab {
				ok = ok && any(s) == w[n]
			}
		}
		if !ok {
			t.Errorf("%s is %+v, want %#v", k, v, want[k])
		}
	}
}

// The sample list has no fault of its own, and neither has what is commented out in it.
func TestSampleList(t *testing.T) {
	b, err := os.ReadFile("../../../../configs/deploy/actions.toml")
	if err != nil {
		t.Fatal(err)
	}
	l, faults := parse("actions.toml", string(b))
	if len(faults) > 0 || l.actions["power"] == nil {
		t.Errorf("%v, %v", l.names(), faults)
	}
	_, rest, ok := strings.Cut(string(b), "\n# [[action]]\n")
	if !ok {
		t.Fatal("the sample has no action that is commented out")
	}
	text := "[[action]]\n" + strings.ReplaceAll("\n"+rest, "\n# ", "\n")
	if l, faults = parse("actions.toml", text); len(faults) > 0 || len(l.actions["hosts-off"].args) == 0 {
		t.Errorf("commented out: %v", faults)
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "actions.toml")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		text        string
		mode        os.FileMode
		code        int
		out, stderr string
	}{
		{"[[action]]\nname = \"a\"\nprogram = \"/bin/sh\"\nargs = [\"-c\", \"true\"]\nuser = \"root\"\nmax_timeout = \"1s\"\n", 0o600, 0, "a: /bin/sh -c true as root, ended after 1s\n", ""},
		{"[[action]]\nname = \"a\"\nprogram = \"/bin/sh\"\nuser = \"root\"\nmax_timeout = \"1s\"\n", 0o602, 1, "", "can be written by others"},
		{"[[action]]\nname = \"a\"\n\n[[action]]\nname = \"b\"\nprogram = \"x\"\n", 0o600, 1, "", file + ":6:11: program \"x\""},
		{"[[action]]\nname = \"a\"\nprogram = \"/nowhere/x\"\nuser = \"no-such-user\"\nmax_timeout = \"1s\"\ndir = \"/nowhere\"\n", 0o600, 1, "", file + ":1:1: action \"a\": program /nowhere/x: no such file"},
	} {
		write(tc.text, tc.mode)
		var out, errs bytes.Buffer
		if code := run([]string{"check", "-c", file}, &out, &errs); code != tc.code || out.String() != tc.out || !strings.Contains(errs.String(), tc.stderr) {
			t.Errorf("exit %d, want %d; %q, %q", code, tc.code, out.String(), errs.String())
		}
	}
	for _, args := range [][]string{{"check", "-c", "/nowhere/x"}, {"check", "x"}, {"dance"}, {}, {"run", "-x"}} {
		if code := run(args, new(bytes.Buffer), new(bytes.Buffer)); code != 2 {
			t.Errorf("%v: exit %d, want 2", args, code)
		}
	}
}

func TestTrusted(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	sub, link := filepath.Join(dir, "sub"), filepath.Join(dir, "link")
	file := filepath.Join(sub, "f")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{file, link} {
		if err := trusted(p); err != nil {
			t.Error(err)
		}
	}
	t.Chdir(sub)
	for _, p := range []string{"f", filepath.Join("..", "link")} { // their way, too, ends at the root
		if err := trusted(p); err != nil {
			t.Error(err)
		}
	}
	for mode, ok := range map[os.FileMode]bool{0o777: false, 0o777 | os.ModeSticky: true, 0o702: false} {
		if err := os.Chmod(sub, mode); err != nil {
			t.Fatal(err)
		}
		if err := trusted(link); (err == nil) != ok {
			t.Errorf("in a directory of mode %v: %v", mode, err)
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(file, 65534, -1); err != nil {
			t.Fatal(err)
		}
		if err := trusted(file); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("of another user: %v", err)
		}
	}
}
