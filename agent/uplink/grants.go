package uplink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
)

// A broker acknowledges what its access list forbids, and drops it. So each session tries what it may:
// it writes an echo below its own topics of each class and reads it back. What does not come back is
// told in Stats, and by status; the session goes on, since half a voice is better than none.
const grantWait = 5 * time.Second

// echoes are the classes of a lane whose topics have a level below the agent. Status and hello are read
// back as they are: see watch and mute.
func (n lane) echoes() []wire.Class {
	switch n {
	case telemetry:
		return []wire.Class{wire.State}
	case alarms:
		return []wire.Class{wire.Alarm, wire.Plan, wire.Event}
	}
	return []wire.Class{wire.Alarm, wire.Plan, wire.Event, wire.State}
}

func (f *flight) tryGrantsBeside() {
	short := f.short
	f.wg.Go(func() { f.tryGrants(short) })
}

// tryGrants is one round of echoes, and of the subscriptions by which orders and receipts come.
//
// mosquitto 2.0.11 ends the session of whoever publishes with QoS 1 what it forbids. So the echo has QoS
// 0, and sessions that end soon, again and again, say what did not come back.
func (f *flight) tryGrants(short int) {
	ctx, cancel := context.WithTimeout(context.Background(), grantWait)
	defer cancel()
	id := f.u.identity()
	clean := true
	if f.lane != telemetry {
		clean = f.hear(ctx, id.Topic(wire.Cmd, false, ""), f.command)
		if len(f.u.cfg.Consumers) > 0 {
			clean = f.hear(ctx, id.Topic(wire.Receipt, false, "")+"/+", f.receipt) && clean
		}
		clean = f.protect(ctx) && clean
	}
	var mu sync.Mutex
	back := map[string]bool{}
	all := make(chan struct{})
	var want []string
	for _, c := range f.lane.echoes() {
		topic := id.Topic(c, false, wire.EchoName)
		want = append(want, topic)
		if !f.hear(ctx, topic, func(topic string, _ []byte, _ bool) {
			mu.Lock()
			defer mu.Unlock()
			if back[topic] {
				return
			}
			if back[topic] = true; len(back) == len(f.lane.echoes()) {
				close(all)
			}
		}) {
			return
		}
	}
	for _, topic := range want {
		f.s.Publish(topic, 0, false, []byte(`{"echo":true}`))
	}
	select {
	case <-all:
		f.mu.Lock()
		if f.st.Granted = clean; clean {
			f.st.Refused = ""
		}
		f.mu.Unlock()
		return
	case <-f.s.Lost():
		if short < 2 {
			return
		}
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	var missing []string
	for _, topic := range want {
		if !back[topic] {
			missing = append(missing, topic)
		}
	}
	f.refused("what is written does not come back", fmt.Errorf("let agent %s write and read %s", f.u.cfg.Agent, strings.Join(missing, ", ")))
}

// hear subscribes; false: the broker refused, which is noted, or the session is over.
func (f *flight) hear(ctx context.Context, filter string, got func(string, []byte, bool)) bool {
	err := f.s.Subscribe(ctx, filter, 0, got)
	if err != nil && !errors.Is(err, session.ErrLost) {
		f.refused("a subscription was refused", err)
	}
	return err == nil
}

// ownHello takes what stands on the agent's own hello topic: its own words show that the broker passes
// on what it takes.
func (l *link) ownHello(topic string, payload []byte, retained bool) {
	if l.u.twins.hello(topic, payload, retained) != l.u.cfg.Instance {
		return
	}
	l.mu.Lock()
	l.echoAt, l.echoed = time.Now(), true
	l.mu.Unlock()
}

var errMute = errors.New("the broker takes what is told and passes nothing on: a new session is made")

// mute tells whether the session is connected and yet nobody hears it. It counts only on a broker that
// has passed on a hello of this agent before: an access list may forbid that.
func (f *flight) mute(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lane != telemetry && f.echoed && now.Sub(f.echoAt) > 6*f.u.cfg.HelloEvery
}
