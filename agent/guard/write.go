package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/journal"
	"firebreak/agent/response"
	"firebreak/sensors"
)

// Boot is written at each start: what the next one needs to know of this one (S8, S14).
type Boot struct {
	ID       string `json:"id"` // of the kernel's boot
	Epoch    uint64 `json:"epoch"`
	Instance string `json:"instance"`
	Version  string `json:"version"`
}

// entry is one record of the journal, as the guard writes it.
type entry struct {
	Mono   sensors.Mono    `json:"m"`
	Wall   int64           `json:"w"` // unix milliseconds
	Synced bool            `json:"c,omitempty"`
	Boot   *Boot           `json:"boot,omitempty"`
	Rec    *core.Record    `json:"r,omitempty"`
	Snap   json.RawMessage `json:"snap,omitempty"`
}

func (g *Guard) entry(now sensors.Mono) entry {
	return entry{Mono: now, Wall: time.Now().UnixMilli(), Synced: g.c.Synced()}
}

func (g *Guard) append(e entry) {
	if g.c.Journal == nil {
		return
	}
	b, err := json.Marshal(e)
	if err != nil {
		g.c.Log.Error("a record cannot be encoded", "err", err)
		g.refused = true
		return
	}
	seq := g.c.Journal.Append(b)
	if seq == 0 {
		g.refused = true
		return
	}
	if g.c.Journal.DurableSeq() >= g.lastSeq {
		g.waitFrom = time.Now() // nothing waited before this one
	}
	g.lastSeq, g.refused = seq, false
	g.records++
}

func (g *Guard) write(now sensors.Mono, r core.Record) {
	e := g.entry(now)
	e.Rec = &r
	g.append(e)
}

func (g *Guard) writeBoot() {
	e := g.entry(g.c.Clock.Now())
	e.Boot = &g.c.Boot
	g.append(e)
}

// maybeSnapshot keeps the journal short. It is only a hand-over: the journal writes it behind.
func (g *Guard) maybeSnapshot(now sensors.Mono) {
	if g.records < snapshotEvery || len(g.pending) > 0 || g.c.Journal == nil || g.jerr != "" {
		return
	}
	if err := g.snapshot(now); err != nil {
		g.c.Log.Warn("no snapshot was taken; the journal grows until the next", "err", err)
	}
	g.records = 0
}

func (g *Guard) snapshot(now sensors.Mono) error {
	e := g.entry(now)
	e.Boot, e.Snap = &g.c.Boot, g.c.Core.Snapshot(nil)
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return g.c.Journal.Snapshot(b, g.lastSeq)
}

// watchJournal notices a journal that does not answer at all, as when an fsync hangs.
func (g *Guard) watchJournal(ctx context.Context) {
	if g.c.Journal == nil {
		return
	}
	switch {
	case g.refused:
		g.tellJournal(ctx, errors.New("it refuses records: its queue is full"))
	case g.c.Journal.DurableSeq() < g.lastSeq && time.Since(g.waitFrom) > journalLag:
		g.tellJournal(ctx, fmt.Errorf("the disk has not answered for %v", journalLag))
	case g.c.Journal.DurableSeq() >= g.lastSeq && g.jerr != "":
		g.tellJournal(ctx, nil)
	}
}

// journalState notes what the journal says of itself; the loop tells the core at its next turn.
func (g *Guard) journalState(err error) {
	if err == nil {
		return // watchJournal sees when it has caught up
	}
	g.tellJournal(context.Background(), err)
}

func (g *Guard) tellJournal(ctx context.Context, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == g.jerr {
		return
	}
	g.jerr = text
	g.step(ctx, core.Event{Kind: core.Durable, Err: err})
}

// statsBox counts for health points.
type statsBox struct{ steps atomic.Uint64 }

func (s *statsBox) step() { s.steps.Add(1) }

// Stats of the loop.
type Stats struct {
	Steps   uint64   // events taken
	Dropped []uint64 // updates lost, by publisher
}

// Stats may be called from any goroutine.
func (g *Guard) Stats() Stats {
	s := Stats{Steps: g.stats.steps.Load()}
	for _, f := range g.fans {
		s.Dropped = append(s.Dropped, f.dropped.Load())
	}
	return s
}

// Recovered is what a start finds in the journal.
type Recovered struct {
	Core   *core.Core
	Resume core.ResumeInfo
	Epoch  uint64   // highest used so far; 0: none
	Notes  []string // what was damaged or could not be taken back
}

// Recover rebuilds a core from the journal. Records that do not fit are passed over and named: a
// damaged journal must not keep the agent from protecting. rec may be nil.
func Recover(rules *core.Rules, rec *journal.Recovered, now sensors.Mono, bootID string, synced bool, wall time.Time) (*Recovered, error) {
	out := &Recovered{}
	var last entry
	var boot Boot
	if rec == nil {
		rec = &journal.Recovered{}
	}
	take := func(e entry) {
		last = e
		if e.Boot != nil {
			boot = *e.Boot
			out.Epoch = max(out.Epoch, boot.Epoch)
		}
	}
	var err error
	if len(rec.Snapshot) > 0 {
		var e entry
		if err = json.Unmarshal(rec.Snapshot, &e); err == nil {
			if out.Core, err = core.New(rules, e.Snap); err == nil {
				take(e)
			}
		}
		if err != nil {
			out.Notes = append(out.Notes, "the snapshot cannot be read: "+err.Error())
		}
	}
	if out.Core == nil {
		if out.Core, err = core.New(rules, nil); err != nil {
			return nil, err
		}
	}
	if rec.Repaired != "" {
		out.Notes = append(out.Notes, rec.Repaired)
	}
	for _, r := range rec.Records {
		var e entry
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			out.Notes = append(out.Notes, fmt.Sprintf("record %d cannot be read: %v", r.Seq, err))
			continue
		}
		take(e)
		if e.Rec == nil {
			continue
		}
		if err := out.Core.Apply(*e.Rec); err != nil {
			out.Notes = append(out.Notes, fmt.Sprintf("record %d: %v", r.Seq, err))
		}
	}
	out.Resume = resumeInfo(last, boot, now, bootID, synced, wall)
	return out, nil
}

// resumeInfo is S8: within one boot downtime counts as it is; across boots only when the clock was
// synchronised then and now; else the age is unknown and the stored instants end now.
func resumeInfo(last entry, boot Boot, now sensors.Mono, bootID string, synced bool, wall time.Time) core.ResumeInfo {
	info := core.ResumeInfo{Last: last.Mono, Resumed: response.Resumed{EpisodeBase: uint64(max(wall.Unix(), 1))}}
	if last.Mono == 0 {
		info.AgeKnown = true // nothing was there
		return info
	}
	same := bootID != "" && boot.ID == bootID && last.Mono <= now
	switch age := wall.Sub(time.UnixMilli(last.Wall)); {
	case same:
		info.SameBoot, info.AgeKnown, info.Age = true, true, now.Sub(last.Mono)
	case synced && last.Synced && age >= 0:
		info.AgeKnown, info.Age = true, age
		info.Shift = now.Add(-age).Sub(last.Mono)
	default:
		info.Shift = now.Sub(last.Mono)
	}
	return info
}
