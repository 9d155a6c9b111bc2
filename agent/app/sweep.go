package app

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec"
)

// What is kept of ended keys in the run directory, which lies in memory: a sensor that flaps makes
// an episode a minute, and a full run directory would keep the next hook from starting.
const (
	sweepEvery = 10 * time.Minute
	sweepOlder = time.Hour      // of episodes that a later one has followed: their keys never come again (S9)
	sweepLast  = 24 * time.Hour // of the newest episode, unless it is open
)

// sweeper removes what is left of keys that are not asked again.
type sweeper struct {
	dir  string
	open func(plan string) uint64 // the open episode of a plan; 0: none
	log  *slog.Logger
}

// run sweeps at once and then again and again, until ctx ends.
func (s *sweeper) run(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		if err := os.MkdirAll(s.dir, 0o700); err == nil {
			if err := s.sweep(sweepOlder, sweepLast); err != nil {
				s.log.Warn("ended hooks could not be swept from the run directory", "run", s.dir, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// sweep removes keys that ended longer than older ago, of episodes that are not the newest of
// their plan, and longer than last ago, of the newest.
func (s *sweeper) sweep(older, last time.Duration) error {
	newest := map[string]uint64{}
	note := func(id string) bool {
		if k, ok := keyOf(id); ok {
			newest[k.Plan] = max(newest[k.Plan], k.Episode)
		}
		return true
	}
	if _, err := exec.Sweep(s.dir, 0, note); err != nil {
		return err
	}
	if _, err := exec.Sweep(s.dir, older, func(id string) bool {
		k, ok := keyOf(id)
		return !ok || k.Episode >= newest[k.Plan] || k.Episode == s.open(k.Plan)
	}); err != nil {
		return err
	}
	_, err := exec.Sweep(s.dir, last, func(id string) bool {
		k, ok := keyOf(id)
		return ok && k.Episode == s.open(k.Plan)
	})
	return err
}

// keyOf reads the key from the ID of a call, which for a drill begins with its mark.
func keyOf(id string) (plugins.Key, bool) {
	k, err := plugins.ParseKey(id)
	if err != nil {
		_, rest, _ := strings.Cut(id, "/")
		k, err = plugins.ParseKey(rest)
	}
	return k, err == nil
}
