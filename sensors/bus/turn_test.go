package bus

import (
	"context"
	"errors"
	"testing"
	"time"
)

// closer tells when it is closed.
type closer chan struct{}

func (c closer) Close() error { close(c); return nil }

// A driver that has handed over its socket is broken at once when the bus ends, also where it hands it over only then.
func TestInterruptBreaksThePoll(t *testing.T) {
	for name, wait := range map[string]time.Duration{"before the end": 0, "after it": 700 * ms} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, r *rig) {
				f := &fake{id: 0, do: func(ctx context.Context, n int) error {
					<-time.After(wait)
					socket := make(closer)
					ctx.(*turn).Interrupt(socket)
					<-socket
					return errFake
				}}
				r.start(Options{}, r.device(f, time.Minute))
				r.pass(500 * ms)
				if took, err := r.stop(); err != nil || took != max(wait-500*ms, 0) {
					t.Errorf("Run returned %v after %v, want at once after the socket was handed over", err, took)
				}
			})
		})
	}
}

// The context of a poll keeps what one of context.WithTimeout keeps, for who asks and for who does not.
func TestTurnIsAContext(t *testing.T) {
	inBubble(t, func(t *testing.T, r *rig) {
		parent, end := context.WithCancel(context.WithValue(t.Context(), closer(nil), 7))
		defer end()
		b := &Bus{}
		fresh := func() *turn { return &turn{Context: parent, bus: b, until: time.Now().Add(time.Second)} }
		asked, silent, over := fresh(), fresh(), fresh()
		derived, cancel := context.WithCancel(asked)
		defer cancel()
		over.end()
		r.pass(999 * ms)
		for _, c := range []*turn{asked, silent} {
			if c.Err() != nil || c.Value(closer(nil)) != 7 {
				t.Errorf("before its deadline: %v, value %v", c.Err(), c.Value(closer(nil)))
			}
		}
		if !errors.Is(over.Err(), context.Canceled) {
			t.Errorf("after the driver has returned: %v", over.Err())
		}
		<-over.Done()
		r.pass(1 * ms)
		<-asked.Done()
		<-derived.Done()
		for _, c := range []context.Context{asked, silent, derived} {
			if !errors.Is(c.Err(), context.DeadlineExceeded) {
				t.Errorf("at its deadline: %v", c.Err())
			}
		}
		late := fresh()
		end()
		<-late.Done()
		if !errors.Is(late.Err(), context.Canceled) || !errors.Is(fresh().Err(), context.Canceled) {
			t.Errorf("after the end of the bus: %v", late.Err())
		}
	})
}
