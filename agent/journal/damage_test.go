package journal_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

// checkDamaged opens a damaged directory in which all of h was durable: what comes back is a
// prefix, its loss is reported, and the journal goes on from there. It returns what came back.
func checkDamaged(t *testing.T, what string, fs *faultfs.FS, h history) *journal.Recovered {
	t.Helper()
	j, rec := open(t, fs, journal.Options{SegmentBytes: 200})
	got := slices.Clone(h.prefix(t, rec))
	if len(got) < len(h) && rec.Repaired == "" {
		t.Fatalf("%s: %d of %d records came back, and it is not reported", what, len(got), len(h))
	}
	seq := got.write(t, j, "after "+what)
	if seq <= h.last() {
		t.Fatalf("%s: sequence %d is given again, %d was durable", what, seq, h.last())
	}
	waitSeq(t, j, seq)
	closeIt(t, j)
	if err := j.Stats().CleanupErr; err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	j, again := open(t, fs, journal.Options{})
	if len(got.prefix(t, again)) != len(got) || again.Damaged {
		t.Fatalf("%s: the repair does not hold: first %q\nthen %+v\nfiles %v", what, rec.Repaired, again, fs.Names())
	}
	closeIt(t, j)
	return rec
}

// eachDamage runs f over damaged copies: each file, each byte.
func eachDamage(t *testing.T, damage func(b []byte, at int) []byte) {
	for _, snaps := range []bool{false, true} {
		t.Run(fmt.Sprintf("snapshots=%v", snaps), func(t *testing.T) {
			base, h := small(t, snaps)
			base, rec := reopen(t, base) // the last file holds nothing of its own: all loss can be seen
			if len(h.prefix(t, rec)) != len(h) || rec.Repaired != "" {
				t.Fatalf("undamaged: %+v", rec)
			}
			cases, lossy := 0, 0
			for _, name := range base.Names() {
				whole := base.Get(name)
				for at := range whole {
					fs := base.Clone()
					fs.Put(name, damage(slices.Clone(whole), at))
					rec := checkDamaged(t, fmt.Sprintf("%s at %d", name, at), fs, h)
					cases++
					if rec.Damaged {
						lossy++
					}
				}
			}
			t.Logf("%d cases, %d reported as damage of durable records", cases, lossy)
			if lossy == 0 || cases < 500 {
				t.Fatalf("%d cases, %d with loss: the test does not bite", cases, lossy)
			}
		})
	}
}

func TestTruncateAtEachByte(t *testing.T) {
	eachDamage(t, func(b []byte, at int) []byte { return b[:at] })
}

func TestFlipEachByte(t *testing.T) {
	eachDamage(t, func(b []byte, at int) []byte { b[at] ^= 1 << (at % 8); return b })
}

func TestZeroFromEachByte(t *testing.T) {
	eachDamage(t, func(b []byte, at int) []byte { clear(b[at:]); return b })
}

func TestZeroSectorAtEachByte(t *testing.T) {
	eachDamage(t, func(b []byte, at int) []byte { clear(b[at:min(at+32, len(b))]); return b })
}

func TestExtended(t *testing.T) {
	base, h := small(t, false)
	other, _ := small(t, true)
	names := base.Names()
	last := names[len(names)-1]
	const header = 36
	foreign := faultfs.New()
	j, _ := open(t, foreign, journal.Options{SegmentBytes: 200})
	for range 100 {
		waitSeq(t, j, j.Append([]byte("stale")))
	}
	closeIt(t, j)
	stale := foreign.Names()
	tails := map[string][]byte{
		"stale blocks":    foreign.Get(stale[len(stale)-1])[header:],
		"its own records": base.Get(last)[header:],
		"zeros":           make([]byte, 5000),
		"ones":            []byte(strings.Repeat("\xff", 777)),
		"text":            []byte(strings.Repeat("the quick brown fox ", 50)),
		"itself":          base.Get(names[0]),
		"another journal": other.Get(last),
		"a magic":         []byte("FBJSEG01"),
	}
	for what, tail := range tails {
		for _, name := range names {
			fs := base.Clone()
			fs.Put(name, append(fs.Get(name), tail...))
			rec := checkDamaged(t, what, fs, h)
			if len(h.prefix(t, rec)) != len(h) {
				t.Fatalf("%s after %s: only %d of %d records, %q", what, name, len(rec.Records), len(h), rec.Repaired)
			}
			if name == last && rec.Repaired == "" {
				t.Fatalf("%s after the last segment is not reported", what)
			}
		}
	}
}

