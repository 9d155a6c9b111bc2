package modbus

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"pgregory.net/rapid"
)

// wide is a device whose every register holds its own address.
func wide(t testing.TB) *profile.Profile {
	t.Helper()
	p, err := profile.Parse("wide.toml", []byte(`
name = "wide"
title = "wide"
bus = "modbus"
source = "test"
[read]
max_words = 10
max_gap = 2
timeout = "100ms"
turnaround = "100ms"
[[channel]]
name = "h.*"
function = "holding"
address = 100
count = 40
[[channel]]
name = "i.*"
function = "input"
address = 100
count = 40
stride = 2
[[channel]]
name = "d.*"
function = "discrete"
address = 100
count = 40
[[channel]]
name = "u.*"
function = "holding"
address = 300
type = "u32"
count = 7
stride = 2
`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// misattributed names a reading whose value is not that of its own register.
func misattributed(p *profile.Profile, rs []sensors.Reading) string {
	for i, r := range rs {
		c := &p.Channels[i]
		want := float64(wordOf(c.Func, int(c.Address)))
		if c.Func.Bits() {
			want = float64(bitOf(c.Func, int(c.Address)))
		}
		if c.Type == profile.U32 {
			want = want*65536 + float64(wordOf(c.Func, int(c.Address)+1))
		}
		if r.Quality.Usable() && (r.Value != want || r.Point != sensors.PointID(100+i)) {
			return fmt.Sprintf("%s reads %v of point %d, its register holds %v", c.Name, r.Value, r.Point, want)
		}
	}
	return ""
}

// faults spoil the frame of a good answer.
var faults = []func(g []byte) []byte{
	func(g []byte) []byte { return nil },
	func(g []byte) []byte { return g[:len(g)/2] },
	func(g []byte) []byte { return g[:len(g)-1] },
	func(g []byte) []byte { g[0] ^= 1; return g },
	func(g []byte) []byte { g[1] ^= 1; return g },
	func(g []byte) []byte { g[6] ^= 1; return g },
	func(g []byte) []byte { g[7] ^= 7; return g },
	func(g []byte) []byte { g[8] -= 2; return g },
	func(g []byte) []byte { return append(g, g...) },
	func(g []byte) []byte { return []byte("\x00\x00\x00\x00\x00\x05garbage") },
}

// spoiledPeer answers on c until it is closed, each reply as next says: a fault by its index, -1 for
// a late one, else a good one.
func spoiledPeer(ctx context.Context, c net.Conn, next func() (fault int, delay time.Duration)) {
	defer c.Close()
	req := make([]byte, 12)
	for {
		if _, err := io.ReadFull(c, req); err != nil {
			return
		}
		g := goodTCP(req)
		k, delay := next()
		if k == -1 {
			select {
			case <-time.After(delay):
			case <-ctx.Done():
				return
			}
		}
		if k >= 0 {
			g = faults[k](g)
		}
		if _, err := c.Write(g); err != nil {
			return
		}
	}
}

// Whatever a TCP peer does to frames, early, late or never, no value reaches the wrong point.
func TestTCPAttribution(t *testing.T) {
	p := wide(t)
	rapid.Check(t, func(rt *rapid.T) {
		script := rapid.SliceOfN(rapid.IntRange(-3, len(faults)-1), 20, 60).Draw(rt, "script")
		delays := rapid.SliceOfN(rapid.IntRange(0, 300), 10, 10).Draw(rt, "delays in ms")
		bad, good := "", 0
		synctest.Test(t, func(t *testing.T) {
			ctx, end := context.WithCancel(t.Context())
			defer end()
			var asked atomic.Int64 // over all connections
			link := NewTCP("peer", TCPOptions{Dial: func(context.Context) (net.Conn, error) {
				a, b := net.Pipe()
				go spoiledPeer(ctx, b, func() (fault int, delay time.Duration) {
					n := int(asked.Add(1) - 1)
					return script[n%len(script)], time.Duration(delays[n%len(delays)]) * time.Millisecond
				})
				return a, nil
			}})
			defer link.Close()
			d, _ := poller(t, link, p)
			now := sensors.Mono(0)
			for range 40 {
				rs, _ := d.Poll(ctx, at(&now), nil)
				bad += misattributed(p, rs)
				for _, r := range rs {
					if r.Quality.Usable() {
						good++
					}
				}
				time.Sleep(500 * time.Millisecond) // fake time, beyond any back-off
				now = now.Add(500 * time.Millisecond)
			}
		})
		if bad != "" {
			rt.Fatal(bad)
		}
		if !slices.ContainsFunc(script, func(k int) bool { return k >= 0 }) && good == 0 {
			rt.Fatal("no good reading from a peer without fault")
		}
	})
}

// The same on a serial line, in both framings and behind a serial server. A late reply is sent while
// the next request is awaited by the link, that is, in its quarantine.
func TestLineAttribution(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) { lineAttribution(t, v) })
	}
}

