package uplink

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"encoding/json"
	"slices"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/wire"
)

// Times and sizes of the log of readings.
const (
	spillAfter = 250 * time.Millisecond // a poll that no broker lacks by then never comes to the disk
	spillIdle  = time.Second            // how often it is looked whether a broker lacks any
	spillSync  = time.Second
	spillGroup = 256 << 10 // bytes of polls in one record, before they are compressed
	spillMarks = 4096
)

// spill keeps on disk the readings that wait for a broker, so that a kill in an outage does not cost them. While all
// brokers acknowledge within spillAfter it writes nothing.
//
// It looks at the queues of the sessions, copies what has waited from there, and belongs to a goroutine of its
// own: whoever offers readings does not know that it is there. A record is a group of polls, compressed. What
// is lost by a disk that hangs or refuses is what a kill then costs.
type spill struct {
	diskLog
	u *Uplink

	// Of its goroutine.
	last   uint64           // number of the last poll that was looked at
	marks  []spilt          // what is in the log and some broker lacks, oldest first
	at     map[string]place // by broker: all up to there was acknowledged, or dropped; N is the poll's number
	covers uint64
	clocks []clockMark
	dirty  bool
	wrote  time.Time
}

// spilt is a group in the log, by its last poll.
type spilt struct {
	epoch, n uint64
	seq      uint64 // in the journal
}

func newSpill(u *Uplink) *spill {
	if u.cfg.StoreReadings == nil || u.cfg.Drill || len(u.links) == 0 {
		return nil
	}
	keep := int64(max(u.cfg.MaxStateBytes/2, 1))
	return &spill{u: u, at: map[string]place{}, diskLog: diskLog{store: u.cfg.StoreReadings, log: u.cfg.Log, since: time.Now(),
		opt: journal.Options{SegmentBytes: max(keep/8, 1), KeepBytes: keep, MaxRecord: maxSpilt, SyncAfter: spillSync}}}
}

// readings is the lane of a broker by which readings go.
func (l *link) readings() *link {
	if l.mate != nil {
		return l.mate
	}
	return l
}

// run keeps the log until the context ends, and once more when the sessions have ended.
func (s *spill) run(ctx context.Context, ended <-chan struct{}) {
	s.open(ctx, s.resume)
	t := time.NewTimer(spillIdle)
	defer t.Stop()
	for {
		select {
		case <-ended: // what waits now is for the next life
			s.keep(time.Now())
			s.wrote = time.Time{}
			s.look(time.Now())
			s.end()
			return
		case now := <-t.C:
			pause := spillIdle
			if s.keep(now.Add(-spillAfter)) {
				pause = spillAfter
			}
			s.look(now)
			t.Reset(pause)
		}
	}
}

// keep writes what has waited since before; false: nothing waits.
func (s *spill) keep(before time.Time) (waits bool) {
	s.mu.Lock()
	j := s.j
	s.mu.Unlock()
	if j == nil {
		return false
	}
	var found []*wire.Message
	for _, l := range s.u.links {
		l = l.readings()
		l.mu.Lock()
		for _, q := range []*queue{&l.backlog.states, &l.backlog.history} {
			waits = waits || q.n > 0
			for i := q.n - 1; i >= 0 && ((*q.at(i)).Drill || (*q.at(i)).Seq > s.last); i-- {
				if m := *q.at(i); !m.Drill && m.Made.Before(before) {
					found = append(found, m)
				}
			}
		}
		l.mu.Unlock()
	}
	slices.SortFunc(found, func(x, y *wire.Message) int { return cmp.Compare(x.Seq, y.Seq) })
	found = slices.CompactFunc(found, func(x, y *wire.Message) bool { return x.Seq == y.Seq })
	for len(found) > 0 {
		n, size := 0, 0
		for ; n < len(found) && (n == 0 || size+len(found[n].Payload) <= spillGroup); n++ {
			size += len(found[n].Payload)
		}
		s.group(j, found[:n])
		found = found[n:]
	}
	return waits
}

