package app

import (
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// notifier speaks to the service manager (sd_notify). Only the safety loop feeds its watchdog, so
// that a loop that stands still is restarted whatever else goes on.
type notifier struct {
	conn  net.Conn
	every time.Duration
	last  time.Time
}

// newNotifier returns one that does nothing when no service manager listens.
func newNotifier() *notifier {
	n := &notifier{}
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

func (n *notifier) send(s string) {
	if n.conn == nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	_, _ = n.conn.Write([]byte(s)) // nobody to tell if the service manager is gone
}

// alive is called at every turn of the safety loop, from its goroutine only.
func (n *notifier) alive() {
	if n.every == 0 || time.Since(n.last) < n.every {
		return
	}
	n.last = time.Now()
	n.send("WATCHDOG=1")
}

// clockSynced asks the kernel whether the wall clock is disciplined (adjtimex, STA_UNSYNC).
func clockSynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