func TestMissingSegment(t *testing.T) {
	base, h := small(t, false)
	names := base.Names()
	for i, name := range names[:len(names)-1] {
		fs := base.Clone()
		fs.Delete(name)
		rec := checkDamaged(t, "without "+name, fs, h)
		if !rec.Damaged || len(rec.Records) == len(h) {
			t.Fatalf("segment %d is missing, got %+v", i, rec)
		}
		aside := 0
		for _, n := range fs.Names() {
			if strings.Contains(n, ".damaged-") {
				aside++
			}
		}
		if aside == 0 {
			t.Fatalf("what follows the gap is gone: %v", fs.Names())
		}
	}
}

func TestWrongNames(t *testing.T) {
	base, h := small(t, true)
	names := base.Names()
	fs := base.Clone()
	foreign := []string{"lost+found", "x.log", "0.log", "00000000000000ZZ.log", "ffffffffffffffff.log", "0000000000000001.logx", "+000000000000001.log"}
	for _, n := range foreign {
		fs.Put(n, base.Get(names[0]))
	}
	rec := checkDamaged(t, "foreign files", fs, h)
	if len(h.prefix(t, rec)) != len(h) || len(rec.Ignored) != len(foreign) || rec.Damaged {
		t.Fatalf("%+v", rec)
	}
	for _, n := range foreign {
		if fs.Get(n) == nil {
			t.Fatalf("%s was touched", n)
		}
	}
	// Each file under each other's name.
	for _, a := range names {
		for _, b := range names {
			if a != b {
				fs := base.Clone()
				fs.Put(b, base.Get(a))
				checkDamaged(t, a+" as "+b, fs, h)
			}
		}
	}
}

func TestDamagedSnapshotCostsNothing(t *testing.T) {
	base, h := small(t, true)
	snaps := 0
	for _, name := range base.Names() {
		if !strings.HasSuffix(name, ".snap") {
			continue
		}
		snaps++
		for _, content := range [][]byte{nil, make([]byte, 100), []byte("FBJSNP01"), append(base.Get(name), 0)} {
			fs := base.Clone()
			fs.Put(name, content)
			rec := checkDamaged(t, "snapshot "+name, fs, h)
			if len(h.prefix(t, rec)) != len(h) || rec.Repaired == "" || rec.Damaged {
				t.Fatalf("got %+v", rec)
			}
		}
	}
	if snaps != 2 {
		t.Fatalf("%d snapshots", snaps)
	}
}

func TestLastGroupTornIsNoDamage(t *testing.T) {
	fs := faultfs.New()
	j, _ := open(t, fs, journal.Options{})
	var h history
	waitSeq(t, j, h.write(t, j, "first"))
	waitSeq(t, j, h.write(t, j, "second"))
	waitSeq(t, j, h.write(t, j, "third"))
	closeIt(t, j)
	name := fs.Names()[0]
	whole := fs.Get(name)

	torn := faultfs.New()
	torn.Put(name, whole[:len(whole)-1])
	if _, rec := reopen(t, torn); rec.Damaged || rec.Repaired == "" || len(h.prefix(t, rec)) != 2 {
		t.Fatalf("torn tail: %+v", rec)
	}
	flipped := faultfs.New()
	flipped.Put(name, whole)
	flipped.Flip(name, strings.Index(string(whole), "first"), 1)
	after, rec := reopen(t, flipped)
	if !rec.Damaged || len(h.prefix(t, rec)) != 0 {
		t.Fatalf("flip in a record that was durable before the next was written: %+v", rec)
	}
	kept := after.Get(name + ".damaged-0000000000000002")
	if len(kept) != len(whole) {
		t.Fatalf("the damaged file was not kept whole: %v", after.Names())
	}
}

func TestUnreadableSegmentIsDamage(t *testing.T) {
	fs, h := small(t, false)
	bad := fs.Names()[1]
	fs.Fault(faultfs.Read, func(name string) error {
		if name == bad {
			return syscall.EIO
		}
		return nil
	})
	j, rec := open(t, fs, journal.Options{})
	closeIt(t, j)
	if !rec.Damaged || len(h.prefix(t, rec)) == len(h) || !strings.Contains(rec.Repaired, bad) {
		t.Fatalf("%+v", rec)
	}
}

func TestDamagedFilesAreBounded(t *testing.T) {
	fs := faultfs.New()
	for i := range 60 {
		j, _ := open(t, fs, journal.Options{})
		waitSeq(t, j, j.Append([]byte("x")))
		closeIt(t, j)
		for _, n := range fs.Names() {
			if strings.HasSuffix(n, ".log") {
				fs.Flip(n, 10, 1)
			}
		}
		if n := len(fs.Names()); n > 18 {
			t.Fatalf("%d files after %d damages: %v", n, i, fs.Names())
		}
	}
}
