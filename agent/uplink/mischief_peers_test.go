//go:build peers

package uplink

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/agent/wire"
)

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
