package exec

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"
)

func TestDoneIsStored(t *testing.T) { doneIsStored(t, direct) }

func doneIsStored(t *testing.T, w way) {
	t.Setenv("AGENT_SECRET", "hunter2")
	b := w.bench(t, `echo start >>$W/starts; cat; env | grep -e FIREBREAK -e SECRET | sort; echo err >&2`)
	c := call("drain")
	c.Why = []byte("no json")
	o := b.do(c)
	want(t, o, plugins.Done, false, "done")
	first, env, _ := strings.Cut(o.Output, "\n")
	var body plugins.Body
	if err := json.Unmarshal([]byte(first), &body); err != nil {
		t.Fatalf("stdin %q: %v", first, err)
	}
	if body.Key != "evacuate/b3/2b/drain/41/do/0" || body.Mark != "real" || body.Agent != "rack1" || !body.Journaled || string(body.Why) != `"not JSON: no json"` {
		t.Errorf("stdin: %+v", body)
	}
	for _, l := range []string{"FIREBREAK_KEY=evacuate/b3/2b/drain/41/do/0\n", "FIREBREAK_STAGE=2b\n", "FIREBREAK_EPISODE=41\n", "FIREBREAK_ATTEMPT=0\n", "FIREBREAK_MARK=real\n", "err\n"} {
		if !strings.Contains(env, l) {
			t.Errorf("no %q in %q", l, env)
		}
	}
	if strings.Contains(env, "hunter2") {
		t.Error("the agent's own environment reached the command")
	}
	again := b.do(c)
	want(t, again, plugins.Done, true, "done")
	if again.Output != o.Output {
		t.Errorf("stored output %q, want %q", again.Output, o.Output)
	}
	if n := b.lines("starts"); n != 1 {
		t.Errorf("started %d times", n)
	}
	c.Key.Attempt++
	want(t, b.do(c), plugins.Done, false, "done")
	if n := b.lines("starts"); n != 2 {
		t.Errorf("the next attempt is another call: started %d times, want 2", n)
	}
}

func TestKnownFailures(t *testing.T) { knownFailures(t, direct) }

func knownFailures(t *testing.T, w way) {
	noShebang := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(noShebang, []byte("echo hello\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		command []string
		timeout time.Duration
		code    int
		detail  string
	}{
		"exit code":   {[]string{"sh", "-c", "echo why; exit 7"}, time.Minute, 7, "exit code 7"},
		"signal":      {[]string{"sh", "-c", "kill -9 $$"}, time.Minute, 137, "signal killed"},
		"missing":     {[]string{"/nowhere/at-all"}, time.Minute, 0, "no such file"},
		"no shebang":  {[]string{noShebang}, time.Minute, 0, "first line"},
		"no time":     {[]string{"true"}, time.Nanosecond, 0, "had passed"},
		"no time-out": {[]string{"true"}, 0, 0, "not above zero"},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.bench(t, "", func(c *Config) { c.Command = tc.command })
			c := call("x")
			c.Timeout = tc.timeout
			o := b.do(c)
			want(t, o, plugins.Failed, false, tc.detail)
			if o.ExitCode != tc.code {
				t.Errorf("exit code %d, want %d", o.ExitCode, tc.code)
			}
		})
	}
}

func TestOutputIsBoundedAndNeverBlocks(t *testing.T) { outputIsBoundedAndNeverBlocks(t, direct) }

func outputIsBoundedAndNeverBlocks(t *testing.T, w way) {
	b := w.bench(t, `i=0; while [ $i -lt 2000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo end >$W/end`,
		func(c *Config) { c.OutputLimit = 1000 })
	o := b.do(call("x"))
	want(t, o, plugins.Done, false, "")
	if len(o.Output) != 1000 || b.lines("end") != 1 {
		t.Errorf("%d bytes kept, want 1000; end reached %d", len(o.Output), b.lines("end"))
	}
}

func TestMarks(t *testing.T) { marks(t, direct) }

func marks(t *testing.T, w way) {
	for _, tc := range []struct {
		drill  string
		mark   plugins.Mark
		result plugins.Result
		detail string
	}{
		{"", plugins.MarkDrill, plugins.Skipped, "no drill support"},
		{"dry-run", plugins.MarkDrill, plugins.Skipped, "would run "},
		{"native", plugins.MarkDrill, plugins.Done, "done"},
		{"native", plugins.MarkDry, plugins.Skipped, "would run "},
		{"native", plugins.Mark(9), plugins.Skipped, "not known"},
	} {
		b := w.bench(t, `echo $FIREBREAK_MARK >>$W/starts`, func(c *Config) { c.Drill = tc.drill })
		c := call("x")
		c.Mark = tc.mark
		want(t, b.do(c), tc.result, false, tc.detail)
		if n := b.lines("starts"); (n == 1) != (tc.result == plugins.Done) {
			t.Errorf("%+v: started %d times", tc, n)
		}
		// A drill counts episodes on a copy: the real call of the same key must run.
		c.Mark = plugins.MarkReal
		want(t, b.do(c), plugins.Done, false, "done")
	}
}

