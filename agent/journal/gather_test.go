package journal_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
)

// With SyncAfter a record is with the kernel at once, so that a kill does not cost it, and many are synced
// together; none is told durable before.
func TestWrittenAtOnceSyncedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		j, _ := open(t, fs, journal.Options{SyncAfter: 200 * time.Millisecond})
		defer abandon(j)
		synctest.Wait()
		before := fs.Calls(faultfs.Sync)
		var h history
		for i := range 20 {
			h.write(t, j, fmt.Sprint("record ", i))
			pass(5 * time.Millisecond)
		}
		if n := fs.Calls(faultfs.Sync) - before; n != 0 || j.DurableSeq() != 0 {
			t.Errorf("%d syncs, durable %d, before the time was over", n, j.DurableSeq())
		}
		dead, rec := open(t, fs.Clone(), journal.Options{})
		defer abandon(dead)
		if len(rec.Records) != 20 || rec.Damaged {
			t.Errorf("a kill left %d of 20 records: %s", len(rec.Records), rec.Repaired)
		}
		pass(200 * time.Millisecond)
		if n := fs.Calls(faultfs.Sync) - before; n != 1 || j.DurableSeq() != h.last() {
			t.Errorf("%d syncs, durable %d of %d, after it", n, j.DurableSeq(), h.last())
		}
	})
}

// A disk that fills up while records gather loses none of them, once there is room.
func TestFullWhileGathering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := faultfs.New()
		j, _ := open(t, fs, journal.Options{SyncAfter: 200 * time.Millisecond})
		var h history
		h.write(t, j, "first")
		pass(10 * time.Millisecond)
		fs.Space(10)
		for i := range 5 {
			h.write(t, j, fmt.Sprint("record ", i))
			pass(10 * time.Millisecond)
		}
		if err := j.Stats().Err; !isFull(err) {
			t.Errorf("a full disk says %v", err)
		}
		fs.Heal()
		pass(time.Minute)
		if j.DurableSeq() != h.last() {
			t.Errorf("durable %d of %d", j.DurableSeq(), h.last())
		}
		closeIt(t, j)
		j, rec := open(t, fs, journal.Options{})
		defer abandon(j)
		if len(h.prefix(t, rec)) != len(h) || rec.Damaged {
			t.Errorf("%d of %d records: %s", len(rec.Records), len(h), rec.Repaired)
		}
	})
}

func isFull(err error) bool { return err != nil && errors.Is(err, syscall.ENOSPC) }
