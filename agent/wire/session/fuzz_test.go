package session

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzBroker lets a broker that has accepted the session send anything. The session ends with the
// connection at the latest, each message has a fate, and only a PUBACK makes it an acknowledgement.
func FuzzBroker(f *testing.F) {
	connack := []byte{0x20, 2, 0, 0}
	for _, seed := range [][]byte{
		append(connack, 0x40, 2, 0, 2, 0x40, 2, 0, 1),                       // acknowledged in another order
		append(connack, 0x90, 3, 0, 1, 1, 0x30, 4, 0, 1, 'a', 'x', 0xd0, 0), // subscribed, a message, an answer to a ping
		append(connack, 0x90, 3, 0, 1, 0x80),                                // refused
		append(connack, 0x32, 3, 0, 9, 'a'),                                 // a topic that is longer than its packet
		append(connack, 0x32, 3, 0, 1, 'a'),                                 // QoS 1 without an id
		append(connack, 0x30, 0xff, 0xff, 0xff, 0xff, 0x7f),                 // a length of five bytes
		append(connack, 0x30, 0x80, 0x80, 0x80, 0x08, 0),                    // 16 MiB and more
		append(connack, 0x40, 0), append(connack, 0x40, 1, 0), append(connack, 0x90, 0), append(connack, 0x36, 5, 0, 1, 'a', 0, 1),
		append(connack, 0x00, 0), append(connack, 0xf0, 0), append(connack, 0x10, 2, 0, 0), append(connack, 0x82, 5, 0, 1, 0, 0),
		{0x20, 2, 0, 5}, {0x20, 2, 0, 200}, {0x20, 0}, {0x20}, {}, {0xd0, 0},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, says []byte) {
		synctest.Test(t, func(t *testing.T) { againstBroker(t, says) })
	})
}

func againstBroker(t *testing.T, says []byte) {
	ours, theirs := net.Pipe()
	var broker sync.WaitGroup
	broker.Go(func() { _, _ = io.Copy(io.Discard, theirs) })
	broker.Go(func() {
		_, _ = theirs.Write(says[:min(4, len(says))])
		<-time.After(time.Second) // what the agent asks for is on its way
		_, _ = theirs.Write(says[min(4, len(says)):])
		<-time.After(time.Second)
		_ = theirs.Close()
	})
	defer broker.Wait()
	cfg := Config{URL: "mqtt://broker", ClientID: "a", Dial: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
	s, err := Connect(t.Context(), cfg)
	if err != nil {
		return
	}
	acks := []*Ack{s.Publish("t", 1, false, []byte("x")), s.Publish("t", 1, true, []byte("y"))}
	_ = s.Subscribe(t.Context(), "#", 1, func(_ string, payload []byte, _ bool) { _ = len(payload) })
	s.Wait()
	for _, a := range acks {
		if err := a.Err(); err == nil && !slices.ContainsFunc(says, func(b byte) bool { return b>>4 == 4 }) {
			t.Fatal("acknowledged, and there was no PUBACK")
		}
	}
	if s.Cause() == nil {
		t.Fatal("the session ended for no cause")
	}
}
