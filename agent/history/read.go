package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"firebreak/agent/journal"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Record is one thing read back; exactly one of the pointers after Names is set, but for Begins,
// where none is. It holds until the visit returns.
type Record struct {
	Segment uint64
	Offset  int // in the segment: with it, the place in the history
	At      Instant
	Info    *Info // of the process that wrote it
	Points  []Point
	Devices []string

	Begins bool // the first of a segment
	Poll   *sensors.Batch
	Mark   plugins.Mark
	Alarm  *plugins.AlarmState
	Plan   *plugins.PlanState
	Event  *plugins.Event
	Gap    *Gap
	JSON   []byte // of alarm, plan or event, as it was written
}

// Damage is a place that does not read back.
type Damage struct {
	Segment uint64
	Bytes   int
	What    string
	After   Instant // of the last record before it; zero: none is known

	end int // offset of what follows it
}

// Hole is a run of numbers that are not there: dropped by a full queue, damaged, or evicted.
type Hole struct {
	Instance      string
	Count         uint64
	After, Before Instant
}

// Missing is a segment that was written and is not there any more.
type Missing struct {
	Index       uint64
	First, Last Instant
	Bytes       int64
	Short       int64 // so many bytes of it are missing; 0: all
}

// Report is what a reader could not read.
type Report struct {
	Segments int
	Damage   []Damage
	Holes    []Hole
	Missing  []Missing
	Evicted  Evicted
	Ignored  []string // files that are none of the history's
}

// Walk visits what the directory holds in the order in which it was written. The writer may go on
// meanwhile: what it adds may be missing, and what it takes is among the missing. An error is the
// visitor's own, or means that the directory cannot be listed.
func Walk(dir journal.FS, visit func(*Record) error) (*Report, error) {
	indexes, ignored, err := listing(dir)
	if err != nil {
		return nil, fmt.Errorf("history: list the directory: %w", err)
	}
	w := &walker{dir: dir, visit: visit, rep: &Report{Ignored: ignored}, seen: map[string]mark{},
		told: map[uint64]segment{}, sizes: map[uint64]int64{}, tables: map[uint32]*meta{}}
	for i, ix := range indexes {
		if err := w.segment(ix, indexes[i+1:]); err != nil {
			return w.rep, err
		}
	}
	w.missing()
	return w.rep, nil
}

type walker struct {
	dir    journal.FS
	visit  func(*Record) error
	rep    *Report
	buf    []byte
	dec    decoder
	seen   map[string]mark // by instance
	told   map[uint64]segment
	order  []uint64 // of told
	sizes  map[uint64]int64
	tables map[uint32]*meta
	newest uint32
	last   Instant
}

// mark is how far the numbers of a process have come.
type mark struct {
	n  uint64
	at Instant
}

func (w *walker) segment(ix uint64, later []uint64) error {
	b, err := readSegment(w.dir, ix, w.buf)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // evicted since the listing: a later catalogue tells of it
	case err != nil:
		w.rep.Damage = append(w.rep.Damage, Damage{Segment: ix, What: err.Error(), After: w.last})
	}
	if cap(b) <= hardSegment {
		w.buf = b
	}
	w.sizes[ix] = int64(len(b))
	w.rep.Segments++
	var tables []uint32
	if _, err := parseHeader(b); err != nil {
		tables = w.candidates(later)
	}
	s := scan(ix, b, tables)
	if s.meta != nil {
		w.learn(s.meta)
		return w.records(s, s.meta)
	}
	if w.tables[s.header.table] == nil { // a neighbour may have the same points
		_ = w.candidates(later)
	}
	return w.records(s, w.borrow(s))
}

// candidates are the tables that a segment without a header may have: those of its neighbours.
func (w *walker) candidates(later []uint64) []uint32 {
	out := []uint32{w.newest}
	for _, ix := range later[:min(len(later), 3)] {
		b, _ := readSegment(w.dir, ix, nil)
		if s := scan(ix, b, nil); s.meta != nil {
			w.tables[s.header.table] = s.meta
			return append(out, s.header.table)
		}
	}
	return out
}

// borrow gives a segment whose own meta record is damaged the points of a neighbour, and the process
// too if the numbers go on where that one's ended.
func (w *walker) borrow(s *scanned) *meta {
	m := w.tables[s.header.table]
	if m == nil {
		return nil
	}
	for _, r := range s.records {
		if r.n > 0 {
			if r.n == w.seen[m.Instance].n+1 {
				return m
			}
			break
		}
	}
	return &meta{names: m.names}
}

func (w *walker) learn(m *meta) {
	w.newest = m.names.sum()
	w.tables[w.newest] = m
	w.rep.Evicted = m.Evicted
	for _, s := range m.Segments {
		if _, have := w.told[s.Index]; !have {
			w.order = append(w.order, s.Index)
		}
		w.told[s.Index] = s
	}
}

