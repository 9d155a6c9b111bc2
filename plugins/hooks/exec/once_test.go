package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"
)

func TestKilledAgentNeitherEndsNorDoubles(t *testing.T) { killedAgentNeitherEndsNorDoubles(t, direct) }

func killedAgentNeitherEndsNorDoubles(t *testing.T, w way) {
	b := w.bench(t, `echo start >>$W/starts; echo up >$W/up; read x <$W/gate; echo out`)
	b.fifo("up")
	b.fifo("gate")
	agent, _ := b.agent(call("x"), 1)
	b.read("up") // the command runs
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	b.open("gate")
	o := <-out
	want(t, o, plugins.Done, true, "done")
	if o.Output != "out\n" || b.lines("starts") != 1 {
		t.Errorf("output %q, %d starts", o.Output, b.lines("starts"))
	}
}

// The agent is killed at any instant around the start; whatever it had come to, the next agent
// gets the work done once.
func TestAgentKilledAroundTheStart(t *testing.T) { agentKilledAroundTheStart(t, direct) }

func agentKilledAroundTheStart(t *testing.T, w way) {
	b := w.bench(t, `echo $FIREBREAK_STEP >>$W/starts`)
	const rounds = 25
	for i := range rounds {
		c := call(fmt.Sprintf("s%d", i))
		agent, _ := b.agent(c, 1)
		timer := time.AfterFunc(time.Duration(i)*time.Millisecond, func() { _ = agent.Process.Kill() })
		_ = agent.Wait()
		timer.Stop()
		if o := b.do(c); o.Result != plugins.Done {
			t.Errorf("round %d: %+v", i, o)
		}
	}
	s, err := os.ReadFile(b.path("starts"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(s))
	slices.Sort(f)
	if n := len(f); n != rounds || len(slices.Compact(f)) != rounds {
		t.Errorf("%d starts for %d calls: %v", n, rounds, f)
	}
}

func TestManyAtOnceFromTwoAgentsStartOnce(t *testing.T) { manyAtOnceFromTwoAgentsStartOnce(t, direct) }

func manyAtOnceFromTwoAgentsStartOnce(t *testing.T, w way) {
	b := w.bench(t, `echo start >>$W/starts; echo out`)
	for round := range 5 {
		c := call(fmt.Sprintf("s%d", round))
		a1, out1 := b.agent(c, 8)
		a2, out2 := b.agent(c, 8)
		fresh := 0
		for _, err := range []error{a1.Wait(), a2.Wait()} {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, js := range []string{out1.String(), out2.String()} {
			var outs []plugins.Outcome
			if err := json.Unmarshal([]byte(js), &outs); err != nil || len(outs) != 8 {
				t.Fatalf("%q: %v", js, err)
			}
			for _, o := range outs {
				if o.Result != plugins.Done || o.Output != "out\n" {
					t.Errorf("%+v", o)
				}
				if !o.Attached {
					fresh++
				}
			}
		}
		if n := b.lines("starts"); n != round+1 || fresh != 1 {
			t.Fatalf("round %d: %d starts, %d say that they started it", round, n, fresh)
		}
	}
}

func TestWhatIsFoundOfADeadAgent(t *testing.T) { whatIsFoundOfADeadAgent(t, direct) }

func whatIsFoundOfADeadAgent(t *testing.T, w way) {
	boot := shim.BootID()
	for name, tc := range map[string]struct {
		files  map[string]string
		starts int
		result plugins.Result
	}{
		"empty directory":            {nil, 1, plugins.Done},
		"files, no marker":           {map[string]string{shim.LockFile: "", shim.StdinFile: "x", shim.SpecFile: "{", shim.OutcomeFile + ".new": "torn"}, 1, plugins.Done},
		"marker without group":       {map[string]string{shim.StartedFile: `{"boot":"` + boot + `","session":999999}`}, 0, plugins.Failed},
		"marker torn":                {map[string]string{shim.StartedFile: ""}, 0, plugins.Failed},
		"marker of another boot":     {map[string]string{shim.StartedFile: fmt.Sprintf(`{"boot":"other","session":%d,"group":%d}`, os.Getpid(), os.Getpid())}, 0, plugins.Failed},
		"outcome torn":               {map[string]string{shim.StartedFile: "{}", shim.OutcomeFile: "firebreak-outc"}, 0, plugins.Failed},
		"outcome torn and no marker": {map[string]string{shim.OutcomeFile: ""}, 0, plugins.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			b := w.bench(t, `echo start >>$W/starts`)
			d := b.dir(call("x"))
			if err := os.MkdirAll(string(d), 0o700); err != nil {
				t.Fatal(err)
			}
			for f, s := range tc.files {
				if err := os.WriteFile(d.Path(f), []byte(s), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want(t, b.do(call("x")), tc.result, tc.starts == 0, "")
			want(t, b.do(call("x")), tc.result, true, "")
			if n := b.lines("starts"); n != tc.starts {
				t.Errorf("started %d times, want %d", n, tc.starts)
			}
		})
	}
}

func TestUnreadableIsUnknown(t *testing.T) { unreadableIsUnknown(t, direct) }

func unreadableIsUnknown(t *testing.T, w way) {
	b := w.bench(t, `echo start >>$W/starts`)
	d := b.dir(call("x"))
	if err := os.MkdirAll(d.Path(shim.OutcomeFile), 0o700); err != nil { // a directory in its place: cannot be read
		t.Fatal(err)
	}
	want(t, b.do(call("x")), plugins.Unknown, false, "cannot be read")
	c := call("y")
	if err := os.WriteFile(string(b.dir(c)), nil, 0o600); err != nil { // no directory can be made here
		t.Fatal(err)
	}
	want(t, b.do(c), plugins.Unknown, false, "cannot be locked")
	if n := b.lines("starts"); n != 0 {
		t.Errorf("started %d times", n)
	}
}

// Whoever waits for a held key can stop waiting, and goes on when the holder is gone.
func TestWaitingForAHeldKey(t *testing.T) {
	b := newBench(t, `echo start >>$W/starts`)
	lock, err := b.dir(call("x")).Lock()
	if err != nil || lock == nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	want(t, b.hook.Do(ctx, call("x"), nil), plugins.Unknown, true, "still holds the key")
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	lock.Close()
	want(t, <-out, plugins.Done, false, "done")
}

func TestStoppingAgentLeavesTheCommand(t *testing.T) { stoppingAgentLeavesTheCommand(t, direct) }

func stoppingAgentLeavesTheCommand(t *testing.T, w way) {
	b := w.bench(t, `echo start >>$W/starts; echo up >$W/up; read x <$W/gate`)
	b.fifo("up")
	b.fifo("gate")
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(ctx, call("x"), nil) }()
	b.read("up")
	cancel()
	want(t, <-out, plugins.Unknown, false, "stopped waiting")
	want(t, b.hook.Do(ctx, call("never"), nil), plugins.Unknown, false, "not started")
	if err := b.hook.Close(ctx); err == nil && w == direct {
		t.Error("Close says that nothing runs")
	}
	b.open("gate")
	want(t, b.do(call("x")), plugins.Done, true, "done")
	if n := b.lines("starts"); n != 1 {
		t.Errorf("started %d times", n)
	}
}

// Of two hundred that are due at once none waits for the end of another: each is let go when the last has been
// started. What they take is BenchmarkTwoHundredDueAtOnce's affair.
func TestTwoHundredAtOnce(t *testing.T) { twoHundredAtOnce(t, direct) }

func twoHundredAtOnce(t *testing.T, w way) {
	b := w.bench(t, `echo start >>$W/starts; read x <$W/gate`, onTmpfs(t))
	b.fifo("gate")
	gate, err := os.OpenFile(b.path("gate"), os.O_RDWR, 0) // both ways: whoever comes waits for its line, and not for us
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	const n = 200
	ended := make(chan struct{})
	go func() { defer close(ended); b.burst(n, "r") }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for running := true; running && b.lines("starts") < n; {
		select {
		case <-tick.C:
		case <-ended:
			running = false // reported already: none of them can end well
		}
	}
	if _, err := gate.Write(bytes.Repeat([]byte("\n"), n)); err != nil {
		t.Fatal(err)
	}
	<-ended
	if got := b.lines("starts"); got != n {
		t.Errorf("%d starts, want %d", got, n)
	}
}

// burst makes n calls at once, and logs when their commands were started.
func (b *bench) burst(n int, name string) {
	b.t.Helper()
	var wg sync.WaitGroup
	outs := make([]plugins.Outcome, n)
	for i := range outs {
		wg.Go(func() {
			c := call(fmt.Sprintf("%s-%d", name, i))
			c.Timeout = time.Minute
			outs[i] = b.hook.Do(context.Background(), c, nil)
		})
	}
	wg.Wait()
	var started []time.Duration
	for i, o := range outs {
		if o.Result != plugins.Done {
			b.t.Errorf("%d: %+v", i, o)
		}
		started = append(started, b.startedAfter(call(fmt.Sprintf("%s-%d", name, i))))
	}
	slices.Sort(started)
	b.t.Logf("from Do to the started command: p50 %v, p99 %v, max %v", started[n/2], started[n*99/100], started[n-1])
}

// startedAfter is the time from Do to the started command, on the clock that agent and shim share.
func (b *bench) startedAfter(c plugins.Call) time.Duration {
	e, err := b.dir(c).ReadEnding(c.ID())
	if err != nil {
		b.t.Fatal(err)
	}
	return time.Duration(e.StartedNs)
}

// BenchmarkExecStart measures from the decision (Do) to the command's start.
func BenchmarkExecStart(b *testing.B) {
	measureStart(b, newBench(b, "", func(c *Config) { c.Command = []string{"true"} }, onTmpfs(b)))
}

// BenchmarkHelperStart measures the same through the helper, with everything on the way; and beside
// it the agent's own shim, which is the agent's program started again.
func BenchmarkHelperStart(b *testing.B) {
	command := func(c *Config) { c.Command = []string{"true"} }
	b.Run("helper", func(b *testing.B) { measureStart(b, viaHelper.bench(b, "", command, onTmpfs(b))) })
	b.Run("agent", func(b *testing.B) {
		self, err := built("firebreak", "../../../agent")
		if err != nil {
			b.Fatal(err)
		}
		h := newBench(b, "", command, onTmpfs(b))
		h.hook.run.Self = self
		measureStart(b, h)
	})
}

func measureStart(b *testing.B, h *bench) {
	var started []time.Duration
	for i := 0; b.Loop(); i++ {
		c := call(fmt.Sprintf("s%d", i))
		if o := h.hook.Do(context.Background(), c, nil); o.Result != plugins.Done {
			b.Fatalf("%+v", o)
		}
		started = append(started, h.startedAfter(c))
	}
	quantiles(b, started)
}

func quantiles(b *testing.B, d []time.Duration) {
	slices.Sort(d)
	ms := func(d time.Duration) float64 { return float64(d) / 1e6 }
	b.ReportMetric(ms(d[len(d)/2]), "p50-ms")
	b.ReportMetric(ms(d[len(d)*99/100]), "p99-ms")
	b.ReportMetric(ms(d[len(d)-1]), "max-ms")
}
