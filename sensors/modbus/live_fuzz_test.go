package modbus

import (
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"firebreak/sensors"
)

// tormentor is a server whose every reply is spoiled as a script says, a byte or two for each. Its registers
// hold their own addresses. It never invents a frame that is whole and right but for its data: nobody
// could tell that, on TCP at least, where a frame has no checksum.
type tormentor struct {
	good    func(req []byte) []byte
	ordered bool                              // as units on a line are: nobody could tell
	spoil   func(reply []byte, n byte) []byte // a byte or bit changed that its framing must find

	mu      sync.Mutex
	script  []byte
	waiting [][]byte // late replies, over all connections
	cut     bool     // a reply was truncated
}

func (s *tormentor) take() (b byte) {
	if len(s.script) > 0 {
		b, s.script = s.script[0], s.script[1:]
	}
	return b
}

func (s *tormentor) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.script) == 0
}

func (s *tormentor) serve(_ int, c io.ReadWriteCloser, req []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.good(req)
	op := s.take() % 12
	if s.ordered && op != 1 && op != 2 && op != 3 && op != 10 && op != 11 {
		s.waiting = nil // it answers this one: what it has not answered before it never will
	}
	if s.cut && !s.ordered && (op == 4 || op == 5) {
		op = 0 // a copy that is just as long as what a frame lacks, without a checksum: nobody could tell that either
	}
	switch op {
	case 1: // lost
	case 2: // late: before the answer to a later request
		s.waiting = append(s.waiting, g)
	case 3: // shifted: the oldest that is late, in place of this one
		s.waiting = append(s.waiting, g)
		g, s.waiting = s.waiting[0], s.waiting[1:]
		c.Write(g)
	case 4:
		c.Write(append(g, g...))
	case 5:
		c.Write(g)
		c.Write(g)
	case 6: // truncated, and nothing of it follows
		c.Write(g[:int(s.take())%len(g)])
		s.cut = true
	case 7:
		c.Write(s.spoil(g, s.take()))
	case 8: // garbage in front; no byte of it is a unit, a colon or a protocol
		n := 1 + int(s.take())%16
		junk := make([]byte, n)
		for i := range junk {
			junk[i] = s.take() | 0x80
		}
		c.Write(append(junk, g...))
	case 9: // in two parts
		k := int(s.take()) % len(g)
		c.Write(g[:k])
		c.Write(g[k:])
	case 10: // garbage alone
		c.Write([]byte{s.take() | 0x80, s.take() | 0x80, s.take() | 0x80})
	case 11: // all that is late at once, and this one
		for _, w := range s.waiting {
			c.Write(w)
		}
		s.waiting = nil
		c.Write(g)
	default:
		c.Write(g)
	}
}

// fuzzLive polls until the script is used up: no value is good and wrong.
func fuzzLive(t *testing.T, link Link, s *tormentor, window int) {
	p := wide(t)
	p.Read.Timeout, p.Read.Turnaround, p.Read.Window = 4*time.Millisecond, time.Millisecond, window
	d, _ := poller(t, link, p)
	now := sensors.Mono(0)
	for range 40 {
		rs, _ := d.Poll(context.Background(), at(&now), nil)
		if bad := misattributed(p, rs); bad != "" {
			t.Fatal(bad)
		}
		if s.over() {
			return
		}
	}
}

var liveSeeds = [][]byte{
	{}, {1, 1, 1}, {2, 3, 3, 3, 3, 3, 3, 3, 3}, {2, 0, 2, 0, 11, 0}, {4, 5, 4, 5, 0}, {6, 3, 6, 9, 6, 30, 0}, {7, 0, 7, 1, 7, 9, 7, 200},
	{8, 3, 1, 2, 3, 4, 0, 10, 1, 2, 3, 0}, {9, 4, 9, 0, 9, 200}, {2, 1, 1, 1, 3, 3, 3, 3, 3, 3, 11, 0, 0, 0}, {3, 2, 3, 2, 3, 1, 3, 11},
	slices.Repeat([]byte{30}, 22), {3, 2, 0, 3},
}

func FuzzLiveTCP(f *testing.F) {
	for i, s := range liveSeeds {
		f.Add(s, i%2 == 1)
	}
	f.Fuzz(func(t *testing.T, script []byte, ahead bool) {
		s := &tormentor{good: goodTCP, script: script[:min(len(script), 32)]}
		s.spoil = func(g []byte, n byte) []byte { // transaction, protocol, length, unit, function, byte count
			k := slices.Clone(g)
			k[int(n)%9] ^= 1 << (n / 9 % 8)
			return k
		}
		window := 1
		if ahead {
			window = 4
		}
		fuzzLive(t, newTCP(t, tcpServer(t, s.serve)), s, window)
	})
}

func FuzzLiveLine(f *testing.F) {
	names := []string{"RTU", "ASCII", "RTU over TCP", "ASCII over TCP"}
	for i, s := range liveSeeds {
		f.Add(s, byte(i))
	}
	f.Fuzz(func(t *testing.T, script []byte, which byte) {
		v := variants[names[int(which)%len(names)]]
		s := &tormentor{good: v.reply, ordered: true, script: script[:min(len(script), 32)]}
		s.spoil = func(g []byte, n byte) []byte { // one bit: each checksum finds it
			k := slices.Clone(g)
			k[int(n)%len(k)] ^= 1 << (n % 7)
			return k
		}
		fuzzLive(t, v.serve(t, s.serve), s, 1)
	})
}
