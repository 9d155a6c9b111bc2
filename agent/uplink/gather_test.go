package uplink

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
)

// counted is one session's end of a pipe: when it wrote.
type counted struct {
	net.Conn
	mu sync.Mutex
	at []time.Time
}

func (c *counted) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// answer is a broker at the other end, which takes all.
func answer(c net.Conn) {
	defer c.Close()
	for br := bufio.NewReader(c); ; {
		head, err := br.ReadByte()
		if err != nil {
			return
		}
		n, shift := 0, 0
		for {
			b, _ := br.ReadByte()
			n |= int(b&0x7f) << shift
			if shift += 7; b < 0x80 {
				break
			}
		}
		body := make([]byte, n)
		_, _ = io.ReadFull(br, body)
		switch head >> 4 {
		case 1:
			_, _ = c.Write([]byte{0x20, 2, 0, 0})
		case 3:
			if head>>1&3 > 0 {
				id := 2 + int(body[0])<<8 + int(body[1])
				_, _ = c.Write([]byte{0x40, 2, body[id], body[id+1]})
			}
		case 8:
			_, _ = c.Write([]byte{0x90, 3, body[0], body[1], 0})
		case 12:
			_, _ = c.Write([]byte{0xd0, 0})
		}
	}
}

// Telemetry that follows telemetry within the gathering time goes together with it; what somebody acts on
// does not wait.
func TestTelemetryGoesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var conns []*counted
		cfg := config("mqtt://broker")
		cfg.Brokers[0].Sessions = 2
		cfg.Dial = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go answer(far)
			c := &counted{Conn: near}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			return c, nil
		}
		u, stop := start(t, cfg)
		<-time.After(time.Second)
		synctest.Wait()
		since := func(from time.Time) (writes []time.Duration) {
			for _, c := range conns {
				c.mu.Lock()
				for _, at := range c.at {
					if !at.Before(from) {
						writes = append(writes, at.Sub(from))
					}
				}
				c.mu.Unlock()
			}
			return writes
		}
		from := time.Now()
		for i := range 5 {
			u.Offer(state(i))
			<-time.After(gather / 10)
		}
		<-time.After(20 * time.Millisecond)
		if w := since(from); len(w) != 1 || w[0] != gather {
			t.Errorf("five polls within %v were written after %v, want together, after %v", gather, w, gather)
		}
		from = time.Now()
		u.Offer(state(5))
		u.Offer(alarm("a", 0, 1, true))
		synctest.Wait()
		if w := since(from); len(w) != 1 || w[0] != 0 {
			t.Errorf("an alarm was written after %v, want at once, and no poll before it", w)
		}
		<-time.After(20 * time.Millisecond)
		from = time.Now()
		for i := range gatherMost {
			u.Offer(state(10 + i))
		}
		synctest.Wait()
		if w := since(from); len(w) == 0 {
			t.Errorf("%d polls wait for more", gatherMost)
		}
		<-time.After(20 * time.Millisecond)
		from = time.Now()
		for i := range 5 {
			up := state(50 + i)
			up.Goes = plugins.Before
			u.Offer(up)
		}
		synctest.Wait()
		if w := since(from); len(w) != 0 {
			t.Errorf("polls that others follow were written after %v, want not yet", w)
		}
		up := state(55)
		up.Goes = plugins.Last
		u.Offer(up)
		synctest.Wait()
		if w := since(from); len(w) != 1 {
			t.Errorf("with the last of those that go together there were %d writes, want one", len(w))
		}
		<-time.After(time.Second)
		stop()
	})
}

// Polls that others follow do not wake the session; the last of them does, also where it need not be told itself.
func TestOnlyTheLastWakes(t *testing.T) {
	cfg := config("mqtt://broker")
	cfg.Brokers[0].Sessions = 2
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := u.lanes[1]
	up := state(0)
	up.Goes = plugins.Before
	u.Offer(up)
	if len(l.wake) != 0 {
		t.Error("a poll that others follow wakes the session")
	}
	l.last(plugins.Before)
	if len(l.wake) != 0 {
		t.Error("a poll that is not told, and that others follow, wakes the session")
	}
	l.last(plugins.Last)
	if len(l.wake) != 1 {
		t.Error("the last of them does not wake the session where it is not told itself")
	}
}
