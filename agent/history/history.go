package history

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"firebreak/agent/journal"
	"firebreak/plugins"
	"firebreak/sensors"
)

// Bounds of what may be asked for.
const (
	MinBytes = 16 << 20
	MinAge   = time.Hour
)

// Options of a history.
type Options struct {
	// Open gives the directory and what closes it. It is called by the writer, again after a failure,
	// and may hang.
	Open    func() (journal.FS, func() error, error)
	Info    Info
	Devices []sensors.Device
	Points  []sensors.Point
	Clock   *sensors.Clock
	Synced  func() bool // is the wall clock synchronised; nil: no

	MaxBytes int64         // of all files together
	MaxAge   time.Duration // of what belongs to no episode

	// Free tells the bytes that are free on the disk; below Reserve nothing is written, so that the
	// journal never finds the disk full of readings. nil: not looked at.
	Free    func() (int64, error)
	Reserve int64

	Log *slog.Logger
}

// Times of the writer.
const (
	pollDelay  = time.Second            // a poll is on the disk so long after it was offered,
	otherDelay = 200 * time.Millisecond // all else so long: the journal's fsync goes first
	retryMin   = 500 * time.Millisecond
	retryMax   = 30 * time.Second
	closeGrace = 2 * time.Second
	// segmentAge ends a segment that is not full, so that the age bound takes small steps.
	segmentAge  = time.Hour
	maxSegment  = 8 << 20
	segmentPart = 32 // of MaxBytes
)

// Stats is a picture of the history.
type Stats struct {
	Offered  uint64
	Polls    uint64 // written and synced; so the next two
	Readings uint64
	Others   uint64
	Bytes    int64  // written by this process
	Syncs    uint64 // of segments
	Queued   int
	Dropped  Gap
	Failures uint64 // attempts to write that failed
	Err      error  // of the last attempt; nil when it succeeded
	Segments int
	Size     int64 // of all segments
	Evicted  Evicted
	Doing    string // what the writer is at; empty: it waits
}

// History is a publisher that remembers.
type History struct {
	o     Options
	q     queue
	names names
	first []sensors.PointID // by device

	closing chan struct{}
	done    chan struct{}

	mu    sync.Mutex
	stats Stats
}

// New makes a history. Run writes it; without Run nothing but the queue fills.
func New(o Options) (*History, error) {
	switch {
	case o.Open == nil || o.Clock == nil:
		return nil, errors.New("history: it needs a directory and a clock")
	case o.MaxBytes < MinBytes:
		return nil, fmt.Errorf("history: MaxBytes is %d, want %d or more", o.MaxBytes, MinBytes)
	case o.MaxAge < MinAge:
		return nil, fmt.Errorf("history: MaxAge is %v, want %v or more", o.MaxAge, MinAge)
	}
	if o.Synced == nil {
		o.Synced = func() bool { return false }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &History{o: o, closing: make(chan struct{}), done: make(chan struct{})}
	h.q.wake = make(chan struct{}, 1)
	for _, d := range o.Devices {
		h.names.Devices = append(h.names.Devices, d.Name)
	}
	for _, p := range o.Points {
		h.names.Points = append(h.names.Points, Point{p.Name, uint32(p.Device), p.Unit})
	}
	h.first = h.names.firsts()
	return h, nil
}

// firsts gives the first point of each device.
func (n names) firsts() []sensors.PointID {
	first := make([]sensors.PointID, len(n.Devices))
	for i := range first {
		first[i] = math.MaxUint32
	}
	for i, p := range n.Points {
		if int(p.Device) < len(first) {
			first[p.Device] = min(first[p.Device], sensors.PointID(i))
		}
	}
	for i := range first {
		if first[i] == math.MaxUint32 {
			first[i] = 0
		}
	}
	return first
}

// Offer takes an update and returns at once. A poll of a device that is not in the options cannot be
// named, and is passed over.
func (h *History) Offer(u plugins.Update) {
	if u.State != nil && int64(u.State.Device) >= int64(len(h.first)) {
		return
	}
	h.q.offer(u, h.o.Clock.Now())
}

// Run writes until ctx ends; then it writes what waits and returns, at the latest after a grace. A
// writer that hangs in the disk is left behind then, and ends when the kernel lets it. Run is
// called once.
func (h *History) Run(ctx context.Context) error {
	go newWriter(h).run()
	<-ctx.Done()
	close(h.closing)
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-h.done:
	case <-grace.C:
		return fmt.Errorf("history: the writer still hangs (%s); the last readings are not on the disk, check it", h.Stats().Doing)
	}
	if s := h.Stats(); s.Err != nil {
		return fmt.Errorf("history: the last readings are not on the disk: %w", s.Err)
	}
	return nil
}

// Stats may be called from any goroutine.
func (h *History) Stats() Stats {
	h.q.mu.Lock()
	offered, dropped := h.q.n, h.q.dropped
	h.q.mu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Offered, s.Dropped, s.Queued = offered, dropped, h.q.waiting()
	return s
}

func (h *History) update(f func(*Stats)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.stats)
}

// doing notes what the writer is at, for a person who asks why nothing moves.
func (h *History) doing(what string) { h.update(func(s *Stats) { s.Doing = what }) }
