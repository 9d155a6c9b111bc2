//go:build peers

package uplink

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	fhub "firebreak/agent/hub"
)

// The hub's process of BenchmarkFleet is this test binary once more: its directory and address.
const childHub = "FIREBREAK_TEST_HUB"

func hubChild() error {
	dir, listen, _ := strings.Cut(os.Getenv(childHub), "|")
	h, err := fhub.Open(fhub.Config{Name: "hub", Listen: listen, Dir: dir, MaxConnections: 20_000})
	if err != nil {
		return err
	}
	fmt.Println("ready", h.Port())
	_, _ = io.Copy(io.Discard, os.Stdin)
	h.Close()
	return nil
}

// hubProcess is a hub that is started and stopped at one address.
type hubProcess struct {
	b    *testing.B
	dir  string
	port int
	stop func()
}

func (h *hubProcess) start() {
	h.b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|127.0.0.1:%d", childHub, h.dir, h.port))
	in, err := cmd.StdinPipe()
	if err != nil {
		h.b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		h.b.Fatal(err)
	}
	h.stop = sync.OnceFunc(func() { _ = in.Close(); _ = cmd.Wait() })
	h.b.Cleanup(h.stop)
	line, err := bufio.NewReader(out).ReadString('\n')
	if h.port, _ = strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "ready "))); err != nil || h.port == 0 {
		h.b.Fatalf("the hub does not start: %s %v", line, err)
	}
}

// fleet is agents of one process with one broker, and when each of them tried first after they lost it.
type fleet struct {
	b     *testing.B
	all   []*Uplink
	mu    sync.Mutex
	first []time.Time
}

func newFleet(b *testing.B, agents int, url string) *fleet {
	f := &fleet{b: b, first: make([]time.Time, agents)}
	for i := range agents {
		c := config(url)
		c.Agent, c.Instance, c.HelloEvery = fmt.Sprint("a", i), fmt.Sprint("i", i), 2*time.Second
		c.BackoffMin, c.BackoffMax = 0, 0 // as in the field
		c.Brokers[0].Sessions = 2
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			f.mu.Lock()
			if f.first[i].IsZero() {
				f.first[i] = time.Now()
			}
			f.mu.Unlock()
			return new(net.Dialer).DialContext(ctx, network, address)
		}
		u, _ := start(b, c)
		f.all = append(f.all, u)
	}
	return f
}

// until waits until all are connected and have nothing that waits, or none is connected. It gives for each how long
// after its session was there its alarms were through.
func (f *fleet) until(connected bool) (through []time.Duration) {
	up, done := make([]time.Time, len(f.all)), 0
	finished := make([]bool, len(f.all))
	late := time.Now().Add(2 * time.Minute)
	for done < len(f.all) {
		for i, u := range f.all {
			if finished[i] {
				continue
			}
			s := u.links[0].stats() // of the alarms
			if s.Connected && up[i].IsZero() {
				up[i] = time.Now()
			}
			if s.Connected == connected && (!connected || s.Queued == 0 && s.Acked > 0) {
				finished[i], done = true, done+1
				through = append(through, time.Since(up[i]))
			}
		}
		if time.Now().After(late) {
			errs := map[string]int{}
			for i, u := range f.all {
				if !finished[i] {
					errs[u.links[0].stats().LastError]++
				}
			}
			f.b.Fatalf("%d of %d are not there: %v", len(f.all)-done, len(f.all), errs)
		}
		<-time.After(5 * time.Millisecond)
	}
	slices.Sort(through)
	return through
}

// outage lets all lose their broker together, raise an alarm each, and find it again.
func (f *fleet) outage(b *testing.B, stop, again func()) {
	f.mu.Lock()
	clear(f.first)
	f.mu.Unlock()
	stop()
	f.until(false)
	for _, u := range f.all {
		u.Offer(alarm("smoke", 1, 1, true))
	}
	again()
	begin := time.Now()
	through := f.until(true)
	b.ReportMetric(time.Since(begin).Seconds(), "s-until-all-through")
	b.ReportMetric(through[len(through)*99/100].Seconds(), "s-from-session-p99")
	b.ReportMetric(through[len(through)-1].Seconds(), "s-from-session-max")
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.SortFunc(f.first, time.Time.Compare)
	b.ReportMetric(f.first[len(f.first)-1].Sub(f.first[0]).Seconds(), "s-between-first-retries")
}

// BenchmarkFleet lets agents lose their broker together: how far apart they try it first, how long until each
// one's alarms are through once it has a session again, and until all have. Each has two sessions.
func BenchmarkFleet(b *testing.B) {
	b.Run("mosquitto-500", func(b *testing.B) {
		m := newMosquitto(b)
		m.start()
		f := newFleet(b, 500, "mqtt://"+m.address())
		f.until(true)
		for b.Loop() {
			f.outage(b, m.stop, m.start)
		}
	})
	for _, agents := range []int{500, 1000, 5000} {
		b.Run(fmt.Sprint("hub-", agents), func(b *testing.B) {
			h := &hubProcess{b: b, dir: b.TempDir()}
			h.start()
			begin := time.Now()
			f := newFleet(b, agents, fmt.Sprintf("mqtt://127.0.0.1:%d", h.port))
			f.until(true)
			b.ReportMetric(time.Since(begin).Seconds(), "s-first-connect")
			for b.Loop() {
				f.outage(b, func() { h.stop() }, h.start)
			}
		})
	}
}
