package uplink

import (
	"context"
	"slices"
	"time"

	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
)

const (
	// replayStep is how often some of the history may follow what is of now.
	replayStep = 100 * time.Millisecond
	// gather is how long telemetry waits for more of it: what comes meanwhile goes with one write, and costs one
	// wake of each of those that it passes. Nothing waits that somebody acts on.
	gather     = 5 * time.Millisecond
	gatherMost = 32 // with so much it does not wait
)

// flight is one session at work: the messages in flight, oldest first. It belongs to the link's
// goroutine.
type flight struct {
	*link
	s         *session.Session
	session   uint64
	birth     wire.Message
	allowance int          // of history that may still be sent in this step of time
	held      bool         // some of it waits for the next step
	timed     bool         // the timer of that step runs
	flushAt   time.Time    // when the telemetry that is gathered goes; zero: none is
	signer    *wire.Signer // nil: nothing is signed
	out       []outgoing
	good      bool
}

type outgoing struct {
	m    *wire.Message
	from source
	ack  *session.Ack
	at   time.Time
}

// serve tells until the session or the context ends. Birth first, then what the backlog says.
func (f *flight) serve(ctx context.Context) error {
	if err := f.begin(); err != nil {
		f.s.Abort(err)
		return err
	}
	late, watched := time.NewTimer(0), true // a wake costs more than a message: it is set only while something is in flight
	defer late.Stop()
	stopping, stopped := ctx.Done(), (<-chan time.Time)(nil)
	replay, flush := time.NewTimer(0), time.NewTimer(0)
	defer replay.Stop()
	defer flush.Stop()
	for {
		switch wait := f.gathers(stopped != nil); {
		case wait == 0:
			f.fill()
		case f.flushAt.IsZero():
			f.flushAt = time.Now().Add(wait)
			flush.Reset(wait)
		}
		if len(f.out) > 0 && !watched {
			watched = true
			late.Reset(max(f.u.cfg.AckTimeout-time.Since(f.out[0].at), 0) + time.Millisecond)
		}
		if f.held && !f.timed { // it runs only while something waits for it
			f.timed = true
			replay.Reset(replayStep)
		}
		if stopped != nil && len(f.out) == 0 {
			return f.farewell()
		}
		select {
		case <-f.acked():
			if err := f.settle(); err != nil {
				f.s.Abort(err)
				return err
			}
			continue
		case <-f.wake:
		case <-flush.C:
		case <-replay.C:
			f.held, f.timed = false, false
			f.allowance = max(1, int(float64(f.u.cfg.ReplayRate)*replayStep.Seconds()))
		case <-f.s.Lost():
			_ = f.settle() // what was acknowledged before the loss need not be sent again
			return f.s.Cause()
		case <-late.C:
			watched = false
		case <-stopping:
			stopping = nil
			t := time.NewTimer(f.u.cfg.StopTimeout)
			defer t.Stop()
			stopped = t.C
		case <-stopped:
			return f.farewell()
		}
		if err := f.unheard(time.Now()); err != nil {
			f.s.Abort(err)
			return err
		}
	}
}

// gathers is how long telemetry still waits for more of it, or 0. While it does, none of it wakes the link
// until there is so much that it waits no more.
func (f *flight) gathers(stopping bool) time.Duration {
	if f.lane != telemetry {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := gather
	if !f.flushAt.IsZero() {
		wait = time.Until(f.flushAt)
	}
	n := f.backlog.unsentStates()
	f.gathering = wait > 0 && n > 0 && n < gatherMost && !stopping && !f.together
	f.together = false
	if f.gathering {
		return wait
	}
	f.flushAt = time.Time{}
	return 0
}

// unheard is why the session is of no use: what was told is not acknowledged in time, or not passed on.
// The hellos, which wake the link, have it looked at.
func (f *flight) unheard(now time.Time) error {
	if f.mute(now) {
		return errMute
	}
	if len(f.out) == 0 || now.Sub(f.out[0].at) <= f.u.cfg.AckTimeout {
		return nil
	}
	if err := f.settle(); err != nil || len(f.out) == 0 {
		return err
	}
	if d := now.Sub(f.out[0].at); d > f.u.cfg.AckTimeout {
		return silent(d)
	}
	return nil
}

// begin tells the birth and makes the backlog ready to be told from its start.
func (f *flight) begin() error {
	if f.lane == telemetry {
		f.ready()
		f.tryGrantsBeside()
		return nil
	}
	d := f.both().Dropped
	var err error
	f.birth, err = f.u.status(func(e *wire.Encoder) (wire.Message, error) { return e.Birth(f.session, f.u.cfg.Now(), d) })
	if err != nil {
		return err
	}
	f.ready()
	first := f.birth.Retained() && f.short >= 2
	if first {
		ctx, cancel := context.WithTimeout(context.Background(), twinWait)
		f.watch(ctx, f.s, f.session, f.birth.Topic)
		cancel()
	}
	told := f.send(&f.birth, fromNowhere, false)
	if f.birth.Retained() && !first {
		f.wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			if told.Err() == nil { // before it, what is retained is rightly older
				f.watch(ctx, f.s, f.session, f.birth.Topic)
			}
		})
	}
	f.wg.Go(func() { f.listen(f.s) })
	f.tryGrantsBeside()
	if f.u.cfg.Foreign != nil {
		f.wg.Go(f.hearForeign)
	}
	f.log.Info("broker connected")
	return nil
}

