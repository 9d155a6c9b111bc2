package pty

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait for bytes.
const patience = 20 * time.Second

func agentEnd(t *testing.T, p *Pair) *os.File {
	t.Helper()
	f, err := os.OpenFile(p.Path(), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func carry(t *testing.T, from io.Writer, to *os.File, data []byte) {
	t.Helper()
	if _, err := from.Write(data); err != nil {
		t.Fatal(err)
	}
	to.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(data))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("sent %x, got %x (%v)", data, got, err)
	}
}

// Every byte value passes unchanged in both directions: no echo, no translation, no signal.
func TestRaw(t *testing.T) {
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f := agentEnd(t, p)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	carry(t, p, f, all)
	carry(t, f, p.File, all)
	// An echo would have come back by now, in front of this.
	carry(t, p, f, []byte{0x55})
}

// The device's end survives that the agent closes the line and opens it again.
func TestReopen(t *testing.T) {
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 3 {
		f := agentEnd(t, p)
		carry(t, f, p.File, []byte{1, 2, 3})
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		p.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, err := p.Read(make([]byte, 1)); !os.IsTimeout(err) {
			t.Errorf("read with the line closed: %v, want a time-out", err)
		}
	}
}

// A pulled adapter: the agent's read ends at once.
func TestClose(t *testing.T) {
	p, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	f := agentEnd(t, p)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	f.SetReadDeadline(time.Now().Add(patience))
	if n, err := f.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("read after the pull: %d bytes, %v", n, err)
	}
}
