package hazard

import "firebreak/sensors"

// Shelve puts an alarm aside until an instant (ISA-18.2). It moves on in the dark: its condition, and
// every vote that it is in, are as they are (S17). ok is false where there is nothing to put aside.
func (b *AlarmBook) Shelve(now sensors.Mono, name string, until sensors.Mono) (rec Alarm, ok bool) {
	p := b.alarms[name]
	if p == nil {
		return Alarm{}, false
	}
	rec = *p
	switch p.State {
	case Normal, Suppressed, OutOfService:
		return rec, false
	}
	rec.State, rec.Until = Shelved, until
	b.Apply(rec)
	return rec, true
}

// unshelved is the state of an alarm that comes back from the shelf: what is still there, or came
// meanwhile, is told as new; what is latched still waits for its reset.
func (a *Alarm) unshelved() AlarmState {
	switch {
	case a.Active:
		return Unacknowledged
	case a.Latching:
		return LatchedUnacknowledged
	}
	return Normal
}

// EndShelves takes everything from the shelf: it does not outlive a reboot (S8).
func (b *AlarmBook) EndShelves(now sensors.Mono, changed func(Alarm)) {
	for _, n := range b.names {
		if b.alarms[n].State == Shelved {
			if rec, ok := b.Do(now, n, Unshelve); ok {
				changed(rec)
			}
		}
	}
}
