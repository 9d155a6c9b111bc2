package uplink

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/wire"
)

// Limits of the outbox.
const (
	outboxSegment = 1 << 20
	outboxSync    = 200 * time.Millisecond // after a decision, when the journal has had its own fsync
	outboxSilent  = 5 * time.Second        // a disk that does not answer for so long is told
	outboxRetry   = 5 * time.Second        // the least pause before a directory is opened again
	outboxClose   = time.Second
	placesEvery   = 5 * time.Second // so much is told twice after a kill
	maxEarly      = 4096            // kept until the log is open, with their bytes
	maxEarlyBytes = 8 << 20
)

// outbox keeps on disk what brokers have not acknowledged, so that a kill does not cost it: one log, and a
// place in it for each broker. It is the journal's log with a bound in bytes, in a directory of its own: what
// that has learned of torn writes, full disks and those that hang holds here too.
//
// put only copies into the journal's bounded queue, and look only asks; a goroutine opens, and the journal's
// own writes. What cannot be kept is told all the same, from memory: it is counted, and problem says why.
type outbox struct {
	diskLog // its lock is taken after the uplink's and never around a link's
	u       *Uplink

	last   place            // given last
	early  []kept           // given before the log was open
	size   int              // of those
	marks  []mark           // what some broker lacks, oldest first
	at     map[string]place // by broker: all up to there was acknowledged, or dropped
	covers uint64
	dirty  bool // places moved since the last snapshot
	wrote  time.Time
	unkept uint64 // messages that are in memory alone
	known  bool   // the problem was told
	clocks []clockMark
	buf    []byte
	words  words  // what a SIGKILL leaves, whether or not the log has it
	left   uint64 // number in the log of the last that came from the words of lives before this one
}

// mark is where a message stands in the journal; seq 0: it was refused.
type mark struct {
	place
	seq uint64
}

// cursors is the snapshot of the log.
type cursors struct {
	Brokers map[string]place `json:"brokers"`
	Clocks  []clockMark      `json:"clocks,omitempty"`
}

func newOutbox(u *Uplink) *outbox {
	if u.cfg.Store == nil || u.cfg.Drill || len(u.links) == 0 {
		return nil
	}
	return &outbox{u: u, last: place{Epoch: u.cfg.Epoch}, at: map[string]place{}, words: words{to: u.cfg.Memory}, diskLog: diskLog{store: u.cfg.Store, log: u.cfg.Log, since: time.Now(),
		opt: journal.Options{SegmentBytes: min(outboxSegment, max(u.cfg.MaxLogBytes/8, 1)), KeepBytes: u.cfg.MaxLogBytes, MaxRecord: wire.MaxPayload + 8<<10, SyncAfter: outboxSync}}}
}

