package modbus

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// tardy is a slave that answers in order and not when it should: a reply goes out when a later request
// has come, however long after the time-out and the quarantine that is.
type tardy struct {
	reply func(req []byte) []byte

	mu      sync.Mutex
	next    func() int // how many of what waits go out now; -1: all, one after the other
	waiting [][]byte
	asked   [][]byte
}

func (s *tardy) serve(_ int, c io.ReadWriteCloser, req []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, slices.Clone(req))
	s.waiting = append(s.waiting, s.reply(req))
	n := s.next()
	if n < 0 {
		s.waiting, n = s.waiting[len(s.waiting)-1:], 1 // what came before is lost in a quarantine
	}
	for range min(n, len(s.waiting)) {
		c.Write(s.waiting[0])
		s.waiting = s.waiting[1:]
	}
}

func (s *tardy) set(next func() int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = next
}

// A reply that comes when the next request of the same length is out is not taken for its: the line is
// first proved to be in step.
func TestLateReplyIsNotTheNextOnes(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			s := &tardy{reply: v.reply}
			n := 0
			s.set(func() int { n++; return min(n-1, 1) }) // the first is silent; from then on each gets the one before
			var p pace
			l := p.of(v.serve(t, p.serve(s.serve)))
			r := holding(100, 10)
			r.Timeout, r.Turnaround = short, time.Millisecond
			r.Witness = []profile.Span{{Func: profile.Holding, First: 100, Count: 1}}
			mustFail(t, l, r, ErrTimeout)
			for i := range uint16(6) {
				p.caughtUp(t)
				r.Address = 200 + 10*i
				if data, err := l.Read(context.Background(), r); err == nil && wrongData(r, data) {
					t.Fatalf("%s took % x, which belong to another request", r, data)
				}
			}
			p.caughtUp(t)
			s.set(func() int { return -1 })
			r.Timeout = long
			for range 3 {
				if data, err := l.Read(context.Background(), r); err == nil {
					if wrongData(r, data) {
						t.Fatalf("%s took % x", r, data)
					}
					return
				}
			}
			t.Error("the line does not come into step again")
		})
	}
}

// Whatever is late, lost or shifted, no value reaches the wrong point, and the values come back.
func TestLateAttribution(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			p := wide(t)
			p.Read.Turnaround = time.Millisecond
			rng := rand.New(rand.NewPCG(3, 4))
			s := &tardy{reply: v.reply}
			var both pace
			d, _ := poller(t, both.of(v.serve(t, both.serve(s.serve))), p)
			now, good := sensors.Mono(0), 0
			for i := range 60 {
				both.caughtUp(t)
				s.set(func() int { return 1 })
				p.Read.Timeout = 10 * time.Millisecond
				switch {
				case i%6 == 5: // it comes to its senses
					s.set(func() int { return -1 })
					p.Read.Timeout = long
				case i%2 == 0:
					s.set(func() int { return rng.IntN(4) - 1 })
				}
				rs, _ := d.Poll(context.Background(), at(&now), nil)
				if bad := misattributed(p, rs); bad != "" {
					t.Fatalf("poll %d: %s", i, bad)
				}
				for _, r := range rs {
					if i%6 == 5 && r.Quality.Usable() {
						good++
					}
				}
			}
			if good < 5*len(p.Channels) {
				t.Errorf("%d good readings in the ten polls of sane times, want %d at least", good, 5*len(p.Channels))
			}
		})
	}
}

