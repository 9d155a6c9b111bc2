package uplink

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
)

// cut answers so many packets, takes so many more without an answer, and ends the connection,
// every other time by reset. It returns how many PUBACKs it tried to send.
func cut(n int, c *brokertest.Conn, in *inbox, answered, silent int) (pubacks uint64) {
	_ = c.Accept(0)
	for k := 0; k < answered || k-answered < silent; k++ {
		p, err := c.Next()
		if err != nil {
			return pubacks
		}
		if p.Type != brokertest.Publish {
			continue
		}
		in.add(n, p.Topic, p.Retained, p.Payload)
		if k < answered {
			pubacks++
			_ = c.Ack(p)
		}
	}
	if n%2 == 0 {
		_ = c.Conn.(*net.TCPConn).SetLinger(0)
	}
	return pubacks
}

// Forty sessions are cut, orderly or by reset, after some messages, of which the last few were
// taken without an answer. No acknowledgement is believed that was not sent, all arrives in order,
// and when the uplink has ended nothing of it runs on.
func TestCutSessions(t *testing.T) {
	const sessions, n = 40, 3000
	before := runtime.NumGoroutine()
	in := newInbox()
	var pubacks atomic.Uint64
	b := brokertest.Start(t, func(i int, c *brokertest.Conn) {
		r := rand.New(rand.NewPCG(1, uint64(i)))
		answered, silent := 2+r.IntN(60), r.IntN(30)
		if i > sessions {
			answered = math.MaxInt
		}
		pubacks.Add(cut(i, c, in, answered, silent))
	})
	cfg := config(b.URL())
	cfg.BackoffMin, cfg.BackoffMax, cfg.AckTimeout = time.Millisecond, 2*time.Millisecond, 200*time.Millisecond
	u, stop := start(t, cfg)
	for i := range n {
		u.Offer(state(i))
		if i%10 == 0 {
			u.Offer(alarm(fmt.Sprint("a", i%3), uint64(i), 1, true))
		}
		if i%100 == 0 { // the rest comes while sessions are cut
			awaitStats(t, u, func(s BrokerStats) bool { return s.Queued < 200 })
		}
	}
	got := in.await(t, "everything", func(got []received) bool {
		return len(got) >= n && len(distinct(got, "state")) == n && len(distinct(got, "alarm")) == n/10
	})
	if !slices.IsSorted(distinct(got, "alarm")) { // of readings those of now go before those that waited
		t.Error("alarms came out of order")
	}
	stop()
	b.Stop()
	s := u.Stats().Brokers[0]
	if s.Sessions < sessions || s.Acked > pubacks.Load() || s.Queued != 0 {
		t.Errorf("%d acknowledgements believed, %d sent; %+v", s.Acked, pubacks.Load(), s)
	}
	t.Logf("%d sessions, %d messages in %d publishes", s.Sessions, n+n/10, s.Published)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); runtime.NumGoroutine() > before; <-tick.C {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), buf[:runtime.Stack(buf, true)])
		}
	}
}

// A disk that hangs under a password costs a moment: with what was read last it goes on, without any it says
// so, and the end of the uplink waits for neither.
func TestCredentialsOnADiskThatHangs(t *testing.T) {
	pass := filepath.Join(t.TempDir(), "pass")
	if err := syscall.Mkfifo(pass, 0o600); err != nil { // nobody writes: opening it waits for ever
		t.Fatal(err)
	}
	t.Cleanup(func() { // lets the one read go
		if f, err := os.OpenFile(pass, os.O_RDWR, 0); err == nil {
			_ = f.Close()
		}
	})
	cfg := config("mqtt://127.0.0.1:1")
	cfg.Brokers[0].PasswordFile = pass
	u, stop := start(t, cfg)
	awaitStats(t, u, func(s BrokerStats) bool {
		return strings.Contains(s.LastError, "credentials of broker b0: not read within")
	})
	stop()
}

// The files are read at each connection: one that comes late, or is changed, needs no restart.
func TestCredentialsFromFiles(t *testing.T) {
	connects := make(chan []byte, 100)
	b := brokertest.Start(t, func(_ int, c *brokertest.Conn) {
		_ = c.Accept(0)
		connects <- c.Connect
		_, _ = c.Next()
	})
	dir := t.TempDir()
	user, pass := filepath.Join(dir, "user"), filepath.Join(dir, "pass")
	if err := os.WriteFile(user, []byte("u5er\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config(b.URL())
	cfg.Brokers[0].UsernameFile, cfg.Brokers[0].PasswordFile = user, pass
	u, _ := start(t, cfg)
	awaitStats(t, u, func(s BrokerStats) bool { return strings.Contains(s.LastError, "credentials of broker b0: password") })
	for _, secret := range []string{"s3cret", "0ther"} {
		if err := os.WriteFile(pass+".new", []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(pass+".new", pass); err != nil {
			t.Fatal(err)
		}
		for deadline := time.After(patience); ; {
			var body []byte
			select {
			case body = <-connects:
			case <-deadline:
				t.Fatalf("no connection with %q", secret)
			}
			if !bytes.Contains(body, []byte("u5er")) || !bytes.Contains(body, []byte("MQTT\x04")) || !bytes.Contains(body, []byte("\x00\x05agent")) ||
				!bytes.Contains(body, []byte("firebreak/1/status/site/zone/agent")) || !bytes.Contains(body, []byte(`"reason":"lost"`)) {
				t.Fatalf("CONNECT lacks protocol 4, client id, will or user: %q", body)
			}
			if bytes.HasSuffix(body, []byte(secret)) {
				break
			}
		}
	}
	var d wire.Drops
	if u.Stats().Brokers[0].Dropped != d {
		t.Error("something was dropped")
	}
	for _, f := range []func(*Broker){
		func(b *Broker) { b.CAFile = user }, func(b *Broker) { b.CAFile = "/nonexistent" },
		func(b *Broker) { b.CertFile, b.KeyFile = user, user },
	} {
		c := config("mqtts://127.0.0.1:1")
		f(&c.Brokers[0])
		v, _ := start(t, c)
		awaitStats(t, v, func(s BrokerStats) bool { return strings.Contains(s.LastError, "of broker b0") })
	}
}
