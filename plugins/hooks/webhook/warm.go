package webhook

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

const (
	redialMin = 250 * time.Millisecond
	redialMax = time.Minute
)

// spare is one connection to the target, TLS included, on which nothing has been sent yet: the
// first call of a fire then waits for no name server and no handshake. It costs the target an idle
// connection and no request. When the target closes it, as servers do after a while, another is made.
type spare struct {
	mu  sync.Mutex
	now *held
}

type held struct {
	conn net.Conn
	end  chan struct{} // closed when the watching read has returned
	dead bool          // set before
}

// take gives the connection to one caller, or nil.
func (s *spare) take() net.Conn {
	s.mu.Lock()
	h := s.now
	s.now = nil
	s.mu.Unlock()
	if h == nil {
		return nil
	}
	// A deadline that has passed ends the watching read; a read that timed out harms neither the
	// connection nor its TLS state.
	_ = h.conn.SetReadDeadline(time.Unix(1, 0))
	<-h.end
	if h.dead || h.conn.SetReadDeadline(time.Time{}) != nil {
		_ = h.conn.Close()
		return nil
	}
	return h.conn
}

// drop closes what was not taken.
func (s *spare) drop(h *held) {
	s.mu.Lock()
	mine := s.now == h
	if mine {
		s.now = nil
	}
	s.mu.Unlock()
	if mine {
		_ = h.conn.Close()
	}
}

// keep makes connections until ctx ends. A target that is away, or that closes at once, is tried
// again ever later, a minute at most.
func (s *spare) keep(ctx context.Context, dial func(context.Context) (net.Conn, error), log *slog.Logger) {
	pause, told := redialMin, false
	for ctx.Err() == nil {
		begin := time.Now()
		c, err := dial(ctx)
		if err == nil {
			told = false
			s.watch(ctx, c)
		} else if !told && ctx.Err() == nil {
			told = true
			log.Warn("no connection to the target can be kept open: trying again", "err", err)
		}
		if err == nil && time.Since(begin) > 2*pause {
			pause = redialMin
		}
		t := time.NewTimer(pause/2 + rand.N(pause/2))
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
		pause = min(2*pause, redialMax)
	}
}

// watch offers a connection and reads from it, which tells its end, until it is taken or ended.
func (s *spare) watch(ctx context.Context, c net.Conn) {
	h := &held{conn: c, end: make(chan struct{})}
	s.mu.Lock()
	s.now = h
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) })
	_, err := c.Read(make([]byte, 1))
	stop()
	h.dead = !errors.Is(err, os.ErrDeadlineExceeded) // who speaks unasked wants no request any more
	close(h.end)
	s.drop(h)
}
