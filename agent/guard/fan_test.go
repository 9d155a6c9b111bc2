package guard

import (
	"testing"

	"firebreak/plugins"
	"firebreak/sensors"
)

// picky is a publisher that may be deaf to readings.
type picky struct {
	fakePub
	listens bool
}

func (p *picky) Listens() bool { return p.listens }

// Who does not listen is not woken for readings, hears all else, and hears readings once it listens.
func TestDeafPublisher(t *testing.T) {
	p := &picky{}
	f := newFan(p, "p", nil)
	f.offer(plugins.Update{State: &sensors.Batch{}})
	if len(f.ch) != 0 {
		t.Error("a reading waits for who does not listen")
	}
	f.offer(plugins.Update{Alarm: &plugins.AlarmState{}})
	p.listens = true
	f.offer(plugins.Update{State: &sensors.Batch{}})
	if len(f.ch) != 2 {
		t.Errorf("%d updates wait, want the alarm and the reading", len(f.ch))
	}
	if f.dropped.Load() != 0 {
		t.Error("what is not listened to counts as dropped")
	}
}
