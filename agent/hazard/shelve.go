package hazard

import "firebreak/sensors"

// Shelve puts an alarm aside until an instant, or with once until it clears if that is earlier
// (ISA-18.2). It moves on in the dark: its condition, and every vote that it is in, are as they are (S17).
// ok is false where there is nothing to put aside.
func (b *AlarmBook) Shelve(now sensors.Mono, name string, until sensors.Mono, once bool, by string) (rec Alarm, ok bool) {
	p := b.alarms[name]
	if p == nil {
		return Alarm{}, false
	}
	rec = *p
	rec.State = NextAlarmState(p.State, Shelve, p.Active, p.Latching)
	if rec.State != Shelved {
		return rec, false
	}
	rec.Until, rec.OneShot, rec.By = until, once && p.Active, by
	b.Apply(rec)
	return rec, true
}

// EndShelves takes everything from the shelf: it does not outlive a reboot (S8).
func (b *AlarmBook) EndShelves(now sensors.Mono, changed func(Alarm)) {
	for _, n := range b.names {
		if b.alarms[n].State == Shelved {
			if rec, ok := b.Do(now, n, Unshelve, ""); ok {
				changed(rec)
			}
		}
	}
}
