package history

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"firebreak/agent/journal"
	"firebreak/plugins"
)

// scanned is one segment as it reads back.
type scanned struct {
	index   uint64
	size    int
	header  header
	meta    *meta // nil: it does not read back
	records []raw
	offsets []int    // of the records
	damage  []Damage // what lies between them
}

// scan finds the records of a segment. A damage is passed over: what follows it is found again by
// its checksum. tables are those that the records may belong to when the header does not say.
func scan(index uint64, b []byte, tables []uint32) *scanned {
	s := &scanned{index: index, size: len(b)}
	at := 0
	h, err := parseHeader(b)
	if err == nil && h.index == index {
		tables, at = []uint32{h.table}, headerLen
		s.header = h
	} else {
		tables = slices.Clone(tables)
	}
	bad := 0 // bytes before at that belong to no record
	if at == 0 {
		at, bad = min(headerLen, len(b)), min(headerLen, len(b))
	}
	budget := resyncBudget
	for at < len(b) {
		r, table, ok := find(index, b[at:], tables, bad > 0, &budget)
		if !ok {
			bad++
			at++
			continue
		}
		if bad > 0 {
			s.damage = append(s.damage, Damage{Segment: index, Bytes: bad, What: "does not read back", end: at})
			bad = 0
		}
		tables, s.header = []uint32{table}, header{index, table} // it has shown which they are
		s.records, s.offsets = append(s.records, r), append(s.offsets, at)
		at += r.size
	}
	if bad > 0 {
		s.damage = append(s.damage, Damage{Segment: index, Bytes: bad, What: "does not read back to the end of the file: a torn end, or one that is being written", end: at})
	}
	s.readMeta()
	return s
}

// resyncBudget bounds the bytes that are summed up in search of a record.
const resyncBudget = 256 << 20

func find(index uint64, b []byte, tables []uint32, searching bool, budget *int) (raw, uint32, bool) {
	p, ok := plausible(b)
	if !ok || searching && *budget <= 0 {
		return raw{}, 0, false
	}
	for _, t := range tables {
		if searching {
			*budget -= p.size
		}
		if r, ok := (header{index, t}).parse(b); ok {
			return r, t, true
		}
	}
	return raw{}, 0, false
}

func (s *scanned) readMeta() {
	for _, r := range s.records {
		kind, _, body, err := parsePrefix(r.load)
		if err != nil || kind != kindMeta {
			continue
		}
		var m meta
		if json.Unmarshal(body, &m) == nil && m.names.sum() == s.header.table {
			s.meta = &m
		}
		return
	}
}

// listing names the segments in the order of writing, and what else is there.
func listing(dir journal.FS) (indexes []uint64, ignored []string, err error) {
	names, err := dir.List()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		if ix, ok := parseName(n); ok {
			indexes = append(indexes, ix)
		} else {
			ignored = append(ignored, n)
		}
	}
	slices.Sort(indexes)
	slices.Sort(ignored)
	return indexes, ignored, nil
}

// readSegment returns what can be read of a file; err beside it is the damage.
func readSegment(dir journal.FS, index uint64, buf []byte) ([]byte, error) {
	f, err := dir.Open(segmentName(index), false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := slices.Grow(buf[:0], 1<<16)
	for len(b) < hardSegment {
		if len(b) == cap(b) {
			b = slices.Grow(b, len(b))
		}
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
	return b, fmt.Errorf("it is longer than %d bytes", hardSegment)
}

// catalog is what a start learns of the directory.
type catalog struct {
	ring
	next uint64
}

// catalogue reads the newest segments until one tells of all that are older: one, as a rule.
func catalogue(dir journal.FS) (catalog, error) {
	var c catalog
	indexes, _, err := listing(dir)
	if err != nil {
		return c, err
	}
	if n := len(indexes); n > 0 {
		c.next = indexes[n-1] + 1
	}
	var told map[uint64]segment
	var after []*scanned // from the one that tells on, newest first
	for i := len(indexes) - 1; i >= 0; i-- {
		ix := indexes[i]
		if s, ok := told[ix]; ok {
			c.segments = append(c.segments, s)
			continue
		}
		b, _ := readSegment(dir, ix, nil) // what cannot be read takes room all the same
		s := scan(ix, b, nil)
		c.segments = append(c.segments, s.summary())
		if told == nil {
			after = append(after, s)
		}
		if told == nil && s.meta != nil {
			told = map[uint64]segment{}
			for _, o := range s.meta.Segments {
				told[o.Index] = o
			}
			c.episodes, c.evicted = s.meta.Episodes, s.meta.Evicted
		}
	}
	slices.Reverse(c.segments)
	slices.Reverse(after)
	for _, s := range after {
		s.plans(func(p *plugins.PlanState, at Instant) { c.plan(p, at, s.index) })
	}
	return c, nil
}

// summary is the catalogue's line of a segment that was read.
func (s *scanned) summary() segment {
	out := segment{Index: s.index, Size: int64(s.size)}
	for _, r := range s.records {
		_, at, _, err := parsePrefix(r.load)
		if err != nil {
			continue
		}
		at.Boot = s.boot()
		if out.First == (Instant{}) {
			out.First = at
		}
		out.Last = at
	}
	return out
}

func (s *scanned) boot() string {
	if s.meta == nil {
		return ""
	}
	return s.meta.Boot
}

func (s *scanned) plans(visit func(*plugins.PlanState, Instant)) {
	for _, r := range s.records {
		kind, at, body, err := parsePrefix(r.load)
		if err != nil || kind != kindPlan || len(body) < 1 {
			continue
		}
		at.Boot = s.boot()
		var p plugins.PlanState
		if json.Unmarshal(body[1:], &p) == nil {
			visit(&p, at)
		}
	}
}
