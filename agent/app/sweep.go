package app

import (
	"context"
	"log/slog"
	"os"
	"time"

	"firebreak/agent/config"
	"firebreak/plugins/hooks/exec"
)

// The run directory lies in memory: a sensor that flaps makes an episode a minute, and a full run
// directory would keep the next hook from starting.
const sweepEvery = 10 * time.Minute

// sweeper removes what is left of keys that are not asked again, and tells the helpers which
// episodes are open, so that they do the same.
type sweeper struct {
	dir     string
	open    func(plan string) uint64 // the open episode of a plan; 0: none
	plans   []string
	helpers map[string]uint32 // socket -> who it must be
	log     *slog.Logger
}

// helpersOf lists the helpers that the hooks of a configuration name.
func helpersOf(c *config.Config) map[string]uint32 {
	out := map[string]uint32{}
	for i := range c.Hooks {
		if k, ok := c.Hooks[i].Config.(exec.Config); ok && k.Action != "" {
			out[k.HelperSocket()] = k.HelperUID
		}
	}
	return out
}

func planNames(c *config.Config) []string {
	var out []string
	for i := range c.Rules.Response.Plans {
		out = append(out, c.Rules.Response.Plans[i].Name)
	}
	return out
}

// run sweeps at once and then again and again, until ctx ends.
func (s *sweeper) run(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		if err := os.MkdirAll(s.dir, 0o700); err == nil {
			if err := s.sweep(exec.KeepPast, exec.KeepLast); err != nil {
				s.log.Warn("ended hooks could not be swept from the run directory", "run", s.dir, "err", err)
			}
		}
		s.tell(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (s *sweeper) sweep(past, last time.Duration) error {
	_, err := exec.SweepOver(s.dir, s.open, past, last)
	return err
}

func (s *sweeper) tell(ctx context.Context) {
	open := map[string]uint64{}
	for _, p := range s.plans {
		open[p] = s.open(p)
	}
	for path, uid := range s.helpers {
		if err := exec.TellOver(ctx, path, uid, open); err != nil && ctx.Err() == nil {
			s.log.Warn("a helper could not be told which episodes are open; it keeps ended keys longer", "helper", path, "err", err)
		}
	}
}
