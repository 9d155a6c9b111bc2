package uplink

import (
	"firebreak/agent/journal"
	"firebreak/agent/wire"
)

// stored is a record of an earlier life, and its number in the journal.
type stored struct {
	kept
	seq uint64
	msg *wire.Message // shared by the links
}

// read gives what lives before this one have told behind a place, in order.
func (o *outbox) read(records []journal.Record, last place) ([]stored, place) {
	var list []stored
	now := o.u.instant()
	for _, r := range records {
		k, err := readKept(r.Payload)
		if err != nil || !last.before(k.Epoch, k.N) || k.Epoch >= o.u.cfg.Epoch {
			continue
		}
		k.age(now, o.clocks)
		list, last = append(list, stored{k, r.Seq, wire.Reread(k.m)}), k.place
	}
	return list, last
}

// older makes what a broker has not acknowledged of lives before this one due to be told to it. What should
// follow its place and is not there is a gap, and named.
func (l *link) older(list []stored, from place) {
	newest := map[string]int{} // of plans: a state that another has replaced is no loss
	for i := range list {
		if list[i].m.Class == wire.Plan {
			newest[list[i].m.Topic] = i
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.backlog
	for i := range list {
		k := &list[i]
		if !from.before(k.Epoch, k.N) {
			continue
		}
		if k.Epoch != from.Epoch {
			from = place{Epoch: k.Epoch}
		}
		b.dropped.Alarm += b.gone(&k.m, wire.Alarm, from.Alarm, k.Alarm)
		b.dropped.Event += b.gone(&k.m, wire.Event, from.Event, k.Event)
		from = k.place
		if k.m.Class == wire.Plan && newest[k.m.Topic] != i {
			b.dropped.Superseded++
			continue
		}
		b.older.push(k.msg)
	}
	for b.full() && b.makeRoom() {
	}
	l.awake()
}

// dropOlder drops the oldest of lives before this one.
func (b *backlog) dropOlder() {
	m := b.older.drop(b.older.sent)
	if m.Class != wire.Plan {
		b.lost(m)
	}
	switch m.Class {
	case wire.Alarm:
		b.dropped.Alarm++
	case wire.Event:
		b.dropped.Event++
	default:
		b.dropped.Superseded++
	}
}

// lacks is the oldest of what is kept that the broker has not acknowledged, and that was not dropped: the
// epoch of its life, and its number; 0: it has all. own is the epoch of this life.
func (b *backlog) lacks(own uint64) (epoch, n uint64) {
	if b.older.n > 0 {
		m := *b.older.at(0)
		return m.Epoch, m.Log
	}
	oldest := func(m *wire.Message) {
		if m.Log > 0 && (n == 0 || m.Log < n) {
			epoch, n = own, m.Log
		}
	}
	t := &b.trees[0]
	if t.alarms.n > 0 {
		oldest(*t.alarms.at(0))
	}
	if t.events.n > 0 {
		oldest(*t.events.at(0))
	}
	for _, s := range t.plans {
		if !s.acked {
			oldest(s.m)
		}
	}
	return epoch, n
}
