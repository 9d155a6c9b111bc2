package service

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// logQueue bounds the lines that wait for standard error. When it is full, the newest line is
// dropped and counted; the count is told with the next line that gets through.
const logQueue = 1024

// LogWriter hands lines to a slow writer without ever waiting for it: a full pipe behind standard
// error must not stop a bus, a hook or an action. Write may be called from any goroutine.
type LogWriter struct {
	w       io.Writer
	ch      chan []byte
	done    chan struct{}
	dropped atomic.Uint64

	mu     sync.RWMutex // Write and Close only
	closed bool
}

// NewLogWriter starts the goroutine that writes. Close ends it.
func NewLogWriter(w io.Writer) *LogWriter {
	l := &LogWriter{w: w, ch: make(chan []byte, logQueue), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for b := range l.ch {
			if n := l.dropped.Swap(0); n > 0 {
				fmt.Fprintf(w, "level=WARN msg=\"log lines were dropped: the reader of this log is too slow\" lines=%d\n", n)
			}
			_, _ = w.Write(b) // there is nobody left to tell
		}
	}()
	return l
}

// Write takes one line. It never waits and never fails.
func (l *LogWriter) Write(p []byte) (int, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return len(p), nil
	}
	select {
	case l.ch <- append([]byte(nil), p...):
	default:
		l.dropped.Add(1)
	}
	return len(p), nil
}

// Close writes what waits, for at most a second.
func (l *LogWriter) Close() {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.ch)
	}
	l.mu.Unlock()
	select {
	case <-l.done:
	case <-time.After(time.Second):
	}
}