// group writes polls as one record.
func (s *spill) group(j *journal.Journal, polls []*wire.Message) {
	c := &s.u.cfg
	now, mono := c.Now(), c.mono()
	g := spiltGroup{Epoch: c.Epoch, Instance: c.Instance, Boot: c.Boot, Wall: now.UnixMilli(), Mono: mono}
	for _, m := range polls {
		g.Polls = append(g.Polls, spiltPoll{m.Seq, time.Since(m.Made), m.Unset, m.Topic, m.Payload})
	}
	s.last = polls[len(polls)-1].Seq
	seq := j.Append(g.append(nil))
	if seq == 0 {
		return // the disk does not follow: they wait in memory
	}
	if len(s.marks) == 0 {
		s.dirty = true // the places as of now, so that little is told twice
	}
	if len(s.marks) == spillMarks { // of an outage so long that its record is gone, or goes with the next
		s.marks = slices.Delete(s.marks, 0, 1)
	}
	s.marks = append(s.marks, spilt{c.Epoch, s.last, seq})
}

// resume hands each broker what it lacked when the life before ended.
func (s *spill) resume(a opened) {
	var c cursors
	first := a.rec.Snapshot == nil || json.Unmarshal(a.rec.Snapshot, &c) != nil
	at, last := map[string]place{}, place{}
	now := s.u.instant()
	var marks []spilt
	for _, r := range a.rec.Records {
		g, err := readSpilt(r.Payload)
		if err != nil || g.Epoch >= s.u.cfg.Epoch || !last.before(g.Epoch, g.Polls[len(g.Polls)-1].Seq) {
			continue
		}
		polls := g.messages(now, c.Clocks)
		for _, l := range s.u.links {
			if from, known := c.Brokers[l.b.Name]; known || first {
				l.readings().elder(polls, from)
			}
		}
		last = place{Epoch: g.Epoch, N: g.Polls[len(g.Polls)-1].Seq}
		marks = append(marks, spilt{last.Epoch, last.N, r.Seq})
	}
	for _, l := range s.u.links {
		p, known := c.Brokers[l.b.Name]
		if !known && !first { // a broker that is new
			p = last
		}
		at[l.b.Name] = p
	}
	s.at, s.marks, s.covers, s.dirty, s.clocks = at, marks, a.rec.SnapshotSeq, len(marks) > 0, c.Clocks
	s.mu.Lock()
	s.use(a)
	s.mu.Unlock()
}

// elder makes readings of an earlier life, behind a place, due to be told.
func (l *link) elder(polls []*wire.Message, from place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range polls {
		if from.before(m.Epoch, m.Seq) {
			l.backlog.elder.push(m)
		}
	}
	l.backlog.limitStates()
	l.awake()
}

// look moves the places, and lets go what all brokers have.
func (s *spill) look(now time.Time) {
	s.mu.Lock()
	j := s.j
	s.mu.Unlock()
	if j == nil || len(s.marks) == 0 {
		return
	}
	for _, l := range s.u.links {
		r := l.readings()
		r.mu.Lock()
		epoch, n := r.backlog.lacksPoll(s.u.cfg.Epoch)
		r.mu.Unlock()
		p := place{Epoch: epoch, N: n - 1}
		if n == 0 {
			p = place{Epoch: s.u.cfg.Epoch, N: s.last}
		}
		if s.at[l.b.Name].before(p.Epoch, p.N) {
			s.at[l.b.Name], s.dirty = p, true
		}
	}
	var added bool
	s.clocks, added = clocked(s.clocks, s.u)
	if s.dirty = s.dirty || added; !s.dirty || now.Sub(s.wrote) < placesEvery {
		return
	}
	n, covers := 0, s.covers
	for ; n < len(s.marks); n++ {
		m := &s.marks[n]
		if slices.ContainsFunc(s.u.links, func(l *link) bool { return s.at[l.b.Name].before(m.epoch, m.n) }) {
			break
		}
		covers = max(covers, m.seq)
	}
	b, err := json.Marshal(cursors{s.at, s.clocks}) // strings and numbers: it cannot fail
	if err == nil && j.Snapshot(b, covers) == nil {
		s.marks, s.covers = slices.Delete(s.marks, 0, n), covers
		s.dirty, s.wrote = false, now
	}
}

// deflate compresses a record. Polls of one device are alike: an eighth is left of them.
func deflate(b []byte) []byte {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil // the level is a constant and a buffer takes all: it cannot be
	}
	return out.Bytes()
}