// ready makes the backlog ready to be told from its start.
func (f *flight) ready() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.backlog.reconnected()
	f.backlog.allow = func() bool {
		f.allowance--
		f.held = f.held || f.allowance < 0
		return f.allowance >= 0
	}
	f.rebirth, f.echoAt = false, time.Now()
	f.st.Connected, f.st.LastError, f.st.Granted = true, "", false
}

// fill sends all that may be sent now, telemetry in one write. A hello does not wait for the window.
func (f *flight) fill() {
	if f.lane == telemetry {
		f.s.Hold()
		defer f.s.Release()
	}
	for {
		f.mu.Lock()
		hello, rebirth := f.hello, f.rebirth
		f.hello, f.rebirth = nil, false
		m, from := f.backlog.next(len(f.out))
		replayed := m != nil && f.backlog.superseded(m, from)
		queued, drops, gaps := f.backlog.waiting(), f.backlog.dropped, slices.Clone(f.backlog.gaps)
		f.mu.Unlock()
		if rebirth {
			f.send(&f.birth, fromNowhere, false)
		}
		if f.mate != nil && hello != nil {
			t := f.mate.stats()
			queued, drops, gaps = queued+t.Queued, drops.Add(t.Dropped), append(gaps, t.Gaps...)
		}
		if hello != nil {
			if h, err := hello.Hello(f.session, queued, drops, gaps); err == nil {
				f.send(&h, fromNowhere, false)
			}
		}
		if m == nil {
			return
		}
		f.send(m, from, replayed)
	}
}

// send hands a message to the session. What has waited says for how long (see wire.Message.Aged).
func (f *flight) send(m *wire.Message, from source, replayed bool) *session.Ack {
	wall, now, held := f.u.cfg.Now(), time.Now(), time.Duration(0) // both clocks at one instant
	if !m.Made.IsZero() {
		held = now.Sub(m.Made)
	}
	topic, payload := m.Topic, m.Aged(held, replayed)
	if from == fromElder || from == fromHistory {
		topic, payload = m.Past()
	}
	if m.Unset && !m.Made.IsZero() && !f.u.unset.Load() {
		payload = wire.Corrected(payload, wall.Add(-held).UnixMilli())
	}
	if m.Class.Signed() || f.u.cfg.SignState {
		payload = f.signer.Sign(topic, payload)
	}
	// What stands retained is the word of the life that lives: it has told each of its alarms and plans.
	ack := f.s.Publish(topic, m.QoS(), m.Retained() && from != fromOlder, payload)
	f.out = append(f.out, outgoing{m, from, ack, now})
	f.mu.Lock()
	f.st.Published++
	f.mu.Unlock()
	return ack
}

// acked is closed when the fate of the oldest message is known, or, of telemetry, that of so many as are
// sent together; nil when none is in flight.
func (f *flight) acked() <-chan struct{} {
	switch n := len(f.out); {
	case n == 0:
		return nil
	case f.lane == telemetry:
		return f.out[min(n, gatherMost)-1].ack.Done()
	}
	return f.out[0].ack.Done()
}

// settle takes the acknowledged messages from the front.
func (f *flight) settle() error {
	n := 0
	var err error
	f.mu.Lock()
	for ; n < len(f.out) && err == nil; n++ {
		o := &f.out[n]
		select {
		case <-o.ack.Done():
			if err = o.ack.Err(); err == nil {
				f.backlog.acked(o.m, o.from)
				f.st.Acked++
				f.good = true
				continue
			}
		default:
		}
		break
	}
	f.mu.Unlock()
	f.out = append(f.out[:0], f.out[n:]...)
	return err
}

// farewell says that the agent has stopped, and closes the session.
func (f *flight) farewell() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	d := f.both().Dropped
	m, err := f.u.status(func(e *wire.Encoder) (wire.Message, error) { return e.Offline(f.session, f.u.cfg.Now(), "stopped", d) })
	if err == nil && f.lane != telemetry {
		f.send(&m, fromNowhere, false)
		select {
		case <-f.out[len(f.out)-1].ack.Done():
			_ = f.settle()
		case <-f.s.Lost():
		case <-ctx.Done():
		}
	}
	if cerr := f.s.Close(ctx); err == nil {
		err = cerr
	}
	return err
}
