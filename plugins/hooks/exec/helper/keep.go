package main

import (
	"context"
	"time"

	"firebreak/plugins/hooks/exec"

	"golang.org/x/sys/unix"
)

const (
	keepEvery = 10 * time.Minute
	keepAlone = 30 * 24 * time.Hour // of ended keys, while no agent says which episodes are open
	shortOf   = 4                   // the run directory is short of room when a quarter is left
)

// keep sweeps at once and then again and again, until ctx ends. The agent tells which episodes are
// over (frame.Over); this is for when it does not. Of each plan the newest episode stays whatever
// its age, since it may be open; so does what runs.
func (s *server) keep(ctx context.Context) {
	t := time.NewTicker(keepEvery)
	defer t.Stop()
	for {
		for _, r := range s.runners {
			r.TryOut(ctx) // until it has answered, starts take longer: no agent's probe is waited for
			s.sweep(r.Dir, tight(r.Dir))
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// sweep removes ended keys of past episodes: old ones, and while room is short younger ones too,
// since a full run directory would keep the next action from being started.
func (s *server) sweep(dir string, short bool) {
	s.sweeps.Lock()
	defer s.sweeps.Unlock()
	ages := []time.Duration{keepAlone}
	if short {
		ages = append(ages, exec.KeepPast, 0)
		s.log.Warn("the run directory is short of room: ended keys of past episodes are removed early", "run", dir)
	}
	for i, age := range ages {
		if i > 1 && !tight(dir) {
			break
		}
		n, err := exec.SweepOver(dir, func(string) uint64 { return 0 }, age, -1)
		if err != nil {
			s.log.Warn("ended keys could not be swept", "run", dir, "err", err)
		}
		if n > 0 {
			s.log.Info("ended keys of past episodes removed", "keys", n, "older", age.String())
		}
	}
}

func tight(dir string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil || fs.Blocks == 0 {
		return false
	}
	return fs.Bavail < fs.Blocks/shortOf || fs.Files > 0 && fs.Ffree < fs.Files/shortOf
}
