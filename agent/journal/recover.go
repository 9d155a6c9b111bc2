package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
)

// Record is one entry read back. Payload may not be changed: the writer may yet write it again.
type Record struct {
	Seq     uint64
	Payload []byte
}

// Recovered is what Open found. Snapshot is nil if there is none, else the state after
// SnapshotSeq; Records follow it in order, all in memory: snapshots or KeepBytes bound them.
type Recovered struct {
	Snapshot    []byte
	SnapshotSeq uint64
	Records     []Record
	LastSeq     uint64 // of the last record, or SnapshotSeq

	// Repaired says what was cut or set aside; empty: the files were as a clean end leaves them. A
	// torn tail is what a power loss leaves. Damaged: records that were durable are gone, or may be.
	Repaired string
	Damaged  bool
	Ignored  []string // files that are none of the journal's; left alone
}

// found is all that a scan of the directory tells.
type found struct {
	rec   Recovered
	notes []string

	next     uint64 // first sequence to give
	index    uint64 // first free segment index
	prev     uint64 // known durable; records after it are written again into the first new segment
	rewrite  []Record
	segs     []segment // believed, in order
	snaps    []uint64  // valid ones by covers, ascending
	aside    []string  // to be renamed
	remove   []string  // to be removed: leftovers without content
	oldAside []string  // set aside by earlier runs, oldest first
	badSnap  uint64    // highest covers of a damaged snapshot
}

type segment struct {
	name string
	last uint64 // last sequence that it is needed for; 0: holds no record
	size int64
}

// scanned is one segment file with what could be read of it.
type scanned struct {
	segHeader
	name    string
	headed  bool
	records []rawRecord
	size    int
	badFrom int    // size: all of it was good
	proof   bool   // what is bad holds, or was followed by, something that was durable
	high    uint64 // highest sequence seen anywhere in it
	synced  uint64 // what the records behind the damage say was durable before them
	note    string
}

func (s *scanned) last() uint64 {
	if len(s.records) == 0 {
		return 0
	}
	return s.records[len(s.records)-1].seq
}

// scan reads the directory and changes nothing.
func scan(fs FS, opt Options) (*found, error) {
	names, err := fs.List()
	if err != nil {
		return nil, fmt.Errorf("journal: list the directory: %w", err)
	}
	slices.Sort(names) // equals order by number: the names have a fixed width
	f := &found{}
	var segNames, snapNames []string
	for _, name := range names {
		stem, _, isAside := strings.Cut(name, asideMark)
		ix, isSeg := parseName(stem, segmentSuffix)
		_, isSnap := parseName(stem, snapshotSuffix)
		if isSeg {
			f.index = max(f.index, ix)
		}
		switch {
		case isAside && (isSeg || isSnap):
			f.oldAside = append(f.oldAside, name)
		case isSeg:
			segNames = append(segNames, name)
		case isSnap:
			snapNames = append(snapNames, name)
		case name == tempName:
			f.remove = append(f.remove, name)
		default:
			f.rec.Ignored = append(f.rec.Ignored, name)
		}
	}
	f.index++
	high, err := f.loadSnapshots(fs, snapNames)
	if err != nil {
		return nil, err
	}
	segHigh, err := f.loadSegments(fs, segNames, opt.KeepBytes > 0)
	if err != nil {
		return nil, err
	}
	f.next = max(high, segHigh, f.rec.LastSeq) + 1
	if len(names) > len(f.rec.Ignored) {
		f.next += seqGap
	}
	f.rec.Repaired = strings.Join(f.notes, "; ")
	return f, nil
}

// loadSnapshots takes the newest valid one.
func (f *found) loadSnapshots(fs FS, names []string) (high uint64, err error) {
	for _, name := range names {
		covers, _ := parseName(name, snapshotSuffix)
		b, note, err := readAll(fs, name, hardSnapshot)
		if err != nil {
			return 0, err
		}
		load, bad := parseSnapshot(covers, b)
		if bad != nil || note != "" {
			f.aside = append(f.aside, name)
			if bad == nil {
				bad = errors.New("its content would fit")
			}
			f.notes = append(f.notes, fmt.Sprintf("snapshot %s set aside: %s%v", name, note, bad))
			high = max(high, covers)
			f.badSnap = max(f.badSnap, covers)
			continue
		}
		f.snaps = append(f.snaps, covers)
		f.rec.Snapshot, f.rec.SnapshotSeq = load, covers
		high = max(high, covers)
	}
	return high, nil
}

// loadSegments follows the chain of prev. lead allows it to begin anywhere.
func (f *found) loadSegments(fs FS, names []string, lead bool) (high uint64, err error) {
	var records []Record
	var last, synced uint64
	var tail *scanned // the segment that gave the newest record
	orphans := 0
	for _, name := range names {
		s, err := readSegment(fs, name)
		if err != nil {
			return 0, err
		}
		high = max(high, s.high)
		reach := max(last, f.rec.SnapshotSeq)
		switch {
		case !s.headed:
			high += seqGap // it may have held that many
			f.setAside(s, s.note)
			f.rec.Damaged = f.rec.Damaged || s.proof || s.synced > reach
			continue
		case s.prev > reach && !(lead && len(f.segs) == 0):
			orphans++
			f.rec.Damaged = true
			f.setAside(s, fmt.Sprintf("it follows record %d, but only %d was found", s.prev, reach))
			continue
		}
		if tail != nil && tail.badFrom < tail.size && s.prev > last {
			f.notes = append(f.notes, fmt.Sprintf("segment %s is damaged, but a snapshot covers the rest", tail.name))
		}
		synced = max(synced, s.prev)
		for _, r := range s.records {
			synced = max(synced, r.synced)
			if r.seq > last {
				records = append(records, Record{r.seq, bytes.Clone(r.load)})
				last = r.seq
			}
		}
		tail, orphans = s, 0
		f.segs = append(f.segs, segment{name, s.last(), int64(s.size)})
	}
	f.endOfChain(records, last, synced, tail, orphans)
	return high, nil
}

