package history

import (
	"encoding/binary"
	"encoding/json"

	"firebreak/plugins"
)

// encode appends the group's records to buf.
func (w *writer) encode(synced bool) {
	if w.gap != (Gap{}) && w.gap.From != 0 {
		js, _ := json.Marshal(w.gap)
		b, at := beginRecord(w.buf, 0)
		i := Instant{Mono: w.h.o.Clock.Now(), Wall: w.gap.To, Synced: synced}
		w.buf = w.hdr.endRecord(append(appendPrefix(b, kindGap, i), js...), at)
	}
	for i := 0; i < len(w.group); {
		if w.group[i].u.State != nil {
			i = w.encodeFrame(i, synced)
			continue
		}
		w.encodeOther(i, synced)
		i++
	}
}

// frameBytes is about what one damage may cost.
const frameBytes = 32 << 10

// encodeFrame encodes the polls from i on that are numbered in a row, and returns what comes next.
func (w *writer) encodeFrame(i int, synced bool) int {
	base := w.instant(&w.group[i])
	base.Synced = synced
	end := i + 1
	for size := 0; end < len(w.group) && w.group[end].u.State != nil && w.group[end].n == w.group[end-1].n+1 && size < frameBytes; end++ {
		size += 8 + 4*w.group[end].size
	}
	b, at := beginRecord(w.buf, w.group[i].n)
	b = appendPrefix(b, kindFrame, base)
	b = binary.AppendUvarint(b, uint64(end-i))
	for k := i; k < end; k++ {
		p := w.group[k].u.State
		first := w.h.first[p.Device] // offer has looked that it is there
		if p.Wall.IsZero() {
			c := *p
			c.Wall = w.group[k].u.Wall
			p = &c
		}
		b = appendPoll(b, base, p, first)
	}
	w.buf = w.hdr.endRecord(b, at)
	return end
}

// encodeOther encodes the state of an alarm or a plan, or an event, as JSON.
func (w *writer) encodeOther(i int, synced bool) {
	e := &w.group[i]
	kind, v := kindEvent, any(e.u.Event)
	switch {
	case e.u.Alarm != nil:
		kind, v = kindAlarm, e.u.Alarm
	case e.u.Plan != nil:
		kind, v = kindPlan, e.u.Plan
	case e.u.Event == nil:
		return // dropped at an earlier attempt
	}
	js, err := json.Marshal(v)
	if err != nil || len(js) > hardRecord/2 {
		w.h.q.drop(*e) // told by a gap record of the next group
		e.u = plugins.Update{}
		return
	}
	at := w.instant(e)
	at.Synced = synced
	b, from := beginRecord(w.buf, e.n)
	b = append(appendPrefix(b, kind, at), byte(e.u.Mark))
	w.buf = w.hdr.endRecord(append(b, js...), from)
}