func TestValidateTellsAllFaults(t *testing.T) {
	err := Config{
		Command: []string{"bin/x", "a\x00"}, Env: map[string]string{"FIREBREAK_KEY": "x", "A=B": ""}, Dir: "rel", RunDir: "run",
		Drill: "yes", OutputLimit: -1, Grace: time.Minute, PowersOn: true, Irreversible: true,
	}.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, w := range []string{"relative path", "NUL", "FIREBREAK_KEY", "A=B", "dir \"rel\"", "run_dir", "drill \"yes\"", "output_limit", "grace", "S1"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in:\n%v", w, err)
		}
	}
	for text, c := range map[string]Config{
		"action and command are both there": {Action: "a", Command: []string{"true"}, RunDir: "/run/x"},
		"cannot be a name":                  {Action: "a/b"},
		"helper \"x\" is not absolute":      {Action: "a", Helper: "x"},
		"env belongs to the action":         {Action: "a", Env: map[string]string{"A": "b"}},
		"dir belongs to the action":         {Action: "a", Dir: "/"},
		"go with action":                    {Command: []string{"true"}, Helper: "/x", RunDir: "/run/x"},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", c, err, text)
		}
	}
	if err := (Config{Action: "a"}).Validate(); err != nil {
		t.Errorf("a good action: %v", err)
	}
	if err := (Config{RunDir: "/run/x"}).Validate(); err == nil || !strings.Contains(err.Error(), "command is empty") {
		t.Errorf("empty command: %v", err)
	}
	if err := (Config{Command: []string{"true"}, RunDir: "/run/x"}).Validate(); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func TestProbe(t *testing.T) {
	good := newBench(t, "true")
	if err := good.hook.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(good.hook.cfg.RunDir + "/.probe-*"); len(left) != 0 {
		t.Errorf("probe left %v", left)
	}
	bad := newBench(t, "", func(c *Config) { c.Command = []string{"no-such-program"}; c.Dir = "/nowhere" })
	bad.hook.run.Self = "/bin/true"
	if err := os.Mkdir(bad.hook.cfg.RunDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(bad.hook.cfg.RunDir, 0o777); err != nil {
		t.Fatal(err)
	}
	err := bad.hook.Probe(t.Context())
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, w := range []string{"no-such-program", "/nowhere", "written by others", "does not answer"} {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in:\n%v", w, err)
		}
	}
}

func TestAShimThatCannotRunIsAKnownFailure(t *testing.T) {
	b := newBench(t, "echo start >>$W/starts")
	b.hook.run.Self = "/bin/true"
	want(t, b.do(call("x")), plugins.Failed, false, "before it could start")
	self := b.self
	b.hook.run.Self = self
	want(t, b.do(call("x")), plugins.Done, false, "") // nothing was stored: it had not been started
	if n := b.lines("starts"); n != 1 {
		t.Errorf("started %d times", n)
	}
}

func TestSweep(t *testing.T) {
	b := newBench(t, `case $FIREBREAK_STEP in live) echo up >$W/up; read x <$W/gate;; esac`)
	b.fifo("up")
	b.fifo("gate")
	for _, s := range []string{"old", "kept"} {
		want(t, b.do(call(s)), plugins.Done, false, "")
	}
	if err := b.hook.Close(t.Context()); err != nil { // a shim that is just ending still has its lock
		t.Fatal(err)
	}
	live := make(chan plugins.Outcome)
	go func() { live <- b.hook.Do(context.Background(), call("live"), nil) }()
	b.read("up")
	if n, err := Sweep(b.run(), time.Hour, nil); n != 0 || err != nil {
		t.Errorf("young ones: %d, %v", n, err)
	}
	keep := call("kept").ID()
	if n, err := Sweep(b.run(), -time.Hour, func(id string) bool { return id == keep }); n != 1 || err != nil {
		t.Errorf("swept %d, %v, want 1", n, err)
	}
	b.open("gate")
	want(t, <-live, plugins.Done, false, "")
	want(t, b.do(call("kept")), plugins.Done, true, "")
	want(t, b.do(call("old")), plugins.Done, false, "")
	if left, _ := filepath.Glob(b.run() + "/.gone*"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestTraits(t *testing.T) {
	c := Config{Action: "a", Irreversible: true, Drill: "native"}
	if got, err := c.Traits(""); err != nil || got != (plugins.Traits{Irreversible: true, Drill: "native"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Traits("x"); err == nil {
		t.Error("a target was taken")
	}
	if c.Note() != "" || (Config{}).Note() == "" {
		t.Error("check recommends the helper to the wrong one")
	}
}

// S1: what switches power on runs for the order of an engineer and for no other key.
func TestPowersOnByOrderAlone(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "on")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, err := New("feed", Config{Command: []string{"/bin/sh", "-c", "echo on > " + marker}, PowersOn: true, RunDir: t.TempDir()}, self, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := plugins.Key{Plan: "evacuate", Zone: "b3", Stage: plugins.Prepare, Step: "feed", Episode: 1}
	undo, order := key, plugins.Key{Plan: plugins.EnergisePlan, Zone: "b3", Step: "feed", Episode: 1}
	undo.Undo = true
	for _, k := range []plugins.Key{key, undo} {
		o := h.Do(t.Context(), plugins.Call{Key: k, Timeout: 5 * time.Second}, nil)
		if _, err := os.Stat(marker); o.Result != plugins.Failed || !strings.Contains(o.Detail, "S1") || err == nil {
			t.Errorf("%v: %v, %s", k, o.Result, o.Detail)
		}
	}
	o := h.Do(t.Context(), plugins.Call{Key: order, Timeout: 5 * time.Second}, nil)
	if _, err := os.Stat(marker); o.Result != plugins.Done || err != nil {
		t.Errorf("by order: %v, %s, %v", o.Result, o.Detail, err)
	}
}
