package app

import (
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// clockState tells how far the wall clock can be trusted. The kernel knows synced or not; that a
// clock which is not synced now once was is known only if this process has seen it.
type clockState struct {
	synced func() bool
	now    func() time.Time
	was    atomic.Bool
}

func newClockState(synced func() bool, now func() time.Time) *clockState {
	return &clockState{synced: synced, now: now}
}

// clockFloor is older than this program: a clock before it was never set, whatever the kernel says.
const clockFloor = 2020

// state is synced, holdover (synced earlier in this process, and free since) or unset (before the
// floor, or never seen synced).
func (c *clockState) state() string {
	switch {
	case c.now().Year() < clockFloor:
		return "unset"
	case c.synced():
		c.was.Store(true)
		return "synced"
	case c.was.Load():
		return "holdover"
	}
	return "unset"
}

// certTime is the clock against which certificates are checked: never before this program was built, nor
// before what was written to the journal last while the clock was synchronised (S14). A clock that was
// never set would find every certificate not yet valid, and nobody would be told.
func certTime(last time.Time) func() time.Time {
	floor := last
	if t := builtAt(); t.After(floor) {
		floor = t
	}
	return func() time.Time {
		if now := time.Now(); now.After(floor) {
			return now
		}
		return floor
	}
}

// builtAt is when the commit of this program was made; zero: not known.
func builtAt() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			t, _ := time.Parse(time.RFC3339, s.Value) // zero: not known
			return t
		}
	}
	return time.Time{}
}

// clockSynced asks the kernel whether the wall clock is disciplined (adjtimex, STA_UNSYNC).
func clockSynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