func lineAttribution(t *testing.T, v variant) {
	p := wide(t)
	p.Read.Turnaround = 60 * time.Millisecond
	rng := rand.New(rand.NewPCG(1, 2))
	var spoil atomic.Int32
	late := make(chan func(), 1)
	var both pace
	link := both.of(v.serve(t, both.serve(func(n int, c io.ReadWriteCloser, req []byte) {
		g := v.reply(req)
		switch k := int(spoil.Load()); {
		case k == -1:
			select {
			case late <- func() { c.Write(g) }:
			default:
			}
			return
		case k >= 0:
			g = faults[k](g)
		}
		c.Write(g)
	})))
	d, _ := poller(t, link, p)
	now, good := sensors.Mono(0), 0
	const polls = 80
	for i := range polls {
		spoil.Store(-2)
		p.Read.Timeout = long
		if i%2 == 1 {
			spoil.Store(int32(rng.IntN(len(faults)+1) - 1))
			p.Read.Timeout = 20 * time.Millisecond
		}
		rs, err := d.Poll(context.Background(), at(&now), nil)
		if bad := misattributed(p, rs); bad != "" {
			t.Fatalf("poll %d: %s", i, bad)
		}
		for _, r := range rs {
			if r.Quality.Usable() {
				good++
			}
		}
		if i%2 == 0 && err != nil {
			t.Fatalf("poll %d of a sane line: %v", i, err)
		}
		both.caughtUp(t)
		select {
		case send := <-late:
			send()
		default:
		}
	}
	if good < polls/2*len(p.Channels) {
		t.Errorf("%d good readings, want all %d of the sane polls", good, polls/2*len(p.Channels))
	}
}

// FuzzResponse feeds arbitrary reply bytes to both response paths: what is taken has the unit,
// function and length of the request, and nothing panics.
func FuzzResponse(f *testing.F) {
	r := holding(100, 3)
	req := []byte{0, 1, 0, 0, 0, 6, 17, 3, 0, 100, 0, 3}
	f.Add(goodTCP(req), byte(3), uint16(3))
	f.Add(mbap(req, 17, []byte{0x83, 2}), byte(3), uint16(3))
	f.Add(rtuFrame(17, goodPDU(req[7:])), byte(3), uint16(3))
	f.Add(rtuFrame(17, []byte{0x83, 6}), byte(3), uint16(3))
	f.Add(rtuFrame(17, []byte{1, 1, 5}), byte(1), uint16(3))
	f.Add(asciiFrame(17, goodPDU(req[7:])), byte(3), uint16(3))
	f.Add(asciiFrame(17, []byte{0x83, 2}), byte(3), uint16(3))
	f.Add([]byte(":1103\r\n"), byte(3), uint16(3))
	f.Fuzz(func(t *testing.T, reply []byte, fn byte, n uint16) {
		r := r
		r.Func, r.Quantity = profile.Function(fn), n
		if r.check() != nil {
			return
		}
		tcp := newTCPPackager(r.Unit)
		data, err := exchange(tcp, func(adu []byte) ([]byte, error) {
			out, _, err := readADU(bytes.NewReader(reply), adu, r)
			return out, err
		}, r)
		if err == nil && (len(data) != r.dataLen() || reply[6] != r.Unit || reply[7] != fn) {
			t.Fatalf("TCP: %s took % x", r, reply)
		}
		checkException(t, err, fn, reply, 7)
		data, err = exchange(newRTUPackager(r.Unit), func([]byte) ([]byte, error) {
			for i := range reply {
				done, err := r.checkRTU(reply[:i+1])
				if err != nil || done {
					return reply[:i+1], err
				}
			}
			return nil, ErrTimeout
		}, r)
		if err == nil && (len(data) != r.dataLen() || reply[0] != r.Unit || reply[1] != fn) {
			t.Fatalf("RTU: %s took % x", r, reply)
		}
		checkException(t, err, fn, reply, 1)
		fuzzASCII(t, r, reply)
	})
}

func checkException(t *testing.T, err error, fn byte, reply []byte, at int) {
	t.Helper()
	var e *Exception
	if errors.As(err, &e) && (reply[at] != fn|0x80 || e.Code != reply[at+1]) {
		t.Fatalf("exception %d made of % x", e.Code, reply)
	}
}

func fuzzASCII(t *testing.T, r Request, reply []byte) {
	data, err := exchange(newASCIIPackager(r.Unit), func([]byte) ([]byte, error) {
		for i := range reply {
			done, err := r.checkASCII(reply[:i+1])
			if err != nil || done {
				return reply[:i+1], err
			}
		}
		return nil, ErrTimeout
	}, r)
	var e *Exception
	raw, _ := hex.DecodeString(string(reply[min(1, len(reply)):min(7, len(reply))]))
	switch {
	case err == nil && (len(data) != r.dataLen() || raw[0] != r.Unit || raw[1] != byte(r.Func)):
		t.Fatalf("ASCII: %s took %q", r, reply)
	case errors.As(err, &e) && (raw[1] != byte(r.Func)|0x80 || e.Code != raw[2]):
		t.Fatalf("exception %d made of %q", e.Code, reply)
	}
}
