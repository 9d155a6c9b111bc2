package guard

import (
	"context"
	"slices"
	"sync"
	"time"

	"firebreak/agent/journal"
	"firebreak/plugins"
	"firebreak/sensors"
)

// inbox is a Mailbox without a bound, for tests.
type inbox struct {
	mu    sync.Mutex
	b     []sensors.Batch
	ready chan struct{}
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

func (i *inbox) Ready() <-chan struct{} { return i.ready }

func (i *inbox) Take(dst []sensors.Batch) []sensors.Batch {
	i.mu.Lock()
	defer i.mu.Unlock()
	dst = append(dst, i.b...)
	i.b = nil
	return dst
}

func (i *inbox) put(b sensors.Batch) {
	i.mu.Lock()
	i.b = append(i.b, b)
	i.mu.Unlock()
	select {
	case i.ready <- struct{}{}:
	default:
	}
}

// fakeHook is one hook; do may be nil: done at once.
type fakeHook struct {
	do func(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome

	mu    sync.Mutex
	calls []plugins.Call
	at    []time.Time
}

func (h *fakeHook) Probe(context.Context) error { return nil }

func (h *fakeHook) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	h.mu.Lock()
	h.calls, h.at = append(h.calls, c), append(h.at, time.Now())
	h.mu.Unlock()
	if h.do == nil {
		return plugins.Outcome{Result: plugins.Done}
	}
	return h.do(ctx, c, seen)
}

// DoPoised is Do once it may be.
func (h *fakeHook) DoPoised(ctx context.Context, c plugins.Call, leave plugins.Leave, seen func(plugins.Evidence)) plugins.Outcome {
	return onLeave{h}.DoPoised(ctx, c, leave, seen)
}

// onLeave makes a hook one that is called ahead.
type onLeave struct{ plugins.Hook }

func (h onLeave) DoPoised(ctx context.Context, c plugins.Call, leave plugins.Leave, seen func(plugins.Evidence)) plugins.Outcome {
	select {
	case <-leave.Given:
		return h.Do(ctx, c, seen)
	case <-ctx.Done():
		return plugins.Outcome{Result: plugins.Unknown}
	}
}

func (h *fakeHook) seen() []plugins.Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.calls)
}

func (h *fakeHook) times() []time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.at)
}

// fakePub keeps what it is told; offer, if any, comes first.
type fakePub struct {
	offer func(plugins.Update)

	mu  sync.Mutex
	got []plugins.Update
}

func (p *fakePub) Offer(u plugins.Update) {
	if p.offer != nil {
		p.offer(u)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, u)
}

// alarm is the last state that was told of an alarm.
func (p *fakePub) alarm(name string) (last plugins.AlarmState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.got {
		if u.Alarm != nil && u.Alarm.Name == name {
			last = *u.Alarm
		}
	}
	return last
}

// count is how often a change of an alarm was told.
func (p *fakePub) count(name string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.got {
		if u.Alarm != nil && u.Alarm.Name == name {
			n++
		}
	}
	return n
}

func (p *fakePub) states() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range p.got {
		if u.State != nil {
			n++
		}
	}
	return n
}

// fakeJournal is a disk whose answers the test times. With lag < 0 it never answers.
type fakeJournal struct {
	mu      sync.Mutex
	lag     time.Duration
	refuse  bool
	max     int // largest record; 0: any
	groups  int // how often something was appended
	recs    []journal.Record
	snaps   int
	snap    []byte
	covers  uint64
	durable uint64
	ch      chan journal.Durable
}

func newFakeJournal(lag time.Duration) *fakeJournal {
	return &fakeJournal{lag: lag, ch: make(chan journal.Durable, 1)}
}

func (j *fakeJournal) Append(loads ...[]byte) (seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.groups++
	if j.refuse || j.max > 0 && slices.ContainsFunc(loads, func(b []byte) bool { return len(b) > j.max }) {
		return 0
	}
	for _, b := range loads {
		seq = uint64(len(j.recs)) + 1
		j.recs = append(j.recs, journal.Record{Seq: seq, Payload: slices.Clone(b)})
	}
	if j.lag >= 0 {
		time.AfterFunc(j.lag, func() { j.done(seq) })
	}
	return seq
}

// done makes all up to seq durable.
func (j *fakeJournal) done(seq uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.durable = max(j.durable, seq)
	select {
	case <-j.ch:
	default:
	}
	j.ch <- journal.Durable{Seq: j.durable}
}

func (j *fakeJournal) set(f func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	f()
}

func (j *fakeJournal) last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return uint64(len(j.recs))
}

func (j *fakeJournal) DurableSeq() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.durable
}

func (j *fakeJournal) Durable() <-chan journal.Durable { return j.ch }

func (j *fakeJournal) Snapshot(b []byte, covers uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.refuse {
		return journal.ErrClosed
	}
	j.snaps++
	j.snap, j.covers = slices.Clone(b), covers
	return nil
}

// recovered is what a start would find; without the snapshot that a stop leaves.
func (j *fakeJournal) recovered() *journal.Recovered {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &journal.Recovered{Records: slices.Clone(j.recs), LastSeq: uint64(len(j.recs))}
}
