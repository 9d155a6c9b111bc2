package consumer

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/wire"
	"firebreak/sensors"
)

// alone is a consumer that reaches no broker: a test puts into its queue what one would bring.
func alone(t *testing.T, k wire.Key, heard func(Note)) *Consumer {
	t.Helper()
	c, err := New(Config{Name: "noc", Brokers: []Broker{{Name: "b", URL: "mqtt://127.0.0.1:1"}}, Keys: wire.NewRing(k), Heard: heard,
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody there") }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (m said) in() incoming { return incoming{time.Now(), "b", m.topic, m.payload, false} }

// A failover takes a minute in which Heard does not return; the agent says hello all the time. That is no silence,
// and nobody acts on one.
func TestHeardThatTakesLong(t *testing.T) {
	s, k := newKey(t, "rack1")
	for range 8 { // which of queue and clock is looked at first is chance
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, s, "rack1", "i1", 100)
			ctx, cancel := context.WithCancel(context.Background())
			var verdicts []Verdict
			busy := true
			c := alone(t, k, func(n Note) {
				if n.Kind == VerdictNow {
					verdicts = append(verdicts, n.Verdict)
				}
				if n.Plan != nil && busy {
					busy = false
					time.Sleep(time.Minute)
				}
			})
			done := make(chan error)
			go func() { done <- c.Run(ctx) }()
			c.in <- f.hello().in()
			c.in <- f.plan("2b", 7).in()
			for range 60 {
				time.Sleep(2 * time.Second)
				c.in <- f.hello().in()
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if len(verdicts) != 1 || verdicts[0] != Live {
				t.Errorf("verdicts %v of an agent that lives", verdicts)
			}
		})
	}
}

// A process that was stopped for a minute finds the hellos of that time in its sockets, and maybe its clock before
// them: it does not say that the agent is silent, whatever runs first.
func TestProcessThatWasStopped(t *testing.T) {
	s, k := newKey(t, "rack1")
	for _, first := range []string{"clock", "pulse", "hello"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t, s, "rack1", "i1", 100)
			var got []Note
			c := alone(t, k, func(n Note) { got = append(got, n) })
			c.pulsed, c.boot = time.Now(), c.uptime()
			c.take(f.hello().in())
			c.take(f.plan("2b", 7).in())
			c.tick()
			time.Sleep(time.Minute) // nothing runs
			got = nil
			switch first {
			case "clock":
				c.tick()
			case "hello":
				c.take(f.hello().in())
				c.tick()
			}
			c.beat(time.Now())
			c.tick()
			c.take(f.hello().in())
			time.Sleep(look)
			c.beat(time.Now())
			c.tick()
			want := "verdict unknown; verdict live"
			if first == "hello" {
				want = ""
			}
			expect(t, "first the "+first, got, want)
			// It is judged as ever from then on.
			got = nil
			for range 47 {
				time.Sleep(look)
				c.beat(time.Now())
				c.tick()
			}
			expect(t, "12 s later", got, "verdict silent-after-alarm ACT")
		})
	}
}

// A host that was suspended for an hour has a process whose clock did not move. What was known before is no word of
// the last 12 s: a plan that a broker has retained is not acted on before the agent says hello.
func TestHostThatSlept(t *testing.T) {
	s, k := newKey(t, "rack1")
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, s, "rack1", "i1", 100)
		var got []Note
		c := alone(t, k, func(n Note) { got = append(got, n) })
		up := sensors.Mono(time.Hour)
		c.uptime = func() sensors.Mono { return up }
		run := func(d time.Duration) {
			for ; d > 0; d -= look {
				time.Sleep(look)
				up = up.Add(look)
				c.beat(time.Now())
				c.tick()
			}
		}
		c.pulsed, c.boot = time.Now(), up
		c.take(f.hello().in())
		run(2 * time.Second)
		up, got = up.Add(time.Hour), nil
		run(look)
		m := f.plan("2b", 7).in()
		m.retained = true
		c.take(m)
		c.take(f.hello().in())
		run(10 * time.Second)
		expect(t, "after an hour", got, "verdict unknown; plan stage 2b; verdict live; plan stage 2b ACT")
	})
}
