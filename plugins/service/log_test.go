package service

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// blocked is a writer behind which nobody reads until let go.
type blocked struct {
	bytes.Buffer
	gate chan struct{}
}

func (b *blocked) Write(p []byte) (int, error) {
	<-b.gate
	return b.Buffer.Write(p)
}

func TestLogWriterNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &blocked{gate: make(chan struct{})}
		l := NewLogWriter(b)
		for range 3 * logQueue { // would hang here if Write waited
			if _, err := l.Write([]byte("line\n")); err != nil {
				t.Fatal(err)
			}
		}
		close(b.gate)
		synctest.Wait()
		if _, err := l.Write([]byte("last\n")); err != nil {
			t.Fatal(err)
		}
		l.Close()
		out := b.String()
		if n := strings.Count(out, "line\n"); n < logQueue || n > logQueue+1 {
			t.Errorf("%d lines written, want the queue's %d or one more", n, logQueue)
		}
		if !strings.Contains(out, "were dropped") || !strings.HasSuffix(out, "last\n") {
			t.Errorf("dropped lines are not told, or the last line is lost: %q", out[max(0, len(out)-200):])
		}
		if n, err := l.Write([]byte("after\n")); n != 6 || err != nil {
			t.Errorf("Write after Close: %d, %v", n, err)
		}
	})
}

func TestLogWriterCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &blocked{gate: make(chan struct{})}
		l := NewLogWriter(b)
		_, _ = l.Write([]byte("line\n"))
		l.Close() // returns although nobody reads
		close(b.gate)
		<-l.done
	})
}

// A full pipe behind standard error holds up no line and no end.
func TestLogNeverWaits(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l := NewLogWriter(w)
	line := bytes.Repeat([]byte("x"), 4096)
	done := make(chan struct{})
	go func() {
		for range 4 * logQueue {
			_, _ = l.Write(line)
		}
		l.Close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("a writer waits for the log")
	}
	if l.dropped.Load() == 0 {
		t.Error("nothing was dropped: the pipe was not full")
	}
	w.Close() // ends the goroutine that writes
	r.Close()
	_, _ = l.Write(line)
}
