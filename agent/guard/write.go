package guard

import (
	"encoding/json"
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
	Shift  time.Duration   `json:"s,omitempty"` // of a boot: it moved every instant that was stored before
	Rec    *core.Record    `json:"r,omitempty"`
	Snap   json.RawMessage `json:"snap,omitempty"`
}

func (g *Guard) entry(now sensors.Mono) entry {
	return entry{Mono: now, Wall: time.Now().UnixMilli(), Synced: g.c.Synced()}
}

// add encodes a record that flush will append.
func (g *Guard) add(e entry) {
	if g.c.Journal == nil {
		return
	}
	b, err := json.Marshal(e)
	if err != nil {
		g.c.Log.Error("a record cannot be encoded", "err", err)
		g.gap = true
		return
	}
	if g.loads = append(g.loads, b); len(g.loads) == groupRecords {
		g.flush()
	}
}

// flush hands the journal what was added. It takes all or none.
func (g *Guard) flush() bool {
	if len(g.loads) == 0 {
		return false
	}
	seq, n := g.c.Journal.Append(g.loads...), len(g.loads)
	clear(g.loads)
	g.loads = g.loads[:0]
	if seq == 0 {
		g.gap = true
		return false
	}
	if g.c.Journal.DurableSeq() >= g.markSeq {
		g.markSeq, g.markAt = seq, time.Now()
	}
	g.lastSeq = seq
	g.records += n
	return true
}

func (g *Guard) append(e entry) bool {
	g.add(e)
	return g.flush()
}

func (g *Guard) write(now sensors.Mono, r core.Record) {
	e := g.entry(now)
	e.Rec = &r
	g.add(e)
	if r.Plan != nil || r.Proof != nil || r.Answer != nil {
		g.unmirrored, g.mirrorMono = true, now
	}
}

// mirror hands on what the next start must know even if the journal does not open in time: modes, open
// runs, keys and the ledger, and not the readings (S9). It is only a hand-over.
func (g *Guard) mirror() {
	now := time.Now()
	if g.c.Mirror == nil || !g.unmirrored || now.Before(g.mirrorDue()) {
		return
	}
	g.unmirrored, g.mirrorAt = false, now
	e := g.entry(g.mirrorMono) // of the record that it covers: a journal that has that one is not behind
	e.Boot, e.Snap = &g.c.Boot, g.c.Core.Essence(nil)
	if b, err := json.Marshal(e); err == nil {
		g.c.Mirror(b)
	}
}

// mirrorDue is when the state is mirrored next. A start whose record is about to be durable does not wait for
// the loop to encode it; one that waits longer may have to do without the disk, and then the mirror counts.
func (g *Guard) mirrorDue() time.Time {
	due := g.mirrorAt.Add(mirrorPause)
	if len(g.pending) > 0 {
		if start := g.pending[0].at.Add(mirrorBehind); start.After(due) {
			return start
		}
	}
	return due
}

// writeBoot writes what the next start must know of this one; with the whole state where the journal
// lacks some of it, in one record, because all that follows builds on it.
func (g *Guard) writeBoot() {
	if g.c.Behind {
		if g.append(g.whole(g.c.Clock.Now())) {
			return
		}
		g.gap = true
	}
	e := g.entry(g.c.Clock.Now())
	e.Boot, e.Shift = &g.c.Boot, g.c.Resume.Shift
	g.append(e)
}

// maybeSnapshot keeps the journal short. It is only a hand-over: the journal writes it behind.
func (g *Guard) maybeSnapshot(now sensors.Mono) {
	if g.records < snapshotEvery || len(g.pending) > 0 || g.c.Journal == nil || g.jerr != "" {
		return
	}
	if err := g.snapshot(g.whole(now)); err != nil {
		g.c.Log.Warn("no snapshot was taken; the journal grows until the next", "err", err)
	}
	g.records = 0
}

