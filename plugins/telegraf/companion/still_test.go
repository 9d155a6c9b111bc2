package companion

import (
	"context"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// puppet is a process that counts how long it stands still.
type puppet struct {
	mu      sync.Mutex
	got     []os.Signal
	at      []time.Time
	foreign bool // somebody else has stopped it
	gone    bool
}

func (p *puppet) stopped() bool { return p.foreign }

func (p *puppet) Signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return os.ErrProcessDone
	}
	p.got, p.at = append(p.got, sig), append(p.at, time.Now())
	return nil
}

func (p *puppet) signals() []os.Signal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

// stood is how long of the time between two instants it has stood still.
func (p *puppet) stood(from, to time.Time) (sum time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := 0; i+1 < len(p.at); i += 2 {
		if a, b := max(0, p.at[i].Sub(from)), min(to.Sub(from), p.at[i+1].Sub(from)); b > a {
			sum += b - a
		}
	}
	return sum
}

// holding runs what is asked of a puppet, which has greeted.
func holding(t *testing.T, do func(s *still, p *puppet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &still{each: stillFor, most: DefaultStill, from: time.Now(), begun: make(chan struct{}, 1)}
		s.begin()
		p := &puppet{}
		s.greeted(p)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.watch(ctx) }()
		do(s, p)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := len(p.signals()); n%2 != 0 && !p.gone {
			t.Errorf("it is left stopped: %v", p.signals())
		}
		for i, sig := range p.signals() {
			if want := []os.Signal{syscall.SIGSTOP, syscall.SIGCONT}[i%2]; sig != want {
				t.Errorf("signal %d is %v, want %v", i, sig, want)
			}
		}
	})
}

// It stands still from the first start until a while after the last, and not longer where the life ends.
func TestHoldFollowsTheLastStart(t *testing.T) {
	holding(t, func(s *still, p *puppet) {
		began := time.Now()
		for range 3 {
			s.ask()
			<-time.After(stillFor - 1)
		}
		synctest.Wait()
		if !slices.Equal(p.signals(), []os.Signal{syscall.SIGSTOP}) {
			t.Fatalf("while hooks start it got %v", p.signals())
		}
		<-time.After(time.Second)
		synctest.Wait()
		if d := p.stood(began, time.Now()); d != 2*(stillFor-1)+stillFor {
			t.Errorf("it stood still for %v", d)
		}
		s.ask() // the end of watch lets go of it
	})
}

// In no ten seconds it stands still for more than is allowed, however often hooks start; and with few of them, each time.
func TestHoldsAreBounded(t *testing.T) {
	for _, every := range []time.Duration{time.Millisecond, 19 * time.Millisecond, 21 * time.Millisecond, 150 * time.Millisecond} {
		holding(t, func(s *still, p *puppet) {
			const whole = time.Minute
			began, asked := time.Now(), 0
			for time.Since(began) < whole {
				s.ask()
				asked++
				<-time.After(every)
			}
			synctest.Wait()
			for from := time.Duration(0); from < whole-10*time.Second; from += 50 * time.Millisecond {
				if d := p.stood(began.Add(from), began.Add(from+10*time.Second)); d > DefaultStill {
					t.Fatalf("every %v: it stood still for %v in the ten seconds after %v", every, d, from)
				}
			}
			sum := p.stood(began, time.Now())
			if every > 5*stillFor && len(p.signals()) < 2*asked-1 || sum < whole/10*9/10 && every < 5*stillFor {
				t.Errorf("every %v: it stood still %d times in %d starts, for %v", every, len(p.signals())/2, asked, sum)
			}
		})
	}
}

// None is held that has not greeted, that somebody else has stopped, that is gone or about to end; and nobody waits.
func TestNotHeld(t *testing.T) {
	for what, change := range map[string]func(s *still, p *puppet){
		"not greeted":    func(s *still, _ *puppet) { s.begin() },
		"stopped before": func(_ *still, p *puppet) { p.foreign = true },
		"gone":           func(_ *still, p *puppet) { p.gone = true },
		"ends":           func(s *still, _ *puppet) { s.end() },
		"greets too late": func(s *still, p *puppet) {
			s.end()
			s.greeted(p)
		},
	} {
		holding(t, func(s *still, p *puppet) {
			change(s, p)
			s.ask()
			if len(p.signals()) > 0 || s.holds > 0 {
				t.Errorf("%s: it got %v", what, p.signals())
			}
		})
	}
	holding(t, func(s *still, _ *puppet) {
		s.mu.Lock() // somebody who has it does not give it back
		s.ask()
		s.mu.Unlock()
	})
}

// One that ends while it stands still is let go of first; one that is gone by then hurts nobody.
func TestEndWhileItStands(t *testing.T) {
	holding(t, func(s *still, p *puppet) {
		s.ask()
		s.end()
		if len(p.signals()) != 2 {
			t.Errorf("it got %v", p.signals())
		}
	})
	holding(t, func(s *still, p *puppet) {
		s.ask()
		p.gone = true
		s.end()
		s.ask()
	})
}
