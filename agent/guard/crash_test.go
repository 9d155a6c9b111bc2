package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/journal"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/plugins/hooks/exec"
	"firebreak/plugins/hooks/exec/shim"
	"firebreak/sensors"
)

// The test binary is started again as the agent that is killed, and as the shim of its hooks.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case shim.Command:
			os.Exit(shim.Main(os.Args[2:]))
		case "crash-agent":
			os.Exit(crashAgent(os.Args[2], os.Args[3]))
		}
	}
	os.Exit(m.Run())
}

// crashRules is a plan of eight steps in four stages; each command takes some 20 ms.
func crashRules() *core.Rules {
	step := func(stage plugins.Stage, name string, after ...int) response.Step {
		return response.Step{Name: name, Stage: stage, After: after, Timeout: 20 * time.Second, Cap: time.Minute, Backoff: 100 * time.Millisecond, Retries: 2}
	}
	r := rules(
		step(plugins.Prepare, "freeze"), step(plugins.Prepare, "flush", 0),
		step(plugins.SwitchOver, "drain", 1), step(plugins.SwitchOver, "dns"),
		step(plugins.Shed, "hosts", 2), step(plugins.Shed, "flaky", 3),
		step(plugins.Isolate, "strings", 4, 5), step(plugins.Isolate, "breaker", 6))
	st := r.Response.Plans[0].Stages
	st[3].Countdown, st[4].Countdown = 60*time.Millisecond, 120*time.Millisecond
	return r
}

// crashHook proves its start: one line for each process. flaky fails at its first attempt.
const crashHook = `echo "$FIREBREAK_KEY $$" >> "$PROOF"; sleep 0.02; [ "$FIREBREAK_STEP/$FIREBREAK_ATTEMPT" != flaky/0 ]`

