package consumer

import (
	"context"
	"time"

	"firebreak/sensors"
)

// Paused says that whoever feeds the book has heard nothing for a while, up to now: it stood still for d, since the
// process was stopped or its host gave it no time, and slept for so long as no clock of the process has counted, since
// the host was suspended. That is no silence of the agents, and nothing is missed for it. An agent of which nothing was
// heard for so long that it would be silent is unknown until its next hello.
func (b *Book) Paused(now time.Time, d, slept time.Duration) []Note {
	b.out = b.out[:0]
	later := func(t *time.Time) {
		if !t.IsZero() {
			if *t = t.Add(d); t.After(now) { // it came behind the pause
				*t = now
			}
		}
	}
	for _, a := range b.agents {
		heard := now.Sub(a.heardAt) + slept
		later(&a.heardAt)
		later(&a.stageAt)
		for _, l := range a.lives {
			later(&l.differsAt)
			for c := range l.seqs {
				later(&l.seqs[c].missing)
			}
		}
		for _, l := range a.past {
			for c := range l.seqs {
				later(&l.seqs[c].missing)
			}
		}
		if a.verdict == Live && heard >= silentAfter && a.cur.hellos > 0 {
			b.verdict(a, now, Unknown, "this consumer itself stood still for "+(d+slept).Round(time.Second).String()+": not known until its next hello")
		}
	}
	return b.out
}

// pauseMin is how long nothing of the process must have run, to be a pause and no busy moment.
const pauseMin = 2 * time.Second

// pulse finds out when the process stood still. It does nothing else, so that a Heard that takes long is no pause:
// what comes meanwhile is read and kept.
func (c *Consumer) pulse(ctx context.Context) {
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.beat(time.Now())
		}
	}
}

func (c *Consumer) beat(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, boot := now.Sub(c.pulsed), c.uptime()
	if slept := boot.Sub(c.boot) - d; slept > pauseMin {
		c.slept += slept
	}
	if d > pauseMin {
		c.paused += d
	}
	c.pulsed, c.boot = now, boot
}

// uptime counts suspension too, unlike the clock of the process.
func uptime() sensors.Mono { return sensors.NewClock().Now() }

// tick has the book look at what time alone shows, when all has been taken that came before: what stood in the
// queue while Heard took long was no silence. What the process stood still is no silence either; what came in that
// time is in the sockets and not in the queue.
func (c *Consumer) tick() {
	now := time.Now()
	for n := len(c.in); n > 0; n-- {
		c.take(<-c.in)
	}
	c.mu.Lock()
	late, d, slept := now.Sub(c.pulsed) > pauseMin, c.paused, c.slept
	if !late {
		c.paused, c.slept = 0, 0
	}
	c.mu.Unlock()
	if late { // the next beat says by how much
		return
	}
	if d+slept > 0 {
		c.hear(func() []Note { return c.book.Paused(now, d, slept) })
	}
	c.hear(func() []Note { return c.book.Tick(now) })
}
