package app

import (
	"context"
	"sync"
	"time"

	"firebreak/agent/guard"
	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/sensors"
)

// buildUplink joins the brokers of the configuration to the loop. What comes back of them goes through
// bounded channels and the desk, which waits for nobody and holds nobody up.
func buildUplink(o *Options, boot guard.Boot, p *parts) (*uplink.Uplink, error) {
	c := uplink.Config{Site: o.Config.Site, Zone: o.Config.Zone, Agent: o.Config.Agent, Epoch: boot.Epoch, Instance: boot.Instance,
		Boot: boot.ID, Version: boot.Version, Started: time.Now(), Devices: o.Config.Rules.Hazard.Devices,
		Points: o.Config.Rules.Hazard.Points, Drill: o.Drill, Log: o.Log,
		Clock: newClockState(clockSynced, time.Now).state}
	if len(o.Config.Sources) > 0 {
		f := newForeigners(o.Config, o.Clock.Now, p.inbox.Put)
		for _, s := range o.Config.Sources {
			c.Sources = append(c.Sources, s.Agent)
		}
		c.Foreign = f.heard
	}
	c.Exceptions = map[sensors.DeviceID]uplink.Exception{}
	for i := range o.Config.Devices {
		if d := &o.Config.Devices[i]; d.Integrity > 0 {
			c.Exceptions[d.ID] = uplink.Exception{Deadband: float64(d.Deadband) / 100, Integrity: d.Integrity}
		}
	}
	for i := range o.Config.Rules.Response.Plans {
		if k := &o.Config.Rules.Response.Plans[i]; k.Peer != "" {
			c.Peers = append(c.Peers, uplink.Peer{Agent: k.Peer, Plan: k.Name})
		}
	}
	c.Heard, c.Twin, c.Tamper, c.Buses = p.heard.peer, p.twins.twin, p.twins.tamper, p.loads.told
	c.Unheard, c.Order = p.twins.unheard, func(ctx context.Context, o uplink.Order) error { return p.desk.remote(ctx, o) }
	c.Answered = newAnswerers(p.heard.receipt).answered
	c.Store, c.Unkept, c.Mono = outboxStore(o.Config.Journal, "outbox"), p.twins.unkept, o.Clock.Now
	c.Next, c.Attempt = o.Clock.Next, p.gear.raise
	c.StoreReadings = outboxStore(o.Config.Journal, "readings")
	if len(o.Config.Brokers) > 0 && !o.Drill {
		c.Memory = openMemory(o.Config.Run, boot.Epoch, inMemory, o.Log)
	}
	c.Consumers, c.TrustedKeys = o.Config.Rules.Consumers, o.Config.TrustedKeys
	if c.TrustedKeys == "" {
		c.Consumers = nil // nobody's receipt could be believed, so none is missed
	}
	c.CertTime = certTime(p.rec.LastWall)
	c.SigningKey, c.SignState = o.Config.SigningKey, o.Config.SignTelemetry
	for _, b := range o.Config.Brokers {
		c.Brokers = append(c.Brokers, brokerOf(b))
	}
	return uplink.New(c)
}

// answerEvery is how often the loop hears of one consumer's receipts: a thousand alarms have a thousand.
const answerEvery = time.Minute

// answerers passes on which consumers answer. answered may be called from any goroutine, and waits for nobody.
type answerers struct {
	tell func(consumer string)

	mu sync.Mutex
	at map[string]time.Time
}

func newAnswerers(tell func(string)) *answerers {
	return &answerers{tell: tell, at: map[string]time.Time{}}
}

func (a *answerers) answered(m wire.ReceiptMessage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at, ok := a.at[m.Consumer]; ok && time.Since(at) < answerEvery {
		return
	}
	a.at[m.Consumer] = time.Now() // the names are few: those of the configuration
	a.tell(m.Consumer)
}
