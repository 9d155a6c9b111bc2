package companion

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long a companion stands still for a start, and for how many of the last seconds that is counted.
const (
	stillFor    = 20 * time.Millisecond
	stillWindow = 10 // seconds
)

// DefaultStill is for how long it may stand still in any ten seconds.
const DefaultStill = 2 * time.Second

// holdable is a process that can be stopped.
type holdable interface {
	Signal(os.Signal) error
	stopped() bool
}

// still lets the companion stand still for the moment in which hooks start: what is woken then, the disk's work and the
// processes of the hook, finds no processor where it first has to wait for the companion's slice to end.
//
// Only a companion that has greeted is held, as one that ends with this process (Tie), and none that is stopped already: to let go of that one would undo what
// somebody else has done to it, and hide the trouble. What it has stood still is counted by the second, to the end of
// each hold; a hold for which nothing is left does not begin. A stop from elsewhere during a hold ends with it.
type still struct {
	each time.Duration // for one start
	most time.Duration // in stillWindow

	mu     sync.Mutex // held for two calls of the kernel at most, neither of which waits
	p      holdable   // nil: none may be held
	ended  bool       // the life at hand: what greets now comes too late
	since  time.Time  // it stands still; zero: it runs
	until  time.Time
	latest time.Time                      // of until: what is left ends there
	spent  [stillWindow + 1]time.Duration // by the second, the one at hand included
	second int64                          // the newest in spent
	from   time.Time                      // seconds count
	begun  chan struct{}                  // a hold has
	holds  int
}

// ask lets it stand still from now on until a while after. It never waits, not even for the lock: who has it is about to
// let go of the process, or to end it, and a start without this is a start all the same.
func (s *still) ask() {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	now := time.Now()
	until := now.Add(s.each)
	switch {
	case s.p == nil:
	case !s.since.IsZero():
		if s.until = until; until.After(s.latest) {
			s.until = s.latest
		}
	default:
		latest := now.Add(s.left(now))
		if until.After(latest) || s.p.stopped() || s.p.Signal(syscall.SIGSTOP) != nil {
			return
		}
		s.since, s.until, s.latest = now, until, latest
		s.holds++
		notify(s.begun)
	}
}

// letGo lets it run again where its time is over; else it says how long it is to stand still yet.
func (s *still) letGo() (yet time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return 0
	}
	now := time.Now()
	if yet = s.until.Sub(now); yet <= 0 {
		s.run(now)
	}
	return yet
}

// run lets one that stands still run, and counts.
func (s *still) run(now time.Time) {
	// It is gone if this fails: who was allowed to stop it is allowed this, and it has changed nothing since.
	_ = s.p.Signal(syscall.SIGCONT)
	s.turn(now)
	s.spent[s.second%int64(len(s.spent))] += now.Sub(s.since)
	s.since = time.Time{}
}

// left is for how long it may stand still from now on.
func (s *still) left(now time.Time) time.Duration {
	s.turn(now)
	left := s.most
	for _, d := range s.spent {
		left -= d
	}
	return left
}

// turn forgets seconds that are over.
func (s *still) turn(now time.Time) {
	for to := int64(now.Sub(s.from) / time.Second); s.second < to; {
		s.second = max(s.second+1, to-int64(len(s.spent)))
		s.spent[s.second%int64(len(s.spent))] = 0
	}
}

// begin is of a life, whose process may not be held yet; greeted is when it may, and end when it may no more: it runs from
// then on, whatever is asked.
func (s *still) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p, s.ended = nil, false
}

func (s *still) greeted(p holdable) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.p = p
	}
}

func (s *still) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.since.IsZero() {
		s.run(time.Now())
	}
	s.p, s.ended = nil, true
}

// watch ends each hold in time, and the last one with ctx.
func (s *still) watch(ctx context.Context) error {
	defer s.end()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.begun:
		}
		for yet := s.letGo(); yet > 0; yet = s.letGo() {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(yet):
			}
		}
	}
}

// Signal meets this process or none, also where its number is another one's by now.
func (p *process) Signal(sig os.Signal) error { return p.of.Signal(sig) }

// stopped says whether all of a process stands still, as its parent is told. That stays to be seen, for whoever waits
// for it.
func (p *process) stopped() bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, nil)
	return err == nil && info.Signo != 0
}