// whole is an entry with all that a start needs.
func (g *Guard) whole(now sensors.Mono) entry {
	e := g.entry(now)
	e.Boot, e.Snap = &g.c.Boot, g.c.Core.Snapshot(nil)
	return e
}

func (g *Guard) snapshot(e entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	return g.c.Journal.Snapshot(b, g.lastSeq)
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
	Core     *core.Core
	Resume   core.ResumeInfo
	Epoch    uint64    // highest used so far; 0: none
	Notes    []string  // what was damaged or could not be taken back
	LastWall time.Time // the latest of the wall clock while it was synchronised; zero: none is known
	Behind   bool      // the journal lacks what stood in memory: it is written whole at the start
}

// Recover rebuilds a core from the journal. Records that do not fit are passed over and named: a
// damaged journal must not keep the agent from protecting. rec may be nil. mirror is what the process
// before left in memory, or nil: of the same boot, and later than the journal, it is what stood (S9).
func Recover(rules *core.Rules, rec *journal.Recovered, mirror []byte, now sensors.Mono, bootID string, synced bool, wall time.Time) (*Recovered, error) {
	out := &Recovered{}
	var last entry
	var boot Boot
	if rec == nil {
		rec = &journal.Recovered{}
	}
	take := func(e entry) {
		last = e
		if t := time.UnixMilli(e.Wall); e.Synced && t.After(out.LastWall) {
			out.LastWall = t
		}
		if e.Boot != nil {
			boot = *e.Boot
			out.Epoch = max(out.Epoch, boot.Epoch)
		}
	}
	var err error
	if len(rec.Snapshot) > 0 {
		var e entry
		if err = json.Unmarshal(rec.Snapshot, &e); err == nil {
			take(e)
			out.Core, err = core.New(rules, e.Snap)
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
		before := last.Mono
		take(e)
		switch {
		case e.Boot != nil && e.Shift != 0:
			out.Core.Rebooted(e.Mono, before, e.Shift)
		case e.Rec != nil:
			err = out.Core.Apply(*e.Rec)
		case len(e.Snap) > 0: // the whole state, after a gap
			var c *core.Core
			if c, err = core.New(rules, e.Snap); err == nil {
				out.Core = c
			}
		}
		if err != nil {
			out.Notes = append(out.Notes, fmt.Sprintf("record %d: %v", r.Seq, err))
			err = nil
		}
	}
	if e, ok := out.mirrored(rules, mirror, bootID, last, boot); ok {
		last, boot, out.Behind = e, *e.Boot, true
		out.Epoch = max(out.Epoch, boot.Epoch)
	}
	out.Resume = resumeInfo(last, boot, now, bootID, synced, wall)
	out.Resume.Damaged = rec.Damaged
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
	if !same && info.Shift == 0 {
		info.Shift = 1 // by the shift a reboot is told, also by the next start, which reads it in the journal
	}
	return info
}

// mirrored takes the mirror over the journal where the journal did not open, or has refused records.
func (r *Recovered) mirrored(rules *core.Rules, mirror []byte, bootID string, last entry, boot Boot) (e entry, ok bool) {
	if len(mirror) == 0 {
		return e, false
	}
	if err := json.Unmarshal(mirror, &e); err != nil || e.Boot == nil {
		r.Notes = append(r.Notes, "the state kept in memory cannot be read; the journal alone counts")
		return e, false
	}
	if bootID == "" || e.Boot.ID != bootID || boot.ID == bootID && e.Mono <= last.Mono {
		return e, false
	}
	c := r.Core
	if boot.ID != bootID { // the journal ends in an earlier boot: its instants mean nothing beside these
		var err error
		if c, err = core.New(rules, nil); err != nil {
			return e, false
		}
	}
	if err := c.Adopt(e.Snap); err != nil {
		r.Notes = append(r.Notes, "the state kept in memory does not fit: "+err.Error())
		return e, false
	}
	r.Core = c
	r.Notes = append(r.Notes, "the journal does not hold all that was decided: the state kept in memory counts")
	return e, true
}
