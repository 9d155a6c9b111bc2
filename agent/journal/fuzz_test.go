package journal_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

// FuzzOpen opens whatever bytes: no error, no panic, sequences that rise, and a journal that
// works and keeps what it recovered.
func FuzzOpen(f *testing.F) {
	addCorpus(f)
	f.Fuzz(func(t *testing.T, a, b, snap []byte, fix bool) {
		if fix {
			a, b = bytes.Clone(a), bytes.Clone(b)
			fixSums(1, a)
			fixSums(2, b)
		}
		fs := faultfs.New()
		fs.Put("0000000000000001.log", a)
		fs.Put("0000000000000002.log", b)
		fs.Put("0000000000000001.snap", snap)
		j, rec := open(t, fs, journal.Options{})
		last := rec.SnapshotSeq
		for _, r := range rec.Records {
			if r.Seq <= last {
				t.Fatalf("sequence %d after %d", r.Seq, last)
			}
			last = r.Seq
		}
		if last != rec.LastSeq {
			t.Fatalf("last %d, LastSeq %d", last, rec.LastSeq)
		}
		seq := j.Append([]byte("new"))
		if seq <= last {
			t.Fatalf("new sequence %d after %d", seq, last)
		}
		waitSeq(t, j, seq)
		closeIt(t, j)
		j, again := open(t, fs, journal.Options{})
		closeIt(t, j)
		if again.Damaged || again.LastSeq != seq || len(again.Records) != len(rec.Records)+1 || again.SnapshotSeq != rec.SnapshotSeq {
			t.Fatalf("first %+v\nthen %+v", rec, again)
		}
	})
}

// fixSums makes the checksums fit whatever the fuzzer wrote: what is behind them is tried too.
func fixSums(index uint64, b []byte) {
	const header, record = 36, 20
	table := crc32.MakeTable(crc32.Castagnoli)
	if len(b) < header {
		return
	}
	copy(b, "FBJSEG01")
	b[23] &= 0x1f // prev and base: no sequence from the upper end of their range, which no
	b[31] &= 0x1f // journal reaches and where none could follow
	binary.LittleEndian.PutUint64(b[8:], index)
	binary.LittleEndian.PutUint32(b[header-4:], crc32.Checksum(b[:header-4], table))
	for b = b[header:]; len(b) >= record; {
		n := int(binary.LittleEndian.Uint16(b)) // a length that fits sooner
		binary.LittleEndian.PutUint32(b, uint32(n))
		if n > len(b)-record {
			return
		}
		b[15] &= 0x1f
		sum := crc32.Checksum(binary.LittleEndian.AppendUint64(nil, index), table)
		sum = crc32.Update(sum, table, b[:4])
		sum = crc32.Update(sum, table, b[8:record+n])
		binary.LittleEndian.PutUint32(b[4:], sum)
		b = b[record+n:]
	}
}

func addCorpus(f *testing.F) {
	f.Helper()
	fs := faultfs.New()
	for run := range 2 {
		j, _, err := journal.Open(f.Context(), fs, journal.Options{SegmentBytes: 100})
		if err != nil {
			f.Fatal(err)
		}
		for range 4 {
			j.Append([]byte("a record of the corpus"))
		}
		if err := j.Snapshot([]byte("state"), uint64(run+1)); err != nil {
			f.Fatal(err)
		}
		closeIt(f, j)
	}
	var segs [][]byte
	snap := fs.Get("0000000000000001.snap")
	for _, n := range fs.Names() {
		if len(n) == len("0000000000000001.log") {
			segs = append(segs, fs.Get(n))
		}
	}
	f.Add(segs[0], segs[1], snap, false)
	f.Add(segs[0], segs[1], snap, true)
	f.Add(segs[0][:len(segs[0])-3], segs[1], []byte{}, true)
	f.Add([]byte{}, segs[0], snap, false)
	f.Add(make([]byte, 100), append(segs[1], segs[0]...), snap[:10], true)
}
