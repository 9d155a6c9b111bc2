package app

import (
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

// clockSynced asks the kernel whether the wall clock is disciplined (adjtimex, STA_UNSYNC).
func clockSynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0
}
