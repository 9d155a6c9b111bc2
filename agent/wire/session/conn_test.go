package session

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// Every write has its own deadline, whatever the client sets or clears; every read has one as soon
// as the session is up, and its end is told.
func TestEveryReadAndWriteEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // nobody reads or writes at the far end
		defer far.Close()
		var told error
		c := newConn(near, 3*time.Second)
		c.ended = func(err error) { told = err }
		begin := time.Now()
		_ = c.SetWriteDeadline(time.Time{})
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("write ended with %v after %v", err, time.Since(begin))
		}
		if told != nil {
			t.Errorf("told of %v before the session was up", told)
		}
		// Before the session is up the client's deadline for the handshake stands.
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		begin = time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 5*time.Second {
			t.Errorf("handshake ended with %v after %v", err, time.Since(begin))
		}
		c.idle.Store(int64(18 * time.Second))
		begin = time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 18*time.Second {
			t.Errorf("read ended with %v after %v", err, time.Since(begin))
		}
		if told == nil {
			t.Error("the end of a session was not told")
		}
		_ = c.Close()
		_ = c.Close()
	})
}
