//go:build peers

package uplink

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/wire"
)

// outageTime is how long the broker is away: seconds in CI, minutes under make soak.
const outageTime = 5 * time.Second

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
	os.Exit(m.Run())
}

// child tells a transition and an event for each number that it reads, and says how many are on the disk.
func child() error {
	n, err := strconv.Atoi(os.Getenv(childLife))
	if err != nil {
		return err
	}
	fs, err := journal.OS(os.Getenv(childDir))
	if err != nil {
		return err
	}
	cfg := lifeOf(n, fs, os.Getenv(childURL))
	cfg.HelloEvery = 100 * time.Millisecond
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
		u.outbox.mu.Lock()
		durable := 0
		if j := u.outbox.j; j != nil {
			d := j.DurableSeq()
			for _, m := range u.outbox.marks {
				if m.Epoch == cfg.Epoch && m.seq != 0 && m.seq <= d {
					durable = int(m.Event)
				}
			}
		}
		u.outbox.mu.Unlock()
		fmt.Println("durable", durable)
	}
	return in.Err()
}

type childProcess struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	durable atomic.Int64
	done    chan struct{}
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
			if word != "durable" || err != nil {
				t.Errorf("the agent says %s", sc.Text())
				continue
			}
			c.durable.Store(max(c.durable.Load(), int64(n)))
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

// mosquitto is stopped, 500 transitions are raised, the agent's process is killed in the middle of them,
// raises 500 more in its next life, and then mosquitto comes back: all that was on the disk arrives, in order
// in each life, without a hole; what had not come to the disk are the last ones.
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
	m, dir := newMosquitto(t), filepath.Join(t.TempDir(), "outbox")
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
	sure := first.durable.Load()
	second := startChild(t, 2, dir, url)
	second.say(t, 0, n, outage/2)
	m.start()
	whole := func(got []received, life string, least int) bool {
		return len(of(got, life, "alarm")) >= least && len(of(got, life, "event")) >= least
	}
	got := in.await(t, "both lives", func(got []received) bool { return whole(got, "i1", int(sure)) && whole(got, "i2", n) })
	for life, least := range map[string]int{"i1": int(sure), "i2": n} {
		for _, class := range []string{"alarm", "event"} {
			if s := of(got, life, class); !slices.Equal(s, upTo(len(s))) || len(s) < least {
				t.Errorf("life %s, %s: %d of at least %d came, or out of order", life, class, len(s), least)
			}
		}
	}
	if sure < n/2 {
		t.Errorf("only %d were on the disk when the agent was killed", sure)
	}
	t.Logf("outage %v; of %d transitions of the killed life %d were synced, %d arrived", outage, n+20, sure, len(of(got, "i1", "alarm")))
}

// mischief stands between the agent and its broker: it delays, repeats what is published with DUP, swallows
// acknowledgements, and cuts without a word.
type mischief struct {
	ln    net.Listener
	to    string
	mute  atomic.Bool // nothing passes, and nobody is told
	mu    sync.Mutex
	rnd   *rand.Rand
	open  []net.Conn
	wg    sync.WaitGroup
	dups  atomic.Int64
	ate   atomic.Int64
	every int // one acknowledgement of so many is swallowed
}

func newMischief(t *testing.T, to string, every int) *mischief {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &mischief{ln: ln, to: to, rnd: rand.New(rand.NewPCG(1, 2)), every: every}
	p.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.mu.Lock()
		for _, c := range p.open {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *mischief) serve(c net.Conn) {
	s, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = c.Close()
		return
	}
	p.mu.Lock()
	p.open = append(p.open, c, s)
	p.mu.Unlock()
	p.wg.Go(func() { p.pass(s, c, p.toAgent) })
	p.pass(c, s, p.toBroker)
}

func (p *mischief) one(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rnd.IntN(n) == 0
}

// pass hands on packet by packet. While it is mute a packet is read and lost, as on a cut line.
func (p *mischief) pass(from, to net.Conn, change func([]byte) [][]byte) {
	defer to.Close()
	defer from.Close()
	r := bufio.NewReader(from)
	for {
		b, err := packet(r)
		if err != nil {
			return
		}
		if p.mute.Load() {
			continue
		}
		for _, out := range change(b) {
			if _, err := to.Write(out); err != nil {
				return
			}
		}
	}
}