// A unit that is dead is asked one thing at each attempt, and that is short.
func TestProofCostsADeadUnitOneShortRead(t *testing.T) {
	p := wide(t)
	p.Read.Timeout, p.Read.Turnaround = 5*time.Millisecond, time.Millisecond
	s := &tardy{reply: goodRTU}
	s.set(func() int { return 0 })
	var both pace
	d, _ := poller(t, both.of(variants["RTU"].serve(t, both.serve(s.serve))), p)
	now := sensors.Mono(0)
	const polls = 20
	for range polls {
		if _, err := d.Poll(context.Background(), at(&now), nil); !errors.Is(err, ErrTimeout) {
			t.Fatalf("a dead unit: %v", err)
		}
	}
	both.caughtUp(t)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) != polls {
		t.Errorf("%d requests at %d polls of a dead unit", len(s.asked), polls)
	}
	whole := 0
	for _, req := range s.asked {
		if n := int(req[4])<<8 | int(req[5]); n > 2 {
			whole++
		}
	}
	if whole > 6 {
		t.Errorf("%d of %d attempts ask for a whole block: there are no more lengths in the plan", whole, polls)
	}
}

// Of a profile with reads of one length alone, what comes first after a time-out is thrown away.
func TestFirstReplyAfterATimeout(t *testing.T) {
	var spoil atomic.Bool
	var old []byte
	var p pace
	l := p.of(newRTU(t, rtuServer(t, p.serve(func(n int, c io.ReadWriteCloser, req []byte) {
		switch {
		case spoil.Load():
			old = rtuFrame(17, []byte{3, 2, 0xDE, 0xAD}) // the register as it was then
		case old != nil:
			c.Write(old)
			old = nil
		default:
			c.Write(goodRTU(req))
		}
	}))))
	r := holding(100, 1)
	r.Turnaround = time.Millisecond
	mustRead(t, l, r)
	spoil.Store(true)
	r.Timeout = short
	mustFail(t, l, r, ErrTimeout)
	r.Timeout = long
	p.caughtUp(t)
	spoil.Store(false)
	mustRead(t, l, r)
	mustRead(t, l, r)
	if n := p.sent.Load(); n != 5 {
		t.Errorf("%d requests, want 5: one more after the time-out, and no more", n)
	}
}

// A witness that is refused is no proof, and does not keep the unit silent.
func TestWitnessRefused(t *testing.T) {
	s := &tardy{reply: func(req []byte) []byte {
		if req[5] == 1 {
			return rtuFrame(req[0], []byte{req[1] | 0x80, 2})
		}
		return goodRTU(req)
	}}
	s.set(func() int { return 0 })
	var p pace
	l := p.of(newRTU(t, rtuServer(t, p.serve(s.serve))))
	r := holding(100, 10)
	r.Timeout, r.Turnaround = short, time.Millisecond
	r.Witness = []profile.Span{{Func: profile.Holding, First: 100, Count: 1}}
	mustFail(t, l, r, ErrTimeout)
	p.caughtUp(t)
	r.Timeout = long
	s.set(func() int { return -1 })
	mustRead(t, l, r)
	r.Address = 200
	mustRead(t, l, r)
}

// A debt ends with the time in which anybody could still answer.
func TestDebtsExpire(t *testing.T) {
	var d debts
	start := time.Unix(1000, 0)
	r := holding(100, 10)
	d.ask(r, start)
	d.expire(start.Add(forgetAfter - 1))
	if !d.owes(r) {
		t.Error("a debt is forgotten early")
	}
	d.expire(start.Add(forgetAfter))
	if d.owes(r) {
		t.Error("a debt is never forgotten")
	}
	for range 1000 {
		d.ask(r, start)
	}
	if len(d.list) != maxOwed {
		t.Errorf("%d debts are kept", len(d.list))
	}
}

// Of each profile that is read over Modbus it is known whether a late reply can be told: it has reads of
// two lengths, or one request in all.
func TestShippedProfilesHaveAWitness(t *testing.T) {
	for _, name := range profile.List(configs.Profiles()) {
		p, err := profile.Load(configs.Profiles(), name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Bus != profile.Modbus || p.Template != "" {
			continue
		}
		w := witnessesOf(p)
		for _, b := range p.Plan() {
			r := Request{Func: b.Func, Address: b.First, Quantity: b.Count, Witness: w}
			if _, ok := new(debts).witness(r, false); !ok && len(p.Plan())+len(p.Identity) > 1 {
				t.Errorf("%s: %s has no witness", name, r)
			}
		}
	}
}
