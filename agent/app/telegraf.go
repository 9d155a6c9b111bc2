package app

import (
	"context"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/mapping"
	"firebreak/plugins/telegraf/pipe"
	"firebreak/plugins/telegraf/schema"
)

// companionLimit is above what the companion's own bounds add up to.
const companionLimit = 3 * time.Second

// buildCompanion makes the agent's side of the Telegraf companion; nil when the configuration wants none.
// Nothing is started or opened here. What it brings goes into the mailbox of all sources, which never
// waits; what it is fed hangs off the loop like any publisher.
func buildCompanion(o *Options, p *parts) (*companion.Companion, error) {
	if o.Config.Telegraf == nil {
		return nil, nil
	}
	return companion.New(companionConfig(o, p))
}

func companionConfig(o *Options, p *parts) companion.Config {
	t := o.Config.Telegraf
	m := mapping.New(t.Sources, o.Clock.Now, p.inbox.Put)
	c := companion.Config{Path: t.Companion, Self: o.Self, Memory: t.Memory, Rate: t.Rate, Still: mayStandStill(o.Config), Take: m.Take, Gathered: m.Gathered, Log: o.Log.With("part", "telegraf"),
		Setup: pipe.Setup{Name: o.Config.Agent, Text: t.Text, File: t.File, Want: m.Measurements()},
		Health: func(ctx context.Context, err error) {
			p.guard.Post(ctx, core.Event{Kind: core.Health, Part: "telegraf", Err: err})
		}}
	if t.Feeds() {
		s := schema.New(o.Config.Site, o.Config.Zone, o.Config.Agent, o.Config.Rules.Hazard.Devices, o.Config.Rules.Hazard.Points)
		c.Render = s.Metrics
	}
	return c
}

// mayStandStill is for how long in ten seconds starts of hooks may stop the companion: half of what the most urgent of its
// points has to spare between two gathers and its stale time. So none gets stale by that.
func mayStandStill(c *config.Config) time.Duration {
	most := companion.DefaultStill
	for i := range c.Telegraf.Sources {
		d := &c.Devices[c.Telegraf.Sources[i].Device]
		most = min(most, (d.Stale-d.Poll)/2)
	}
	return most
}

// starting is what the loop calls when hooks start; nil: there is nobody who is to keep still then.
func starting(c *companion.Companion) func() {
	if c == nil {
		return nil
	}
	return c.StandStill
}

// host runs the companion. That it cannot be ended is logged, and no failure of the agent.
func (o *Options) host(c *companion.Companion) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := c.Run(ctx); err != nil {
			o.Log.Warn("the Telegraf companion did not end as it should", "err", err)
		}
		return nil
	}
}
