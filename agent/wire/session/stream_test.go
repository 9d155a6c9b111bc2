package session

import (
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/wire/brokertest"
)

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a/c", false}, {"a/b", "a", false}, {"a", "a/b", false},
		{"a/+", "a/b", true}, {"a/+", "a", false}, {"a/+", "a/b/c", false}, {"+/b", "a/b", true}, {"a/+/c", "a//c", true},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"#", "a/b", true}, {"+", "a", true}, {"+", "a/b", false},
		{"#", "$SYS/x", false}, {"+/x", "$SYS/x", false}, {"$SYS/#", "$SYS/x", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("%q for %q: %v", c.filter, c.topic, got)
		}
	}
}

// onPipe is a session that is up, and the broker's end of it, as if the handshake was over.
func onPipe(t *testing.T, cfg Config) (*Session, net.Conn) {
	cfg.defaults()
	near, far := net.Pipe()
	s := newSession(cfg, newConn(near, cfg.WriteTimeout))
	s.begin()
	return s, far
}

// What a broker leaves unanswered for the ping time-out ends the session; what it answers keeps it.
func TestPingIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := onPipe(t, Config{})
		begin, buf := time.Now(), make([]byte, 16)
		for range 3 {
			if n, err := far.Read(buf); err != nil || !bytes.Equal(buf[:n], []byte{0xc0, 0}) {
				t.Fatalf("% x, %v: want a ping", buf[:n], err)
			}
			if _, err := far.Write([]byte{0xd0, 0}); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(begin); d != 15*time.Second {
			t.Errorf("three pings within %v, want one each keepalive of silence", d)
		}
		_, _ = far.Read(buf)
		begin = time.Now()
		<-s.Lost()
		if d := time.Since(begin); d != 3*time.Second || !errors.Is(s.Cause(), errPing) {
			t.Errorf("lost %v after an unanswered ping: %v", d, s.Cause())
		}
		s.Wait()
		far.Close()
	})
}

// Acknowledgements are told in the order of Publish, whatever order the broker sends them in; one of
// QoS 0 behind one of QoS 1 waits for it.
func TestAcksInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := onPipe(t, Config{})
		s.Hold()
		a, b, c := s.Publish("t", 1, false, []byte("a")), s.Publish("t", 1, false, []byte("b")), s.Publish("t", 0, false, []byte("c"))
		s.Release()
		n, err := far.Read(make([]byte, 64))
		if want := 3*(2+2+1+1) + 2*2; err != nil || n != want {
			t.Fatalf("%d bytes with one write, %v: want all three messages, %d", n, err, want)
		}
		_, _ = far.Write([]byte{0x40, 2, 0, 2})
		synctest.Wait()
		for _, ack := range []*Ack{a, b, c} {
			select {
			case <-ack.Done():
				t.Fatal("done before the first was acknowledged")
			default:
			}
		}
		_, _ = far.Write([]byte{0x40, 2, 0, 9, 0x40, 2, 0, 1}) // the first is of no message
		for _, ack := range []*Ack{a, b, c} {
			if err := ack.Err(); err != nil {
				t.Error(err)
			}
		}
		s.Abort(errors.New("enough"))
		s.Wait()
		far.Close()
	})
}

// A broker that sends what nobody may send to a client is left.
func TestProtocolIsKept(t *testing.T) {
	for name, raw := range map[string][]byte{
		"a message of QoS 2":      {0x34, 5, 0, 1, 't', 0, 7},
		"a CONNECT":               {0x10, 0},
		"a packet of 256 MiB":     {0x30, 0xff, 0xff, 0xff, 0x7f},
		"a length without an end": {0x30, 0xff, 0xff, 0xff, 0xff, 0xff},
		"type 0":                  {0, 0},
	} {
		b := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
			_ = c.Accept(0)
			_, _ = c.Write(raw)
			_, _ = c.Next()
		})
		s := connect(t, Config{URL: b.URL()})
		within(t, name, s.Lost())
	}
}

// A message of QoS 1 is acknowledged once it was handed over.
func TestReceivedIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := onPipe(t, Config{})
		got := make(chan string, 1)
		go func() {
			_ = s.Subscribe(context.Background(), "t/+", 1, func(_ string, p []byte, _ bool) { got <- string(p) })
		}()
		buf := make([]byte, 64)
		if n, err := far.Read(buf); err != nil || buf[0] != 0x82 {
			t.Fatalf("% x, %v: want a SUBSCRIBE", buf[:n], err)
		}
		_, _ = far.Write([]byte{0x90, 3, buf[2], buf[3], 1, 0x32, 8, 0, 3, 't', '/', 'x', 0, 7, 'p'})
		if n, err := far.Read(buf); err != nil || !bytes.Equal(buf[:n], []byte{0x40, 2, 0, 7}) || len(got) != 1 {
			t.Errorf("% x, %v after %d messages: want the PUBACK of the one", buf[:n], err, len(got))
		}
		s.Abort(errors.New("enough"))
		s.Wait()
		far.Close()
	})
}

// What is held goes with one write at the release, or with the loss to its end; what is not a message
// waits for nothing and takes it along.
func TestHoldAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, far := onPipe(t, Config{})
		wrote := func(what string, want int) {
			t.Helper()
			buf := make([]byte, 64)
			if n, err := far.Read(buf); err != nil || n != want {
				t.Errorf("%s: % x, %v; want %d bytes in one write", what, buf[:n], err, want)
			}
		}
		const message = 6 // of type, length, a topic of one letter, a payload of one
		s.Hold()
		for range 3 {
			s.Publish("t", 0, false, []byte("x"))
			synctest.Wait() // the writer would come
		}
		s.Release()
		wrote("released", 3*message)
		s.Hold()
		s.Publish("t", 0, false, []byte("x"))
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Subscribe(ctx, "t", 0, func(string, []byte, bool) {})
		wrote("with a SUBSCRIBE", message+8)
		held := s.Publish("t", 1, false, nil)
		s.Abort(errors.New("enough"))
		if err := held.Err(); !errors.Is(err, ErrLost) {
			t.Errorf("held at the loss: %v", err)
		}
		s.Release()
		s.Wait()
		far.Close()
	})
}
