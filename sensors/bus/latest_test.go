package bus

import (
	"slices"
	"sync"
	"testing"

	"firebreak/sensors"
)

func TestLatestNewestWinsAndIsCounted(t *testing.T) {
	l := NewLatest(3)
	for _, b := range []sensors.Batch{{Device: 2, Seq: 1}, {Device: 0, Seq: 1}, {Device: 2, Seq: 2}, {Device: 3, Seq: 1}} {
		l.Put(b)
	}
	<-l.Ready()
	got := l.Take(nil)
	if len(got) != 2 || got[0].Device != 0 || got[1].Device != 2 || got[1].Seq != 2 {
		t.Errorf("took %+v", got)
	}
	if l.Dropped() != 2 { // one replaced, one of an unknown device
		t.Errorf("dropped = %d", l.Dropped())
	}
	if got := l.Take(got[:0]); len(got) != 0 {
		t.Errorf("took %+v twice", got)
	}
	select {
	case <-l.Ready():
		t.Error("ready without a batch")
	default:
	}
}

// Many sources, one taker: each batch is taken or counted, each device's in order, none lost
// without a signal.
func TestLatestConcurrent(t *testing.T) {
	const devices, each = 8, 5000
	l := NewLatest(devices)
	var wg sync.WaitGroup
	for d := range devices {
		wg.Go(func() {
			for i := range each {
				l.Put(sensors.Batch{Device: sensors.DeviceID(d), Seq: uint64(i + 1)})
			}
		})
	}
	var last [devices]uint64
	taken := uint64(0)
	var buf []sensors.Batch
	for done := 0; done < devices; {
		<-l.Ready()
		buf = l.Take(buf[:0])
		for _, b := range buf {
			if b.Seq <= last[b.Device] {
				t.Fatalf("device %d: %d after %d", b.Device, b.Seq, last[b.Device])
			}
			if last[b.Device] = b.Seq; b.Seq == each {
				done++
			}
			taken++
		}
	}
	wg.Wait()
	if got := taken + l.Dropped(); got != devices*each {
		t.Errorf("taken and dropped %d of %d", got, devices*each)
	}
}

func TestLatestDoesNotAllocate(t *testing.T) {
	l := NewLatest(4)
	buf := make([]sensors.Batch, 0, 4)
	if n := testing.AllocsPerRun(100, func() {
		for d := range 4 {
			l.Put(sensors.Batch{Device: sensors.DeviceID(d)})
		}
		<-l.Ready()
		buf = l.Take(buf[:0])
	}); n != 0 {
		t.Errorf("%v allocations for a round", n)
	}
}

// Parts of a device do not push each other out, and what was put last is taken last.
func TestLatestKeepsParts(t *testing.T) {
	l := NewLatest(2)
	put := func(part uint8, seq uint64) { l.Put(sensors.Batch{Device: 1, Part: part, Seq: seq}) }
	put(0, 1)
	put(1, 2)
	put(2, 3)
	put(0, 4)
	put(MaxParts, 5)
	var got []uint64
	for _, b := range l.Take(nil) {
		got = append(got, b.Seq)
	}
	if !slices.Equal(got, []uint64{2, 3, 4}) || l.Dropped() != 2 {
		t.Errorf("took %v, %d dropped", got, l.Dropped())
	}
	if put(1, 6); len(l.Take(nil)) != 1 {
		t.Error("a part that was taken is not put again")
	}
}