// endOfChain decides what of the tail is written again. What may sit in the page cache only is
// copied into the first new segment, because a later segment may build only on what is durable.
func (f *found) endOfChain(records []Record, last, synced uint64, tail *scanned, orphans int) {
	f.prev = synced
	if tail != nil && tail.badFrom < tail.size {
		lost := tail.proof || orphans > 0
		note := fmt.Sprintf("segment %s: %d bytes after record %d do not read back", tail.name, tail.size-tail.badFrom, last)
		if lost {
			note += "; it is set aside, its good part kept"
			f.prev = tail.prev
			f.aside = append(f.aside, tail.name)
			f.segs = f.segs[:len(f.segs)-1]
		}
		f.notes = append(f.notes, note)
		f.rec.Damaged = f.rec.Damaged || tail.proof
	}
	if last < f.rec.SnapshotSeq {
		last = f.rec.SnapshotSeq
		f.prev = last
	}
	f.rec.LastSeq = last
	f.rec.Damaged = f.rec.Damaged || f.badSnap > last
	for i, r := range records {
		if r.Seq > f.prev {
			f.rewrite = records[i:]
			break
		}
	}
	for i, r := range records {
		if r.Seq > f.rec.SnapshotSeq {
			f.rec.Records = records[i:]
			break
		}
	}
	// Segments without a record are no longer needed.
	f.segs = slices.DeleteFunc(f.segs, func(s segment) bool {
		if s.last == 0 {
			f.remove = append(f.remove, s.name)
		}
		return s.last == 0
	})
}

func (f *found) setAside(s *scanned, why string) {
	f.aside = append(f.aside, s.name)
	f.notes = append(f.notes, fmt.Sprintf("segment %s set aside (%d records, %d bytes): %s", s.name, len(s.records), s.size, why))
}

func readSegment(fs FS, name string) (*scanned, error) {
	index, _ := parseName(name, segmentSuffix)
	b, note, err := readAll(fs, name, hardSegment+2*hardRecord)
	if err != nil {
		return nil, err
	}
	s := &scanned{name: name, size: len(b), badFrom: len(b), note: note, proof: note != ""}
	s.segHeader, err = parseSegHeader(b)
	if err != nil || s.index != index {
		s.badFrom, s.note = 0, note+"its header does not read back"
		if err == nil {
			s.note = fmt.Sprintf("its header says index %d", s.index)
			s.high = max(s.prev, s.base)
			s.proof = true
		}
		s.resync(index, b, 0)
		return s, nil
	}
	s.headed = true
	s.high = s.prev
	if s.base > 0 {
		s.high = max(s.high, s.base-1)
	}
	at := segmentHeader
	for at < len(b) {
		r, ok := parseRecord(index, b[at:])
		if !ok || r.seq <= s.last() {
			break
		}
		s.records = append(s.records, r)
		at += r.size
	}
	s.high = max(s.high, s.last())
	if note != "" || at < len(b) {
		s.badFrom = at
		s.resync(index, b, at)
		if note != "" {
			s.size++ // something was there that could not be read
		}
	}
	return s, nil
}

// resyncBudget bounds the bytes that resync sums up: garbage costs far less, and only a file made
// to waste our time more.
const resyncBudget = 128 << 20

// resync looks for records behind a damage. One that was written when more was durable than what
// still reads back proves that the damage is no torn tail.
func (s *scanned) resync(index uint64, b []byte, from int) {
	last, budget := s.last(), resyncBudget
	for at := from; at+recordHeader <= len(b) && budget > 0; at++ {
		p, ok := plausible(b[at:])
		if !ok || p.seq <= last {
			continue
		}
		budget -= p.size
		r, ok := parseRecord(index, b[at:])
		if !ok {
			continue
		}
		s.high = max(s.high, r.seq)
		s.synced = max(s.synced, r.synced)
		at += r.size - 1
	}
	s.proof = s.proof || s.headed && s.synced > max(last, s.prev)
}

// readAll reads a file. A disk that cannot read back what it holds is damage, told in note with
// what could be read; any other failure is an error, and nothing may be concluded from it.
func readAll(fs FS, name string, limit int) (b []byte, note string, err error) {
	const tries = 3
	for range tries {
		b, err = readOnce(fs, name, limit)
		if err == nil {
			if len(b) > limit {
				return b[:limit], "it is longer than any of ours; ", nil
			}
			return b, "", nil
		}
	}
	for _, damage := range []error{syscall.EIO, syscall.EBADMSG, syscall.EUCLEAN, syscall.ENODATA} {
		if errors.Is(err, damage) {
			return b, fmt.Sprintf("%v; ", err), nil
		}
	}
	return nil, "", fmt.Errorf("journal: read %s, check its owner and mode: %w", name, err)
}

func readOnce(fs FS, name string, limit int) ([]byte, error) {
	f, err := fs.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(limit)+1))
}
