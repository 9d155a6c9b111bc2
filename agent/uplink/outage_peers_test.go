//go:build peers

package uplink

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/agent/journal"
)

// outageTime is how long the broker is away in CI; make soak has ten minutes.
const outageTime = time.Minute

// The agent's process of TestKilledWhileMosquittoIsStopped is this test binary once more.
const childDir, childURL, childLife = "FIREBREAK_TEST_DIR", "FIREBREAK_TEST_URL", "FIREBREAK_TEST_LIFE"

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		if err := child(); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(childHub) != "" {
		if err := hubChild(); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child tells a transition, an event and a reading for each number that it reads, and says which it has told.
func child() error {
	n, err := strconv.Atoi(os.Getenv(childLife))
	if err != nil {
		return err
	}
	dir := os.Getenv(childDir)
	fs, err := journal.OS(filepath.Join(dir, "outbox"))
	if err != nil {
		return err
	}
	cfg := lifeOf(n, fs, os.Getenv(childURL))
	cfg.HelloEvery = 100 * time.Millisecond
	if cfg.Memory, err = openFileMemory(dir, n); err != nil {
		return err
	}
	u, err := New(cfg)
	if err != nil {
		return err
	}
	go func() { _ = u.Run(context.Background()) }()
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		i, err := strconv.Atoi(in.Text())
		if err != nil {
			return err
		}
		u.Offer(alarm(fmt.Sprint("a", i%7), uint64(i), 1+i%4, i%2 == 0))
		u.Offer(event(i))
		u.Offer(state(i))
		fmt.Println("told", i+1)
	}
	return in.Err()
}

// fileMemory is a memory in a file, which a SIGKILL leaves as the run directory's.
type fileMemory struct {
	*os.File
	left [][]byte
	old  []string
}

func (m *fileMemory) Left() [][]byte { return m.left }
func (m *fileMemory) Forget() error {
	for _, name := range m.old {
		_ = os.Remove(name)
	}
	return nil
}

func openFileMemory(dir string, life int) (m *fileMemory, err error) {
	m = &fileMemory{}
	for i := 1; i < life; i++ {
		name := filepath.Join(dir, fmt.Sprint("told.", i))
		if b, err := os.ReadFile(name); err == nil {
			m.left, m.old = append(m.left, b), append(m.old, name)
		}
	}
	m.File, err = os.Create(filepath.Join(dir, fmt.Sprint("told.", life)))
	return m, err
}

type childProcess struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	told atomic.Int64
	done chan struct{}
}

func startChild(t *testing.T, life int, dir, url string) *childProcess {
	t.Helper()
	c := &childProcess{cmd: exec.Command(os.Args[0]), done: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), childDir+"="+dir, childURL+"="+url, fmt.Sprintf("%s=%d", childLife, life))
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.done)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			word, rest, _ := strings.Cut(sc.Text(), " ")
			n, err := strconv.Atoi(rest)
			if word != "told" || err != nil {
				t.Errorf("the agent says %s", sc.Text())
				continue
			}
			c.told.Store(int64(n))
		}
	}()
	t.Cleanup(c.kill)
	return c
}

// kill is SIGKILL.
func (c *childProcess) kill() {
	_ = c.cmd.Process.Kill()
	<-c.done
	_ = c.cmd.Wait()
}

// say lets the child tell n things, spread over d.
func (c *childProcess) say(t *testing.T, from, n int, d time.Duration) {
	t.Helper()
	tick := time.NewTicker(max(d/time.Duration(n), time.Microsecond))
	defer tick.Stop()
	for i := range n {
		<-tick.C
		if _, err := fmt.Fprintln(c.in, from+i); err != nil {
			t.Fatal(err)
		}
	}
}

// mosquitto is stopped, 500 transitions are raised, the agent's process is killed in the middle of them at
// a random moment, raises 500 more in its next life, and then mosquitto comes back: all that was told arrives, in order
// in each life, without a hole.
func TestKilledWhileMosquittoIsStopped(t *testing.T) {
	t.Parallel()
	outage := outageTime
	if s := os.Getenv("FIREBREAK_OUTAGE"); s != "" {
		var err error
		if outage, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	const n = 500
	m, dir := newMosquitto(t), t.TempDir()
	url := "mqtt://" + m.address()
	m.start()
	in := newInbox()
	m.subscribe(in, "firebreak/1/#")
	first := startChild(t, 1, dir, url)
	first.say(t, 0, 20, 200*time.Millisecond)
	in.await(t, "what was told before", func(got []received) bool { return len(of(got, "i1", "alarm")) == 20 })
	m.stop()
	first.say(t, 20, n, outage/2)
	first.kill()
	told := int(first.told.Load())
	second := startChild(t, 2, dir, url)
	second.say(t, 0, n, outage/2)
	m.start()
	arrives(t, in, map[string]int{"i1": told, "i2": n})
	if told < n {
		t.Errorf("%d were told before the kill", told)
	}
}

// arrives waits until so many alarms and events of each life have come, and holds them to their order.
func arrives(t *testing.T, in *inbox, lives map[string]int) {
	t.Helper()
	got := in.await(t, "all that was told", func(got []received) bool {
		for life, least := range lives {
			if len(of(got, life, "alarm")) < least || len(of(got, life, "event")) < least {
				return false
			}
		}
		return true
	})
	for life := range lives {
		for _, class := range []string{"alarm", "event"} {
			if s := of(got, life, class); !slices.Equal(s, upTo(len(s))) {
				t.Errorf("life %s, %s: %d came, out of order", life, class, len(s))
			}
		}
	}
}

// Killed at random moments, again and again, while no broker is there, and while it tells as fast as it can: what
// it had told by then arrives, all of it, from each life.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	const lives = 20
	m, dir := newMosquitto(t), t.TempDir()
	url := "mqtt://" + m.address()
	told := map[string]int{}
	for life := 1; life <= lives; life++ {
		c := startChild(t, life, dir, url)
		go func() { // until the kill, and not more than an agent's bounds hold
			for i := range 400 {
				if _, err := fmt.Fprintln(c.in, i); err != nil {
					return
				}
			}
		}()
		for c.told.Load() == 0 {
			runtime.Gosched()
		}
		<-time.After(rand.N(20 * time.Millisecond))
		c.kill()
		told[fmt.Sprint("i", life)] = int(c.told.Load())
	}
	m.start()
	in := newInbox()
	m.subscribe(in, "firebreak/1/#")
	last := startChild(t, lives+1, dir, url)
	last.say(t, 0, 1, time.Millisecond)
	arrives(t, in, told)
	t.Logf("told %v", told)
}
