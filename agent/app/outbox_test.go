package app

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/plugins"
)

// alarmOf is an active alarm of the agent, by name.
func alarmOf(r Running, name string) (cause string, active bool) {
	all := r.Board.Status().Alarms
	i := slices.IndexFunc(all, func(a plugins.AlarmState) bool { return a.Name == name && a.Active })
	if i < 0 {
		return "", false
	}
	return all[i].Cause, true
}

// Where what waits for brokers cannot be kept, an alarm says so and the agent runs on; a life before which could
// keep it is read by the next.
func TestOutboxOfTheAgent(t *testing.T) {
	dir := t.TempDir()
	c, text := room(t, in(dir)...)
	box := filepath.Join(dir, "journal", "outbox")
	life(t, c, text, func(r Running) {
		until(t, "what no broker takes is on the disk", func() bool {
			k := r.Uplink.Stats().Kept
			names, _ := os.ReadDir(box)
			return k != nil && k.Waiting > 0 && k.Error == "" && len(names) > 0
		})
		if cause, ill := alarmOf(r, "agent/outbox"); ill {
			t.Error(cause)
		}
	})
	life(t, c, text, func(r Running) {
		until(t, "each broker lacks what the life before had kept", func() bool {
			for _, b := range r.Uplink.Stats().Brokers {
				if b.Queued < 10 {
					return false
				}
			}
			return r.Uplink.Stats().Kept.Waiting > 10
		})
	})
	if err := os.RemoveAll(box); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(box, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	life(t, c, text, func(r Running) {
		until(t, "the alarm", func() bool {
			cause, ill := alarmOf(r, "agent/outbox")
			return ill && strings.Contains(cause, "in memory only") && strings.Contains(cause, box)
		})
	})
}

// On a disk that is nearly full no new file is begun: the last of it is the journal's.
func TestOutboxLeavesRoom(t *testing.T) {
	room := int64(outboxReserve)
	fs := faultfs.New()
	fs.Put("old", []byte("x"))
	s := &sparing{fs, func() (int64, error) { return room, nil }}
	if _, err := s.Open("a", true); err != nil {
		t.Error(err)
	}
	room--
	if _, err := s.Open("b", true); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "left to the journal") {
		t.Errorf("%v", err)
	}
	if _, err := s.Open("old", false); err != nil {
		t.Errorf("what is there cannot be read: %v", err)
	}
	var _ journal.FS = s
}
