package hub

import (
	"context"
	"fmt"
	"testing"

	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
)

// The limits of docs/hub.md. A session has 63 subscriptions at QoS 1, and half of that where they end in #, of which
// the server makes two each.
func TestSubscriptionsOfOneSession(t *testing.T) {
	h := open(t, Config{Name: "hub", Listen: "127.0.0.1:0", Dir: t.TempDir()})
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	for filter, want := range map[string]int{"firebreak/1/alarm/s/z/a%d": 63, "firebreak/1/alarm/s%d/#": 31} {
		s, err := session.Connect(ctx, session.Config{URL: h.URL(), ClientID: fmt.Sprint("c", want)})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; n < 100; n++ {
			if err := s.Subscribe(ctx, fmt.Sprintf(filter, n), 1, func(string, []byte, bool) {}); err != nil {
				break
			}
		}
		if n != want {
			t.Errorf("%s: %d subscriptions, and the page says %d", filter, n, want)
		}
		s.Abort(context.Canceled)
		s.Wait()
	}
}

// A message that is too large ends the connection, and is not acknowledged: nobody takes it for told. The largest that
// an agent makes passes.
func TestMessageTooLarge(t *testing.T) {
	h := open(t, Config{Name: "hub", Listen: "127.0.0.1:0", Dir: t.TempDir()})
	for size, taken := range map[int]bool{wire.MaxPayload: true, 1<<20 + 1: false} {
		s, err := session.Connect(t.Context(), session.Config{URL: h.URL(), ClientID: fmt.Sprint("c", size)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Publish("firebreak/1/event/s/z/a", 1, false, make([]byte, size)).Err(); (err == nil) != taken {
			t.Errorf("%d bytes: %v", size, err)
		}
		s.Abort(context.Canceled)
		s.Wait()
	}
}
