package journal

import (
	"context"
	"fmt"
	"time"
)

// Open reads what the directory holds and starts the writer. Damaged content is no error: Open
// returns the trusted prefix and says in Recovered what was wrong. It only reads: repairs are the
// writer's first work, so that a full or read-only disk still yields its records. An error means
// that the directory cannot be read (or ctx ended first: a read that hangs in the kernel stays
// behind until the kernel lets it go), or that opt is wrong; the caller then runs without.
func Open(ctx context.Context, fs FS, opt Options) (*Journal, *Recovered, error) {
	opt, err := opt.complete()
	if err != nil {
		return nil, nil, err
	}
	type answer struct {
		f   *found
		err error
	}
	ch := make(chan answer, 1)
	go func() {
		f, err := scan(fs, opt)
		ch <- answer{f, err}
	}()
	var f *found
	select {
	case a := <-ch:
		if a.err != nil {
			return nil, nil, a.err
		}
		f = a.f
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("journal: the disk did not answer in time, check it: %w", ctx.Err())
	}
	j := &Journal{
		opt:     opt,
		wake:    make(chan struct{}, 1),
		durable: make(chan Durable, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		next:    f.next,
		given:   f.rec.LastSeq,
	}
	if n := len(f.snaps); n > 0 {
		j.snapSeq = f.snaps[n-1]
	}
	j.synced.Store(f.prev)
	w := &writer{j: j, fs: fs, opt: opt, found: f, index: f.index, segs: f.segs, snaps: f.snaps}
	go w.run()
	rec := f.rec
	return j, &rec, nil
}

func (o Options) complete() (Options, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 4 << 20
	}
	def(&o.MaxRecord, 1<<20)
	def(&o.QueueRecords, 4096)
	def(&o.QueueBytes, max(8<<20, o.MaxRecord))
	if o.RetryMin == 0 {
		o.RetryMin = 50 * time.Millisecond
	}
	if o.RetryMax == 0 {
		o.RetryMax = max(5*time.Second, o.RetryMin)
	}
	switch {
	case o.SegmentBytes < 0 || o.SegmentBytes > hardSegment:
		return o, fmt.Errorf("journal: SegmentBytes is %d, want 1 to %d", o.SegmentBytes, hardSegment)
	case o.KeepBytes < 0:
		return o, fmt.Errorf("journal: KeepBytes is %d, want 0 or more", o.KeepBytes)
	case o.MaxRecord < 0 || o.MaxRecord > hardRecord:
		return o, fmt.Errorf("journal: MaxRecord is %d, want 1 to %d", o.MaxRecord, hardRecord)
	case o.QueueRecords < 0 || o.QueueRecords > hardQueue:
		return o, fmt.Errorf("journal: QueueRecords is %d, want 1 to %d", o.QueueRecords, hardQueue)
	case o.QueueBytes < o.MaxRecord || o.QueueBytes > hardSegment:
		return o, fmt.Errorf("journal: QueueBytes is %d, want MaxRecord (%d) to %d", o.QueueBytes, o.MaxRecord, hardSegment)
	case o.SyncAfter < 0:
		return o, fmt.Errorf("journal: SyncAfter is %v, want 0 or more", o.SyncAfter)
	case o.RetryMin < 0 || o.RetryMax < o.RetryMin:
		return o, fmt.Errorf("journal: RetryMin %v and RetryMax %v, want 0 < min <= max", o.RetryMin, o.RetryMax)
	}
	return o, nil
}
