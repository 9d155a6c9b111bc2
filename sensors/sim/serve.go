package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"firebreak/sensors/sim/chips"
	"firebreak/sensors/sim/pty"
	"firebreak/sensors/sim/slave"
)

// Devices of the world.
const (
	UPSName   = "ups-a"
	BMSName   = "bms-1"
	ASDName   = "asd-1"
	SmokeName = "smoke-1"
	LoadName  = "load-1"
	Tmp1Name  = "cab-t1" // in the cabinet of the rack that the BMS watches
	Tmp2Name  = "cab-t2" // in the next cabinet
)

var tmpAddress = [2]uint16{0x48, 0x49}

// Kinds of buses, in the words of the configuration.
const (
	KindTCP = "modbus-tcp"
	KindRTU = "modbus-rtu"
	KindI2C = "i2c"
)

const tick = 20 * time.Millisecond // real time between two advances of a served world

// Endpoint says where a device answers.
type Endpoint struct {
	Device, Profile string
	Bus             string // devices with the same name share it
	Kind            string
	Address         string // host:port, path of the line, or name of the I2C bus
	Unit            byte
	Chip            uint16 // I2C address
}

// Served is a world behind sockets, a serial line and an I2C bus.
type Served struct {
	*World
	Power *slave.TCP // UPS (unit 1) and BMS (unit 2)
	Smoke *slave.TCP // aspirating detector (unit 1)
	Loads *slave.TCP // load controller (unit 1)
	Line  *slave.RTU // point smoke detector (unit 1)

	path   string
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once
	err    error
}

// Serve starts the servers of a world, on 127.0.0.1 and a new pty pair, and keeps it advancing
// until ctx ends or Close. Closing is the caller's in either case. A world is served once.
func (w *World) Serve(ctx context.Context) (*Served, error) {
	if w.clock == nil {
		return nil, errors.New("serve the simulated room: it has no clock: give one to New")
	}
	s := &Served{World: w}
	var open []io.Closer
	tcp := func(units map[byte]*slave.Bank) *slave.TCP {
		srv, err := slave.ListenTCP("127.0.0.1:0", units)
		if err != nil {
			s.err = errors.Join(s.err, err)
			return nil
		}
		open = append(open, srv)
		return srv
	}
	s.Power = tcp(map[byte]*slave.Bank{1: w.banks[UPSName], 2: w.banks[BMSName]})
	s.Smoke = tcp(map[byte]*slave.Bank{1: w.banks[ASDName]})
	s.Loads = tcp(map[byte]*slave.Bank{1: w.banks[LoadName]})
	line, err := pty.Open()
	s.err = errors.Join(s.err, err)
	if s.err != nil {
		for _, c := range open {
			c.Close()
		}
		return nil, fmt.Errorf("serve the simulated room: %w", s.err)
	}
	s.path = line.Path()
	s.Line = slave.ServeRTU(line, map[byte]*slave.Bank{1: w.banks[SmokeName]})
	ctx, s.cancel = context.WithCancel(ctx)
	s.wg.Go(func() {
		t := time.NewTicker(tick)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				w.Sync()
			}
		}
	})
	return s, nil
}

// Close ends the servers and waits for everything that Serve started.
func (s *Served) Close() error {
	s.once.Do(func() {
		s.cancel()
		s.err = errors.Join(s.Power.Close(), s.Smoke.Close(), s.Loads.Close(), s.Line.Close())
		s.wg.Wait()
	})
	return s.err
}

// I2C opens the bus with the two temperature chips: one bus, however often it is opened. A user
// that closed it may open it again.
func (w *World) I2C() *chips.Bus {
	w.bus.Reopen()
	return w.bus
}

// Chip is the i-th temperature chip, for tests that cut its power.
func (w *World) Chip(i int) *chips.TMP117 { return w.tmp[i] }

// Bank is the register bank of a Modbus device, nil for others. What the world shows is written
// anew whenever it advances.
func (w *World) Bank(device string) *slave.Bank { return w.banks[device] }

// Endpoints lists where each device answers.
func (s *Served) Endpoints() []Endpoint {
	power, smoke, loads := s.Power.Addr(), s.Smoke.Addr(), s.Loads.Addr()
	return []Endpoint{
		{Device: UPSName, Profile: "apc-smart-ups", Bus: "power", Kind: KindTCP, Address: power, Unit: 1},
		{Device: BMSName, Profile: "soltaro-c", Bus: "power", Kind: KindTCP, Address: power, Unit: 2},
		{Device: ASDName, Profile: "faast", Bus: "smoke", Kind: KindTCP, Address: smoke, Unit: 1},
		{Device: LoadName, Profile: "load-controller", Bus: "load", Kind: KindTCP, Address: loads, Unit: 1},
		{Device: SmokeName, Profile: "calectro-ug3", Bus: "line", Kind: KindRTU, Address: s.path, Unit: 1},
		{Device: Tmp1Name, Profile: "tmp117", Bus: "i2c", Kind: KindI2C, Address: s.bus.String(), Chip: tmpAddress[0]},
		{Device: Tmp2Name, Profile: "tmp117", Bus: "i2c", Kind: KindI2C, Address: s.bus.String(), Chip: tmpAddress[1]},
	}
}
