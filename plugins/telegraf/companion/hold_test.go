package companion_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/rig"
)

// all and some are of the threads of a process.
const (
	all  = true
	some = false
)

// untilTasks waits until all threads of a process, or some, are in a state: T is stopped, D is held by the kernel.
func untilTasks(t *testing.T, pid int, state string, every bool) {
	t.Helper()
	if in, of := tasksIn(pid, state, every); in == 0 || every && in < of {
		t.Fatalf("%d of %d threads of %d are in state %s", in, of, pid, state)
	}
}

// untilStopped waits until all of a process stands still; false: it is gone.
func untilStopped(pid int) bool {
	in, of := tasksIn(pid, "T", all)
	return in > 0 && in == of
}

// tasksIn waits for it, and says how many threads are in that state, and how many there are: none once it has ended.
func tasksIn(pid int, state string, every bool) (in, of int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); ; {
		stats, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/stat")
		in, of = 0, len(stats)
		for _, s := range stats {
			b, _ := os.ReadFile(s)
			if bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" "+state)) {
				in++
			}
		}
		if of == 0 || in > 0 && (!every || in == of) {
			return in, of
		}
		select {
		case <-tick.C:
		case <-late:
			return in, of
		}
	}
}

// It stops at once, goes on by itself, and says what it has to say: one life.
func TestStandStill(t *testing.T) {
	r := rig.New(t, rig.Variable+"=good", nil)
	r.StandStill() // too early, and nothing comes of it
	r.UntilHealth("")
	for range 10 {
		r.StandStill()
		r.Until("a metric", rig.IsMetric("m"))
	}
	if err := r.End(); err != nil || r.Stats().Lives != 1 || r.Stats().Holds == 0 {
		t.Errorf("%v, %+v", err, r.Stats())
	}
}

// One that would not end with this process is not made to stand still: it would do so for ever.
func TestStandStillOfALooseOne(t *testing.T) {
	r := rig.New(t, rig.Variable+"=loose", nil)
	r.UntilHealth("")
	r.Until("a metric", rig.IsMetric("m"))
	for range 10 {
		r.StandStill()
	}
	if n := r.Stats().Holds; n > 0 {
		t.Errorf("it was made to stand still %d times", n)
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

// One that stands still at the agent's end hears of it, and has the time that each has to end by itself.
func TestEndOfOneThatStandsStill(t *testing.T) {
	quit := filepath.Join(t.TempDir(), "quit")
	for late := time.Now().Add(time.Minute); ; { // on a busy machine the idle class may find no moment to hear it
		r := rig.New(t, rig.Variable+"=good", func(c *companion.Config) {
			c.Hold, c.Still = time.Hour, time.Hour
			c.Env = append(c.Env, rig.QuitVariable+"="+quit)
		})
		r.UntilHealth("")
		r.StandStill()
		untilTasks(t, rig.Children(t)[0], "T", all)
		if err := r.End(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(quit); err == nil {
			return
		}
		if time.Now().After(late) {
			t.Fatal("it has not heard that it shall quit")
		}
	}
}

// One that somebody else has stopped stays so, whatever starts meanwhile, and is found silent.
func TestStandStillRevivesNobody(t *testing.T) {
	for late := time.Now().Add(time.Minute); !revivesNobody(t); {
		if time.Now().After(late) {
			t.Fatal("each one was found silent before it was looked at")
		}
	}
}

// revivesNobody looks at one life; false: on a busy machine it was over too early, and what was counted may be of the next one.
func revivesNobody(t *testing.T) bool {
	t.Helper()
	r := rig.New(t, rig.Variable+"=good", func(c *companion.Config) { c.Beat = 500 * time.Millisecond })
	r.UntilHealth("")
	r.Until("a metric", rig.IsMetric("m"))
	pid := child(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stands := untilStopped(pid)
	for range 10 {
		r.StandStill()
	}
	holds := r.Stats().Holds
	if !stands || r.Stats().Lives > 1 {
		if err := r.End(); err != nil {
			t.Error(err)
		}
		return false
	}
	if holds > 0 {
		t.Errorf("it was taken for one that runs, %d times", holds)
	}
	r.UntilHealth("said nothing")
	if err := r.End(); err != nil {
		t.Error(err)
	}
	return true
}

// While hooks start without a pause, companions of each kind live, end, and are followed by others; none is left.
func TestStandStillBesideTrouble(t *testing.T) {
	for how, want := range map[string]string{"good": "", "silent": "said nothing", "panic": "does not run", "garbage": "no frame of firebreak", "stubborn": "", "held": ""} {
		t.Run(how, func(t *testing.T) {
			r := rig.New(t, rig.Variable+"="+how, func(c *companion.Config) {
				c.Still = 200 * time.Millisecond // used up at once, and the rest of each life goes on without
				if how == "silent" {
					c.Beat = 500 * time.Millisecond
				}
			})
			var wg sync.WaitGroup
			stop := make(chan struct{})
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						r.StandStill()
					}
				}
			})
			r.UntilHealth(want)
			if want == "" {
				if how == "held" {
					untilTasks(t, rig.Children(t)[0], "D", some)
				}
				r.Until("a metric", rig.IsMetric("m"))
			}
			err := r.End()
			close(stop)
			wg.Wait()
			if left := rig.Children(t); err != nil || len(left) > 0 {
				t.Errorf("%v, left %v", err, left)
			}
		})
	}
}
