package app

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"firebreak/agent/guard"
	"firebreak/agent/history"
	"firebreak/agent/journal"
	"firebreak/sensors"
)

// kept is what the journal still holds. Snapshots take the place of older records, so that of an
// episode of last week only the snapshot may tell, or nothing.
type kept struct {
	rec     *journal.Recovered
	entries []keptEntry
	faults  []string
}

// keptEntry is one record of the journal, as far as a bundle has to understand it.
type keptEntry struct {
	seq  uint64
	raw  json.RawMessage
	at   history.Instant
	boot *guard.Boot
	plan *keptPlan
	runs map[string]json.RawMessage // of a snapshot, by plan
}

type keptPlan struct {
	Kind    string `json:"kind"`
	Plan    string `json:"plan"`
	Episode uint64 `json:"episode"`
	Hash    string `json:"hash"`
}

// keptRun is the run in a plan's state in a snapshot.
type keptRun struct {
	Run *struct {
		Episode uint64       `json:"episode"`
		Hash    string       `json:"hash"`
		Start   sensors.Mono `json:"start"`
	} `json:"run"`
}

func readKept(ctx context.Context, dir string) *kept {
	ctx, cancel := context.WithTimeout(ctx, bundleRead)
	defer cancel()
	k := &kept{}
	rec, err := journal.Read(ctx, journal.ReadOnly(dir))
	if err != nil {
		k.faults = append(k.faults, "The journal cannot be read: "+err.Error())
		return k
	}
	k.rec = rec
	if rec.Damaged {
		k.faults = append(k.faults, "The journal is damaged: "+rec.Repaired)
	} else if rec.Repaired != "" {
		k.faults = append(k.faults, "The journal has a torn end, which is usual while the agent runs or after a loss of power: "+rec.Repaired)
	}
	if len(rec.Snapshot) > 0 {
		k.take(rec.SnapshotSeq, rec.Snapshot)
	}
	for _, r := range rec.Records {
		k.take(r.Seq, r.Payload)
	}
	return k
}

func (k *kept) take(seq uint64, payload []byte) {
	var e struct {
		Mono   sensors.Mono `json:"m"`
		Wall   int64        `json:"w"`
		Synced bool         `json:"c"`
		Boot   *guard.Boot  `json:"boot"`
		Rec    *struct {
			Plan *keptPlan `json:"plan"`
		} `json:"r"`
		Snap *struct {
			Plans map[string]json.RawMessage `json:"plans"`
		} `json:"snap"`
	}
	if err := json.Unmarshal(payload, &e); err != nil {
		k.faults = append(k.faults, fmt.Sprintf("Record %d of the journal cannot be understood: %v", seq, err))
		return
	}
	out := keptEntry{seq: seq, raw: payload, boot: e.Boot, at: history.Instant{Mono: e.Mono, Wall: e.Wall, Synced: e.Synced}}
	if n := len(k.entries); n > 0 {
		out.at.Boot = k.entries[n-1].at.Boot
	}
	if e.Boot != nil {
		out.at.Boot = e.Boot.ID
	}
	if e.Rec != nil {
		out.plan = e.Rec.Plan
	}
	if e.Snap != nil {
		out.runs, out.raw = e.Snap.Plans, nil
	}
	k.entries = append(k.entries, out)
}

// add puts in the episodes that only the journal knows.
func (k *kept) add(all []*history.Episode) []*history.Episode {
	find := func(plan string, number uint64) *history.Episode {
		for _, e := range all {
			if e.Plan == plan && e.Number == number {
				return e
			}
		}
		return nil
	}
	for i := range k.entries {
		e := &k.entries[i]
		for plan, state := range e.runs {
			var s keptRun
			if json.Unmarshal(state, &s) == nil && s.Run != nil && find(plan, s.Run.Episode) == nil {
				start := e.at
				start.Wall -= e.at.Mono.Sub(s.Run.Start).Milliseconds()
				start.Mono = s.Run.Start
				all = append(all, &history.Episode{Plan: plan, Number: s.Run.Episode, Config: s.Run.Hash, Start: start, End: e.at, Open: true, Unseen: true})
			}
		}
		if e.plan == nil {
			continue
		}
		ep := find(e.plan.Plan, e.plan.Episode)
		switch {
		case ep == nil && e.plan.Kind == "open":
			all = append(all, &history.Episode{Plan: e.plan.Plan, Number: e.plan.Episode, Config: e.plan.Hash, Start: e.at, End: e.at, Open: true, Unseen: true})
		case ep != nil && ep.Unseen:
			ep.End, ep.Open = e.at, ep.Open && e.plan.Kind != "end"
		}
	}
	slices.SortStableFunc(all, func(a, b *history.Episode) int { return cmp.Compare(a.Start.Wall, b.Start.Wall) })
	return all
}

// of tells whether a record is the episode's own.
func (p *keptPlan) of(ep *history.Episode) bool {
	return p != nil && p.Plan == ep.Plan && p.Episode == ep.Number && p.Kind != "next"
}

// hash is that of the configuration which started the episode.
func (k *kept) hash(ep *history.Episode) string {
	for i := range k.entries {
		e := &k.entries[i]
		if e.plan.of(ep) && e.plan.Kind == "open" {
			return e.plan.Hash
		}
		var s keptRun
		if json.Unmarshal(e.runs[ep.Plan], &s) == nil && s.Run != nil && s.Run.Episode == ep.Number {
			return s.Run.Hash
		}
	}
	return ""
}

// write puts the records of the window, and all of the episode, into journal.jsonl.
func (k *kept) write(d *bundleDir, ep *history.Episode, before, after time.Duration) error {
	f, err := d.create("journal.jsonl")
	if err != nil {
		return err
	}
	type line struct {
		Seq    uint64          `json:"seq"`
		Wall   string          `json:"wall"`
		Record json.RawMessage `json:"record,omitempty"`
		State  json.RawMessage `json:"plan_state_of_snapshot,omitempty"`
	}
	for i := range k.entries {
		e := &k.entries[i]
		l := line{Seq: e.seq, Wall: wall(e.at.Wall), Record: e.raw}
		switch {
		case e.runs != nil:
			var s keptRun
			if json.Unmarshal(e.runs[ep.Plan], &s) != nil || s.Run == nil || s.Run.Episode != ep.Number {
				continue
			}
			l.State = e.runs[ep.Plan]
		case !e.plan.of(ep) && !ep.Covers(e.at, before, after):
			continue
		}
		if err := f.line(l); err != nil {
			_ = f.close()
			return err
		}
	}
	return f.close()
}

// missing says what of the episode the journal does not hold any more.
func (k *kept) missing(ep *history.Episode) []string {
	if k.rec == nil {
		return nil
	}
	if len(k.entries) == 0 {
		return []string{"The journal holds nothing."}
	}
	for i := range k.entries {
		if e := &k.entries[i]; e.plan.of(ep) && e.plan.Kind == "open" {
			return nil
		}
	}
	return []string{"The journal does not hold the beginning of the episode any more: a snapshot has taken the place of older records. plan.jsonl and events.jsonl tell the same from the history."}
}
