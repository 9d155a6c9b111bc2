package app

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"firebreak/sensors"
)

// Three crashes within a minute, and only what senses, judges and acts starts (S22): whatever kills
// the agent is more likely in the rest. The rest is given another chance after a while.
const (
	crashName  = "starts.json"
	crashSpan  = 60 * time.Second
	crashLimit = 3
	crashRest  = 5 * time.Minute
)

// crashes is the list of starts of this boot that were not ended in order, in the run directory.
type crashes struct{ path string }

type start struct {
	Boot string       `json:"boot"`
	At   sensors.Mono `json:"at"`
}

// begin notes a start, and tells whether so many before it ended in a crash that only the safety loop
// is to start. A directory that does not answer is no reason to hold anything back.
func (c crashes) begin(now sensors.Mono, boot string) (careful bool) {
	starts := c.read(now, boot)
	careful = len(starts) >= crashLimit
	c.write(append(starts, start{boot, now}))
	return careful
}

// end takes the newest start out: it has ended in order.
func (c crashes) end(now sensors.Mono, boot string) {
	if starts := c.read(now, boot); len(starts) > 0 {
		c.write(starts[:len(starts)-1])
	}
}

func (c crashes) read(now sensors.Mono, boot string) (recent []start) {
	b, err := os.ReadFile(c.path)
	var all []start
	if err != nil || json.Unmarshal(b, &all) != nil {
		return nil
	}
	for _, s := range all {
		if s.Boot == boot && s.At <= now && now.Sub(s.At) <= crashSpan {
			recent = append(recent, s)
		}
	}
	return recent
}

func (c crashes) write(starts []start) {
	b, err := json.Marshal(starts)
	if err != nil || os.MkdirAll(filepath.Dir(c.path), 0o700) != nil {
		return
	}
	if os.WriteFile(c.path+".new", b, 0o600) == nil {
		_ = os.Rename(c.path+".new", c.path) // not noted is not careful, and no worse
	}
}

// startRest starts what is not needed to sense, judge and act: at once, or after three crashes in a
// minute only when the agent has lived for a while.
func (o *Options) startRest(ends *cleanups, rest func()) {
	c := crashes{filepath.Join(o.Config.Run, crashName)}
	boot := sensors.BootID()
	noted := make(chan bool, 1)
	go func() { noted <- c.begin(o.Clock.Now(), boot) }()
	careful := false
	select {
	case careful = <-noted:
	case <-time.After(mirrorRead): // the directory hangs
	}
	if !careful {
		rest()
	} else {
		o.Log.Error("the agent has crashed three times in a minute: only what senses, judges and acts is started", "the rest after", crashRest)
		ends.task("late start of the rest", stopLimit, func(ctx context.Context) error {
			select {
			case <-ctx.Done():
			case <-time.After(crashRest):
				rest()
			}
			return nil
		})
	}
	ends.push("orderly end", time.Second, func(context.Context) error { c.end(o.Clock.Now(), boot); return nil })
}
