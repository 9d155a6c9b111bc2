// Package service is what a program of firebreak owes to whoever runs it as a service: words to the service
// manager, and lines of a log.
//
// Concurrency: a LogWriter may be written from any goroutine; a Notifier belongs to the loop that it speaks
// for. Failure: neither waits, for longer than 10 ms, for a service manager or a reader of the log that is gone or
// slow; lines that are dropped are counted and told.
package service

import (
	"net"
	"os"
	"strconv"
	"time"
)

// Notifier speaks to the service manager (sd_notify). Only the loop on which all depends feeds its watchdog,
// so that one that stands still is restarted whatever else goes on.
type Notifier struct {
	conn  net.Conn
	every time.Duration
	last  time.Time
}

// NewNotifier returns one that does nothing when no service manager listens.
func NewNotifier() *Notifier {
	n := &Notifier{}
	addr := os.Getenv("NOTIFY_SOCKET")
	if addr == "" {
		return n
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: addr, Net: "unixgram"})
	if err != nil {
		return n
	}
	n.conn = conn
	if us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && us > 0 {
		n.every = time.Duration(us) * time.Microsecond / 3
	}
	return n
}

// Send says one state, such as READY=1.
func (n *Notifier) Send(s string) {
	if n.conn == nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = n.conn.Write([]byte(s)) // nobody to tell if the service manager is gone
}

// Alive is called at every turn of the loop, from its goroutine only.
func (n *Notifier) Alive() {
	if n.every == 0 || time.Since(n.last) < n.every {
		return
	}
	n.last = time.Now()
	n.Send("WATCHDOG=1")
}

// Within is a pause of at most d in which the watchdog is not forgotten.
func (n *Notifier) Within(d time.Duration) time.Duration {
	if n.every > 0 {
		return min(d, n.every)
	}
	return d
}

// Heard tells whether a service manager listens.
func (n *Notifier) Heard() bool { return n.conn != nil }
