package bus_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/bus"
	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
)

// answers every read of holding registers with zeros; a gateway that hangs takes requests and says nothing.
func gateway(c net.Conn, hangs func() bool) {
	defer c.Close()
	req := make([]byte, 12)
	for {
		if _, err := io.ReadFull(c, req); err != nil {
			return
		}
		if hangs() {
			continue
		}
		n := 2 * int(binary.BigEndian.Uint16(req[10:]))
		reply := append([]byte{req[0], req[1], 0, 0, 0, byte(3 + n), req[6], req[7], byte(n)}, make([]byte, n)...)
		if _, err := c.Write(reply); err != nil {
			return
		}
	}
}

// One hanging TCP gateway among twenty: the intervals of the others do not change at all.
func TestOneHangingGatewayAmongTwenty(t *testing.T) {
	p, err := profile.Parse("x.toml", []byte("name = \"x\"\ntitle = \"x\"\nbus = \"modbus\"\nsource = \"x\"\n[[channel]]\nname = \"a.*\"\nfunction = \"holding\"\naddress = 5\ncount = 100\n"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		clock, began := sensors.NewClock(), time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		at := make([][]time.Duration, 20)
		bad := 0
		var wg sync.WaitGroup
		for i := range 20 {
			hangs := func() bool { return i == 7 && time.Since(began) > time.Minute }
			link := modbus.NewTCP("gateway", modbus.TCPOptions{Dial: func(context.Context) (net.Conn, error) {
				a, b := net.Pipe()
				go gateway(b, hangs)
				return a, nil
			}})
			dev := sensors.Device{ID: sensors.DeviceID(i), Name: fmt.Sprint("dev-", i), Poll: 250 * time.Millisecond}
			points := p.Expand(dev, time.Second)
			for k := range points {
				points[k].ID = sensors.PointID(100*i + k)
			}
			poller, err := modbus.New(link, 1, p, points)
			if err != nil {
				t.Fatal(err)
			}
			b, err := bus.New(dev.Name, clock, []bus.Device{{Dev: dev, Part: bus.Part{Points: points, Poller: poller}}}, bus.Options{Close: func() { link.Close() }})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				err := b.Run(ctx, func(b sensors.Batch) {
					mu.Lock()
					defer mu.Unlock()
					at[i] = append(at[i], time.Since(began))
					if i == 7 && !b.Readings[0].Quality.Usable() {
						bad++
					}
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		<-time.After(5 * time.Minute)
		cancel()
		wg.Wait()
		if bad < 5 || bad > 30 {
			t.Errorf("the hanging gateway was told bad %d times in 4 min", bad)
		}
		for i, a := range at {
			if i == 7 {
				continue
			}
			var gaps []time.Duration
			for k := 2; k < len(a); k++ {
				gaps = append(gaps, a[k]-a[k-1])
			}
			if slices.Sort(gaps); len(gaps) < 1190 || gaps[len(gaps)*99/100] > 251*time.Millisecond {
				t.Errorf("gateway %d: %d polls, p99 interval %v", i, len(gaps), gaps[len(gaps)*99/100])
			}
		}
	})
}
