package app

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/bus"
	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
	"firebreak/sensors/sim/pty"
	"firebreak/sensors/sim/slave"
)

// Every register holds a number that tells which register of which unit it is, so that a value at
// the wrong point is seen at once.
const channels = 40

func mark(unit, i int) uint16 { return uint16(unit*1000 + i) }

func markedProfile(t *testing.T, timeout string) *profile.Profile {
	t.Helper()
	var b strings.Builder
	b.WriteString("name = \"marked\"\ntitle = \"test\"\nmaker = \"test\"\nbus = \"modbus\"\nsource = \"this test\"\n[read]\nmax_words = 10\ntimeout = \"" + timeout + "\"\nturnaround = \"500ms\"\n")
	for i := range channels {
		fmt.Fprintf(&b, "[[channel]]\nname = \"r%d\"\nfunction = \"holding\"\naddress = %d\n", i, i)
	}
	p, err := profile.Parse("marked.toml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func markedBank(unit int) *slave.Bank {
	b := slave.NewBank()
	for i := range channels {
		b.Set(slave.Holdings, uint16(i), mark(unit, i))
	}
	return b
}

type markedDevice struct {
	dev    sensors.Device
	unit   int
	points []sensors.Point
}

func newMarked(p *profile.Profile, id, unit int, period time.Duration) markedDevice {
	d := sensors.Device{ID: sensors.DeviceID(id), Name: fmt.Sprintf("u%d", unit), Poll: period}
	points := p.Expand(d, time.Second)
	for i := range points {
		points[i].ID = sensors.PointID(id*channels + i)
	}
	return markedDevice{d, unit, points}
}

func markedBus(t *testing.T, name string, p *profile.Profile, bound time.Duration, l link, devs ...markedDevice) *bus.Bus {
	t.Helper()
	var list []bus.Device
	for _, d := range devs {
		poller, err := modbus.New(l, byte(d.unit), p, d.points)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, bus.Device{Dev: d.dev, Part: bus.Part{Points: d.points, Poller: poller}, Timeout: bound, Probe: 100 * time.Millisecond})
	}
	b, err := bus.New(name, sensors.NewClock(), list, bus.Options{Close: func() { _ = l.Close() }})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Late, foreign, short, truncated and missing replies, a hang and a cut connection, on a TCP
// endpoint and on a serial line: no value ever stands at the wrong point, and another bus keeps
// its schedule.
func TestTormentedBusSpoilsNothing(t *testing.T) {
	p, patient := markedProfile(t, "50ms"), markedProfile(t, "10s") // the healthy one is judged by what it says, not by how busy this machine is
	torment := func(n uint64) slave.Fault {
		switch n % 20 { // more than half are sound: a unit that never answers is probed ever more rarely
		case 1:
			return slave.Fault{Delay: 80 * time.Millisecond} // after the time-out: late; within the turnaround, on a machine under load too
		case 2:
			return slave.Fault{Unit: 9}
		case 3:
			return slave.Fault{Short: 3}
		case 4:
			return slave.Fault{Truncate: 7}
		case 5:
			return slave.Fault{TxShift: 1, BadCRC: true}
		case 6:
			return slave.Fault{Silent: true}
		case 7:
			return slave.Fault{Drop: true}
		}
		return slave.Fault{}
	}
	var requests atomic.Uint64
	faults := func(slave.Request) slave.Fault {
		n := requests.Add(1)
		return torment(n * 2654435761 >> 7) // spread, and the same at each run
	}
	bad, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{1: markedBank(1), 2: markedBank(2)})
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	bad.SetFault(faults)
	pair, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	line := slave.ServeRTU(pair, map[byte]*slave.Bank{3: markedBank(3)})
	defer line.Close()
	line.SetFault(faults)
	hung, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{4: markedBank(4)})
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	hung.SetFault(func(slave.Request) slave.Fault { return slave.Fault{Hang: true} })
	good, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{5: markedBank(5)})
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()

	rtu, err := modbus.NewSerial(modbus.SerialOptions{Path: pair.Path(), Baud: 115200, Parity: "none", StopBits: 1})
	if err != nil {
		t.Fatal(err)
	}
	tick := 20 * time.Millisecond
	buses := []*bus.Bus{
		markedBus(t, "bad", p, 400*time.Millisecond, modbus.NewTCP(bad.Addr(), modbus.TCPOptions{}), newMarked(p, 0, 1, tick), newMarked(p, 1, 2, tick)),
		markedBus(t, "line", p, 400*time.Millisecond, rtu, newMarked(p, 2, 3, tick)),
		markedBus(t, "hung", p, 400*time.Millisecond, modbus.NewTCP(hung.Addr(), modbus.TCPOptions{}), newMarked(p, 3, 4, tick)),
		markedBus(t, "good", patient, 30*time.Second, modbus.NewTCP(good.Addr(), modbus.TCPOptions{}), newMarked(patient, 4, 5, tick)),
	}
	batches := make(chan sensors.Batch, 1024)
	ends := &cleanups{log: discard()}
	for _, b := range buses {
		ends.task(b.Name(), 3*time.Second, runBus(b, func(x sensors.Batch) { batches <- x }, &busLoads{}, discard()))
	}
	defer func() {
		if err := ends.run(); err != nil {
			t.Error(err)
		}
	}()
	seen := watchMarked(t, batches, 150)
	if seen.good[3] != 0 {
		t.Errorf("%d usable readings from a device that never answered", seen.good[3])
	}
	if seen.bad[4] != 0 {
		t.Errorf("the healthy bus has %d bad readings", seen.bad[4])
	}
}

type tallies struct{ good, bad [5]int }

// enough: each tormented device has been read well and badly, and the hung one has been given up.
func (s *tallies) enough() bool {
	return s.good[0] > 0 && s.good[1] > 0 && s.good[2] > 0 && s.bad[0] > 0 && s.bad[1] > 0 && s.bad[2] > 0 && s.bad[3] > 0
}

// watchMarked reads batches until the healthy device (the last) has brought so many, and the faults
// have been seen on all others.
func watchMarked(t *testing.T, batches <-chan sensors.Batch, want int) tallies {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out tallies
	for healthy := 0; healthy < want || !out.enough(); {
		select {
		case <-ctx.Done():
			t.Fatalf("in a minute the healthy bus brought %d of %d polls beside a tormented one; readings by device: %+v", healthy, want, out)
		case b := <-batches:
			if b.Device == 4 {
				healthy++
			}
			for _, r := range b.Readings {
				if !r.Quality.Usable() {
					out.bad[b.Device]++
					continue
				}
				out.good[b.Device]++
				if unit, i := int(b.Device)+1, int(r.Point)%channels; r.Value != float64(mark(unit, i)) {
					t.Errorf("unit %d, register %d reads %v: a value of another point", unit, i, r.Value)
				}
			}
		}
	}
	return out
}