// packet reads one packet of MQTT, whole.
func packet(r *bufio.Reader) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	b, size := []byte{first}, 0
	for shift := 0; ; shift += 7 {
		c, err := r.ReadByte()
		if err != nil || shift > 21 {
			return nil, fmt.Errorf("a length that ends nowhere: %w", err)
		}
		b = append(b, c)
		size |= int(c&0x7f) << shift
		if c < 0x80 {
			break
		}
	}
	head := len(b)
	b = append(b, make([]byte, size)...)
	_, err = io.ReadFull(r, b[head:])
	return b, err
}

func (p *mischief) toBroker(b []byte) [][]byte {
	if b[0]>>4 != 3 || b[0]&0x06 == 0 {
		return [][]byte{b}
	}
	if p.one(50) {
		<-time.After(5 * time.Millisecond)
	}
	if !p.one(3) {
		return [][]byte{b}
	}
	p.dups.Add(1)
	again := slices.Clone(b)
	again[0] |= 0x08
	return [][]byte{b, again}
}

func (p *mischief) toAgent(b []byte) [][]byte {
	if b[0]>>4 == 4 && p.one(p.every) {
		p.ate.Add(1)
		return nil
	}
	return [][]byte{b}
}

// What delays, repeats with DUP and swallows acknowledgements costs no transition, and no order: each comes at
// least once, and its first arrival is in its place.
func TestMosquittoBehindMischief(t *testing.T) {
	t.Parallel()
	const n = 1000
	m := newMosquitto(t)
	m.start()
	in := newInbox()
	m.subscribe(in, "firebreak/1/#")
	p := newMischief(t, m.address(), 400)
	cfg := config("mqtt://" + p.ln.Addr().String())
	cfg.AckTimeout, cfg.MaxState = 300*time.Millisecond, n
	u, _ := start(t, cfg)
	in.await(t, "it is connected", func(got []received) bool { return count(got, "status") > 0 })
	for i := range n {
		u.Offer(alarm(fmt.Sprint("a", i%7), uint64(i), 1+i%4, i%2 == 0))
		u.Offer(event(i))
		u.Offer(state(i))
	}
	got := in.await(t, "everything", func(got []received) bool {
		return len(distinct(got, "alarm")) == n && len(distinct(got, "event")) == n && len(distinct(got, "state")) == n
	})
	for _, class := range []string{"alarm", "event"} {
		if s := distinct(got, class); !slices.Equal(s, upTo(n)) {
			t.Errorf("%s out of order", class)
		}
	}
	if d := u.Stats().Brokers[0].Dropped; d != (wire.Drops{}) {
		t.Errorf("dropped %+v", d)
	}
	if p.dups.Load() < n/4 || p.ate.Load() == 0 {
		t.Errorf("%d repeated, %d acknowledgements swallowed: no mischief was done", p.dups.Load(), p.ate.Load())
	}
}

// A line that is cut without a FIN looks like silence. The agent finds it, and all that was raised meanwhile
// arrives; readings lose what their bound says, and the gap is named and visible by their numbers.
func TestMosquittoLineCutWithoutAWord(t *testing.T) {
	t.Parallel()
	const n, kept = 1000, 100
	m := newMosquitto(t)
	m.start()
	in := newInbox()
	m.subscribe(in, "firebreak/1/#")
	p := newMischief(t, m.address(), 1<<30)
	cfg := config("mqtt://" + p.ln.Addr().String())
	cfg.AckTimeout, cfg.MaxState = time.Second, kept
	u, _ := start(t, cfg)
	in.await(t, "it is connected", func(got []received) bool { return count(got, "status") > 0 })
	p.mute.Store(true)
	for i := range n {
		u.Offer(alarm(fmt.Sprint("a", i%7), uint64(i), 1+i%4, i%2 == 0))
		u.Offer(state(i))
	}
	awaitStats(t, u, func(s BrokerStats) bool { return !s.Connected && s.LastError != "" })
	p.mute.Store(false)
	got := in.await(t, "all that was raised, and the newest reading", func(got []received) bool {
		return len(distinct(got, "alarm")) == n && slices.Contains(distinct(got, "state"), n)
	})
	if s := distinct(got, "alarm"); !slices.Equal(s, upTo(n)) {
		t.Error("alarms out of order")
	}
	b := u.Stats().Brokers[0]
	if b.Dropped.Alarm+b.Dropped.Event > 0 || len(b.Gaps) == 0 {
		t.Errorf("dropped %+v, gaps %+v", b.Dropped, b.Gaps)
	}
	in.await(t, "all readings that its bound keeps", func(got []received) bool {
		return uint64(len(distinct(got, "state")))+b.Dropped.State == n
	})
}