// crashAgent is a small agent: a fire, the guard, a journal on disk, exec hooks. It ends with 0
// once every step is done.
func crashAgent(dir, bound string) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, err); return 1 }
	wait, err := time.ParseDuration(bound)
	if err != nil {
		return fail(err)
	}
	disk, err := journal.OS(filepath.Join(dir, "journal"))
	if err != nil {
		return fail(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	j, found, err := journal.Open(ctx, disk, journal.Options{})
	if err != nil {
		return fail(err)
	}
	r, clock := crashRules(), sensors.NewClock()
	r.JournalBound = wait
	rec, err := Recover(r, found, nil, clock.Now(), sensors.BootID(), false, time.Now())
	if err != nil {
		return fail(err)
	}
	if found.Damaged {
		return fail(fmt.Errorf("damaged journal: %v", rec.Notes))
	}
	hook, err := crashExec(dir)
	if err != nil {
		return fail(err)
	}
	in, left := newInbox(), 0
	all := &fakePub{offer: func(u plugins.Update) {
		if u.Plan == nil || u.Plan.Episode == 0 {
			return
		}
		if left = unfinished(u.Plan.Steps); left == 0 {
			cancel()
		}
	}}
	g, err := New(Config{Core: rec.Core, Clock: clock, Resume: rec.Resume, Journal: j, Boot: Boot{ID: sensors.BootID(), Epoch: rec.Epoch + 1},
		Hooks: []plugins.Hook{hook}, Publishers: []plugins.Publisher{all}, Inbox: in})
	if err != nil {
		return fail(err)
	}
	burning := make(chan struct{})
	go func() { defer close(burning); burn(ctx, clock, in, j) }()
	err = g.Run(ctx)
	<-burning
	for _, s := range rec.Core.View(clock.Now(), "evacuate").Steps {
		fmt.Printf("%s %s %v %s\n", s.Step, s.State, s.Journaled, s.Detail)
	}
	closing, done := context.WithTimeout(context.Background(), 10*time.Second)
	defer done()
	if err := errors.Join(err, j.Close(closing), disk.Close()); err != nil {
		return fail(err)
	}
	return left
}

func crashExec(dir string) (*exec.Hook, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return exec.New("hook", exec.Config{Command: []string{"sh", "-c", crashHook}, RunDir: filepath.Join(dir, "run"),
		Env: map[string]string{"PROOF": filepath.Join(dir, "proof")}}, self, nil)
}

// burn plays a fire: smoke at once, heat 60 ms later, read every 10 ms. It waits until what the
// agent writes while it is idle is durable, the id of the next episode above all (S9).
func burn(ctx context.Context, clock *sensors.Clock, in *inbox, j *journal.Journal) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; {
		if st := j.Stats(); n > 0 || st.Assigned >= 3 && st.Queued == 0 {
			n++
			temp := map[bool]float64{true: 90, false: 20}[n > 6]
			for p, v := range map[sensors.PointID]float64{smoke: 5, heat: temp} {
				in.put(sensors.Batch{Device: sensors.DeviceID(p), Wall: time.Now(),
					Readings: []sensors.Reading{{Point: p, Value: v, Quality: sensors.GoodQuality, At: clock.Now()}}})
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func unfinished(steps []plugins.StepState) (n int) {
	for _, s := range steps {
		if s.State != "done" {
			n++
		}
	}
	return n
}

// S9, S10: the agent is killed at random moments of a plan. Each run ends with every step done, no
// step is started under two keys unless the first is known to have failed, no process is doubled.
func TestKilledAtRandomMoments(t *testing.T) {
	runs := 50
	if testing.Short() {
		runs = 8
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("FIREBREAK_CRASH_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("FIREBREAK_CRASH_SEED=%d", seed)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var kills [4]int
	for i := range runs {
		rnd := rand.New(rand.NewPCG(seed, uint64(i)))
		// Every second run starts its hooks before their records can be durable: they are lost
		// with the kill, and the same keys must come again.
		k := crashRun(t, self, t.TempDir(), []string{"100ms", "1us"}[i%2], rnd)
		if t.Failed() {
			t.Fatalf("run %d of FIREBREAK_CRASH_SEED=%d", i, seed)
		}
		kills[k]++
	}
	t.Logf("%d runs, by number of kills: %v", runs, kills)
	if kills[0] == runs {
		t.Error("the plan always ended before its first kill")
	}
}

// crashRun kills up to three times, each at a random moment, and then lets the plan end.
func crashRun(t *testing.T, self, dir, bound string, rnd *rand.Rand) (kills int) {
	for n := range 4 {
		var out bytes.Buffer
		cmd := osexec.Command(self, "crash-agent", dir, bound)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		limit := 30 * time.Second
		if n < 3 && (n == 0 || rnd.IntN(2) == 0) {
			limit = time.Duration(rnd.IntN(400)) * time.Millisecond
		}
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("agent %d: %v\n%s", n, err, out.String())
			}
			checkProof(t, filepath.Join(dir, "proof"), out.String())
			return kills
		case <-time.After(limit):
			_ = cmd.Process.Kill()
			<-ended
			kills++
			if limit > time.Second {
				t.Errorf("agent %d did not end:\n%s", n, out.String())
				return kills
			}
		}
	}
	t.Error("unreachable")
	return kills
}

func checkProof(t *testing.T, file, said string) {
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	starts, attempts := map[string]int{}, map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		ks, _, _ := strings.Cut(line, " ")
		key, err := plugins.ParseKey(ks)
		if err != nil {
			t.Fatal(err)
		}
		if starts[ks]++; starts[ks] > 1 {
			t.Errorf("two processes under %s", ks)
		}
		attempts[key.Step] += fmt.Sprintf("%d/%d ", key.Episode, key.Attempt)
	}
	for _, s := range crashRules().Response.Plans[0].Steps {
		n := len(strings.Fields(attempts[s.Name]))
		if want := map[bool]int{true: 2, false: 1}[s.Name == "flaky"]; n != want {
			t.Errorf("step %s was started as %q, want %d times", s.Name, attempts[s.Name], want)
		}
	}
	if t.Failed() {
		t.Logf("proof:\n%s\nagent:\n%s", b, said)
	}
}