// put numbers a message and keeps it. It never waits for the disk.
func (o *outbox) put(m *wire.Message) {
	if o == nil || m.Drill || !keeps(m.Class) {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last.N++
	switch m.Class {
	case wire.Alarm:
		o.last.Alarm = m.Seq
	case wire.Event:
		o.last.Event = m.Seq
	}
	m.Log = o.last.N
	k := kept{place: o.last, boot: o.u.cfg.Boot, wall: o.u.cfg.Now().UnixMilli(), mono: o.u.cfg.mono(), m: *m}
	k.m.Instance = o.u.cfg.Instance
	if o.words.to != nil {
		o.buf = k.append(o.buf[:0])
		o.words.put(o.buf)
	}
	switch size := o.size + len(m.Payload); {
	case o.j != nil:
		o.write(&k)
	case len(o.early) < maxEarly && size <= maxEarlyBytes:
		o.early, o.size = append(o.early, k), size
	default:
		o.unkept++
	}
}

// write hands a record to the journal. The lock is held.
func (o *outbox) write(k *kept) {
	seq := o.j.Append(k.append(nil))
	if seq == 0 {
		o.unkept++
	}
	o.marks = append(o.marks, mark{k.place, seq})
}

// run opens the log, and keeps it until the context ends.
func (o *outbox) run(ctx context.Context) {
	if o.open(ctx, o.resume); o.u.cfg.Memory == nil {
		return
	}
	o.mu.Lock()
	j, left := o.j, o.left
	o.mu.Unlock()
	for j != nil && j.DurableSeq() < left {
		select {
		case <-j.Durable():
		case <-ctx.Done():
			return // the next life finds it again
		}
	}
	if j == nil {
		return
	}
	if err := o.u.cfg.Memory.Forget(); err != nil {
		o.log.Warn("what the life before has left in memory stays there", "component", "uplink", "error", err)
	}
}

// resume hands the brokers what they lacked when the life before ended, and takes the log into use.
func (o *outbox) resume(a opened) {
	var c cursors
	first := a.rec.Snapshot == nil || json.Unmarshal(a.rec.Snapshot, &c) != nil
	o.clocks = c.Clocks // before it is in use: look leaves them alone
	list, last := o.read(a.rec.Records, place{})
	if o.u.cfg.Memory != nil {
		list, last = o.complete(a.j, list, last)
	}
	at := map[string]place{}
	for _, l := range o.u.links {
		p, known := c.Brokers[l.b.Name]
		if !known && !first { // a broker that is new
			p = last
		}
		at[l.b.Name] = p
		l.older(list, p)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.use(a)
	o.at, o.covers, o.dirty = at, a.rec.SnapshotSeq, true
	for i := range list {
		o.marks = append(o.marks, mark{list[i].place, list[i].seq})
	}
	for i := range o.early {
		o.write(&o.early[i])
	}
	o.early, o.size = nil, 0
}

// complete adds what the log's writer had not handed to the kernel when the life before was killed.
func (o *outbox) complete(j *journal.Journal, list []stored, last place) ([]stored, place) {
	var said []journal.Record
	for _, b := range o.u.cfg.Memory.Left() {
		for _, r := range readWords(b) {
			said = append(said, journal.Record{Payload: r})
		}
	}
	more, last := o.read(said, last)
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range more {
		if more[i].seq = j.Append(more[i].append(nil)); more[i].seq != 0 {
			o.left = more[i].seq
		}
	}
	return append(list, more...), last
}

// look moves the place of each broker to what it has acknowledged, lets go what all have, and tells when the
// log cannot be kept, or can be again.
func (o *outbox) look(now time.Time) {
	if o == nil {
		return
	}
	type front struct{ epoch, n uint64 } // the oldest that a broker lacks; n 0: it has all
	fronts := make([]front, len(o.u.links))
	o.u.mu.Lock() // so that what is given is with the links too
	for i, l := range o.u.links {
		l.mu.Lock()
		fronts[i].epoch, fronts[i].n = l.backlog.lacks(o.u.cfg.Epoch)
		l.mu.Unlock()
	}
	o.mu.Lock()
	o.u.mu.Unlock()
	defer o.mu.Unlock()
	if o.j != nil {
		for i, l := range o.u.links {
			o.move(l.b.Name, fronts[i].epoch, fronts[i].n)
		}
		var added bool
		o.clocks, added = clocked(o.clocks, o.u)
		o.dirty = o.dirty || added
		o.trim(now)
	}
	problem := o.problem(now)
	if known := problem != nil; known != o.known {
		if o.known = known; o.u.cfg.Unkept != nil {
			o.u.cfg.Unkept(problem)
		}
	}
}

// move sets a broker's place to just before the message that it lacks. The lock is held.
func (o *outbox) move(broker string, epoch, n uint64) {
	i := len(o.marks)
	if n > 0 {
		i, _ = slices.BinarySearchFunc(o.marks, place{Epoch: epoch, N: n}, func(m mark, p place) int {
			switch {
			case m.before(p.Epoch, p.N):
				return -1
			case p.before(m.Epoch, m.N):
				return 1
			}
			return 0
		})
	}
	if i == 0 {
		return
	}
	if p := o.marks[i-1].place; o.at[broker].before(p.Epoch, p.N) {
		o.at[broker], o.dirty = p, true
	}
}

// trim forgets what every broker has, and has the places written. The lock is held.
func (o *outbox) trim(now time.Time) {
	if !o.dirty || now.Sub(o.wrote) < placesEvery {
		return
	}
	n := 0
	for ; n < len(o.marks); n++ {
		m := &o.marks[n]
		if slices.ContainsFunc(o.u.links, func(l *link) bool { return o.at[l.b.Name].before(m.Epoch, m.N) }) {
			break
		}
		o.covers = max(o.covers, m.seq)
	}
	o.marks = slices.Delete(o.marks, 0, n)
	b, err := json.Marshal(cursors{o.at, o.clocks}) // strings and numbers: it cannot fail
	if err == nil && o.j.Snapshot(b, o.covers) == nil {
		o.dirty, o.wrote = false, now
	}
}

// KeptStats is how it stands with the log of what waits for brokers.
type KeptStats struct {
	Waiting int    // messages in it that some broker lacks
	Unkept  uint64 // messages that never came into it
	Error   string // why it is not kept now; empty: it is
}

func (o *outbox) stats() *KeptStats {
	if o == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &KeptStats{Waiting: len(o.marks) + len(o.early), Unkept: o.unkept}
	if err := o.problem(time.Now()); err != nil {
		s.Error = err.Error()
	}
	return s
}

// close writes the last places. A disk that hangs is not waited for.
func (o *outbox) close() {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.wrote = time.Time{}
	o.mu.Unlock()
	o.look(time.Now())
	o.end()
}
