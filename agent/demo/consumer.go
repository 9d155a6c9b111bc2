package demo

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"time"

	"firebreak/agent/wire/session"
	"firebreak/plugins"
	"firebreak/sensors/sim"
)

// consumer is the name of the orchestrator in its answers.
const consumer = "orchestrator-1"

// retryMax bounds the pause before a target connects again, in real time.
const retryMax = 250 * time.Millisecond

// topic is that of the commands, as the configuration names it. The agent acts on simulated readings
// and keeps below the drill topics (S7), and there its consumer listens.
func (t *targets) topic() string      { return "site/failover/" + t.agent }
func (t *targets) drillTopic() string { return drillTree + t.topic() }

const drillTree = "firebreak/1/drill/"

// command is what the consumer reads of a command, docs/hooks-mqtt.md.
type command struct {
	Key     string `json:"key"`
	Step    string `json:"step"`
	Mark    string `json:"mark"`
	Undo    bool   `json:"undo"`
	Probe   bool   `json:"probe"`
	ReplyTo string `json:"reply_to"`
}

// orchestrator keeps the rules for consumers: the work of one key once, an answer each time.
type orchestrator struct {
	t     *targets
	said  map[string]string // by key: accept, decline, done
	tasks map[string]command
}

// orchestrate holds a session with the broker and answers its commands, until ctx ends.
func (t *targets) orchestrate(ctx context.Context, broker string) {
	o := &orchestrator{t: t, said: map[string]string{}, tasks: map[string]command{}}
	for ctx.Err() == nil {
		s, err := session.Connect(ctx, session.Config{URL: broker, ClientID: t.agent + ":" + consumer})
		if err == nil {
			o.serve(ctx, s)
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(retryMax)):
		}
	}
}

// serve answers on one session until it is lost. Commands wait in a bounded queue; what does not fit
// is sent again by the hook.
func (o *orchestrator) serve(ctx context.Context, s *session.Session) {
	defer func() {
		bye, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		_ = s.Close(bye)
	}()
	in := make(chan command, 64)
	err := s.Subscribe(ctx, o.t.drillTopic(), 1, func(_ string, payload []byte, retained bool) {
		var c command
		if retained || json.Unmarshal(payload, &c) != nil || c.Key == "" || !strings.HasPrefix(c.ReplyTo, drillTree) {
			return // nothing that is played here answers on a live topic (S7)
		}
		select {
		case in <- c:
		default:
		}
	})
	if err != nil {
		return
	}
	for key, c := range o.tasks { // what was said on a session that broke may not have been heard
		o.say(s, c, o.said[key])
	}
	every := time.NewTicker(look)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Lost():
			return
		case c := <-in:
			o.take(s, c)
		case <-every.C:
			o.finish(s)
		}
	}
}

// take answers a command. A key that is known starts nothing again.
func (o *orchestrator) take(s *session.Session, c command) {
	switch {
	case c.Probe:
		o.say(s, c, "probe")
		return
	case o.said[c.Key] == "":
		o.say(s, c, plugins.SeenReceipt)
		o.tasks[c.Key], o.said[c.Key] = c, plugins.SeenDecline
		if c.Mark == plugins.MarkReal.String() && !c.Undo && sim.WorkTime(c.Step) > 0 {
			o.said[c.Key] = plugins.SeenAccept
			o.t.start(c.Step, time.Now())
		}
	}
	o.say(s, c, o.said[c.Key])
}

// finish says done of what is.
func (o *orchestrator) finish(s *session.Session) {
	for key, c := range o.tasks {
		if o.said[key] == plugins.SeenAccept && o.t.world.WorkDone(c.Step) {
			o.said[key] = plugins.SeenDone
			o.say(s, c, plugins.SeenDone)
		}
	}
}

// say does not wait for the broker: what is lost with the session is said again on the next.
func (o *orchestrator) say(s *session.Session, c command, answer string) {
	text, err := json.Marshal(map[string]string{"key": c.Key, "answer": answer, "consumer": consumer, "version": "1"})
	if err == nil {
		s.Publish(c.ReplyTo, 1, false, text)
	}
}
