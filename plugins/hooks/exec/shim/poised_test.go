package shim

import (
	"errors"
	"os"
	"testing"
	"time"
)

// The time of a call counts from its leave; without one, or when another has taken it, nothing is started.
func TestLeave(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(w *os.File)
		want error
	}{
		"given": {func(w *os.File) { _, _ = w.Write([]byte{1}) }, nil},
		"ended": {func(w *os.File) { w.Close() }, errLetGo},
		"both":  {func(w *os.File) { _, _ = w.Write([]byte{1}); w.Close() }, nil},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		now := MonoNow()
		asked := now - int64(PoiseBound/2)
		s := &shim{may: int(r.Fd()), spec: Spec{AskedNs: asked, DeadlineNs: asked + int64(time.Minute)}}
		c.do(w)
		if err := s.leave(); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if c.want == nil && (s.spec.AskedNs < now || s.spec.DeadlineNs-s.spec.AskedNs != int64(time.Minute)) {
			t.Errorf("%s: asked %d ns after it was given, to %d", name, s.spec.AskedNs-now, s.spec.DeadlineNs-s.spec.AskedNs)
		}
	}
}

// A leave that lies there for long, because whoever hands it on stood still, is taken; the call ends nevertheless by when
// those who asked for it wait.
func TestLeaveTakenLate(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	_, _ = w.Write([]byte{1})
	asked := MonoNow() - int64(9*time.Second)
	s := &shim{may: int(r.Fd()), spec: Spec{AskedNs: asked, DeadlineNs: asked + int64(10*time.Second)}}
	if err := s.leave(); err != nil {
		t.Fatal(err)
	}
	if late := time.Duration(s.spec.DeadlineNs - asked - int64(10*time.Second)); late != PoiseBound {
		t.Errorf("its time ends %v later than that of a call which needs no leave, want %v", late, PoiseBound)
	}
}