func (w *walker) records(s *scanned, m *meta) error {
	damage, k := s.damage, 0
	tell := func(before int) { // of the damage that lies before an offset
		for ; k < len(damage) && damage[k].end <= before; k++ {
			damage[k].After = w.last
			w.rep.Damage = append(w.rep.Damage, damage[k])
		}
	}
	var firsts []sensors.PointID
	if m != nil {
		firsts = m.names.firsts()
	}
	for i, raw := range s.records {
		tell(s.offsets[i])
		if err := w.record(s, s.offsets[i], raw, m, firsts); err != nil {
			return err
		}
	}
	tell(s.size + 1)
	return nil
}

func (w *walker) record(s *scanned, offset int, r raw, m *meta, firsts []sensors.PointID) error {
	kind, at, body, err := parsePrefix(r.load)
	rec := Record{Segment: s.index, Offset: offset}
	if m != nil {
		rec.Info, rec.Points, rec.Devices = &m.Info, m.Points, m.Devices
		at.Boot = m.Boot
	}
	rec.At = at
	if err != nil {
		return w.bad(s.index, r)
	}
	switch kind {
	case kindMeta:
		rec.Begins = true
	case kindGap:
		rec.Gap = &Gap{}
		err = json.Unmarshal(body, rec.Gap)
	case kindFrame:
		if m == nil {
			return w.bad(s.index, r)
		}
		return w.frame(rec, r, body, firsts)
	default:
		err = rec.other(kind, body)
	}
	if err != nil {
		return w.bad(s.index, r)
	}
	if r.n > 0 && !w.number(rec.Info, r.n, 1, at) {
		return nil
	}
	w.last = at
	return w.visit(&rec)
}

func (r *Record) other(kind byte, body []byte) error {
	if len(body) < 1 {
		return errBad
	}
	r.Mark, r.JSON = plugins.Mark(body[0]), body[1:]
	switch kind {
	case kindAlarm:
		r.Alarm = &plugins.AlarmState{}
		return json.Unmarshal(r.JSON, r.Alarm)
	case kindPlan:
		r.Plan = &plugins.PlanState{}
		return json.Unmarshal(r.JSON, r.Plan)
	}
	r.Event = &plugins.Event{}
	return json.Unmarshal(r.JSON, r.Event)
}

// bad is a record that has its checksum and makes no sense: of another version, perhaps.
func (w *walker) bad(ix uint64, r raw) error {
	w.rep.Damage = append(w.rep.Damage, Damage{Segment: ix, Bytes: r.size, What: "cannot be understood", After: w.last})
	return nil
}

func (w *walker) frame(rec Record, r raw, body []byte, firsts []sensors.PointID) error {
	polls, err := w.dec.frame(body, rec.At, func(d sensors.DeviceID) (sensors.PointID, bool) {
		if int64(d) >= int64(len(firsts)) {
			return 0, false
		}
		return firsts[d], true
	})
	if err != nil {
		return w.bad(rec.Segment, r)
	}
	if !w.number(rec.Info, r.n, uint64(len(polls)), rec.At) {
		return nil
	}
	base := rec.At
	for i := range polls {
		rec.Poll, rec.At.Wall, rec.At.Mono = &polls[i], polls[i].Wall.UnixMilli(), base.Mono
		if len(polls[i].Readings) > 0 {
			rec.At.Mono = polls[i].Readings[0].At
		}
		w.last = rec.At
		if err := w.visit(&rec); err != nil {
			return err
		}
	}
	return nil
}

// number follows the numbers of a process: false means that these were there already, which is what
// an attempt leaves that failed after its data had reached the disk.
func (w *walker) number(i *Info, n, count uint64, at Instant) bool {
	if i == nil || i.Instance == "" {
		return true // nobody knows whose they are
	}
	was, have := w.seen[i.Instance]
	if have && n+count-1 <= was.n {
		return false
	}
	if have && n > was.n+1 {
		w.rep.Holes = append(w.rep.Holes, Hole{i.Instance, n - was.n - 1, was.at, at})
	}
	w.seen[i.Instance] = mark{n + count - 1, at}
	return true
}

// missing compares what the catalogues tell with what was there.
func (w *walker) missing() {
	for _, ix := range w.order {
		s := w.told[ix]
		size, there := w.sizes[ix]
		switch {
		case !there:
			w.rep.Missing = append(w.rep.Missing, Missing{Index: ix, First: s.First, Last: s.Last, Bytes: s.Size})
		case size < s.Size:
			w.rep.Missing = append(w.rep.Missing, Missing{ix, s.First, s.Last, s.Size, s.Size - size})
		}
	}
}

// Between visits what was read and told from one instant of the wall clock to another.
func Between(dir journal.FS, from, to time.Time, visit func(*Record) error) (*Report, error) {
	return Walk(dir, func(r *Record) error {
		if at := r.At.Time(); at.Before(from) || at.After(to) {
			return nil
		}
		return visit(r)
	})
}
