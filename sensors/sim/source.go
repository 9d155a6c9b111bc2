package sim

import (
	"context"
	"fmt"
	"sync"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
	"firebreak/sensors/sim/slave"
)

var _ sensors.Source = (*Source)(nil)

// SourceDevice joins a device of the configuration to one of the world.
type SourceDevice struct {
	Device  sensors.Device
	Is      string // the device's name in the world, such as UPSName
	Profile *profile.Profile
	Points  []sensors.Point // all that Profile.Expand made, with their IDs
}

// Source reads the devices of a world without any bus between: the registers through the profile,
// nothing else. Hours of simulated time pass in seconds. Its readings carry origin simulated.
type Source struct {
	w    *World
	devs []sourced

	mu sync.Mutex
}

type sourced struct {
	SourceDevice
	dec  *profile.Decoder
	next sensors.Mono
	seq  uint64
	raw  []profile.Raw
}

// Source returns a source of the given devices.
func (w *World) Source(devs ...SourceDevice) (*Source, error) {
	s := &Source{w: w}
	for _, d := range devs {
		if _, ok := tmpOf(d.Is); !ok && w.banks[d.Is] == nil {
			return nil, fmt.Errorf("device %s: the simulated room has no %q", d.Device.Name, d.Is)
		}
		if d.Device.Poll <= 0 {
			return nil, fmt.Errorf("device %s: poll is %v: it must be positive", d.Device.Name, d.Device.Poll)
		}
		dec, err := profile.NewDecoder(d.Profile, d.Points)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Device.Name, err)
		}
		s.devs = append(s.devs, sourced{SourceDevice: d, dec: dec, raw: make([]profile.Raw, len(d.Profile.Channels))})
	}
	return s, nil
}

func tmpOf(name string) (uint16, bool) {
	switch name {
	case Tmp1Name:
		return tmpAddress[0], true
	case Tmp2Name:
		return tmpAddress[1], true
	}
	return 0, false
}

// Points implements sensors.Source.
func (s *Source) Points() []sensors.Point {
	var all []sensors.Point
	for i := range s.devs {
		all = append(all, s.devs[i].Points...)
	}
	return all
}

// Poll brings the world to now, if it has no clock of its own, polls the devices that are due and
// hands their batches to put. It returns when the next one is due. For a world without a clock now
// counts from its start.
func (s *Source) Poll(now sensors.Mono, put func(sensors.Batch)) (next sensors.Mono) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w.clock == nil {
		s.w.AdvanceTo(time.Duration(now))
	} else {
		s.w.Sync()
	}
	for i := range s.devs {
		d := &s.devs[i]
		if now >= d.next {
			put(s.read(d, now))
			if d.next == 0 {
				d.next = now
			}
			for d.next <= now { // a missed slot is skipped
				d.next = d.next.Add(d.Device.Poll)
			}
		}
		if next == 0 || d.next < next {
			next = d.next
		}
	}
	return next
}

func (s *Source) read(d *sourced, now sensors.Mono) sensors.Batch {
	for i := range d.Profile.Channels {
		c := &d.Profile.Channels[i]
		d.raw[i] = profile.Raw{At: now}
		if words, ok := s.words(d.Is, c); ok {
			d.raw[i].Words = words
		} else {
			d.raw[i].Fail = sensors.Comm
		}
	}
	d.seq++
	b := sensors.Batch{Device: d.Device.ID, Seq: d.seq, Wall: time.Now(), Readings: d.dec.Decode(d.raw, nil)}
	for i := range b.Readings {
		b.Readings[i].Quality = b.Readings[i].Quality.WithOrigin(sensors.Simulated)
	}
	return b
}

func (s *Source) words(is string, c *profile.Channel) ([]uint16, bool) {
	if addr, ok := tmpOf(is); ok {
		var r [2]byte
		if s.w.bus.Tx(addr, []byte{byte(c.Address)}, r[:]) != nil {
			return nil, false
		}
		return []uint16{uint16(r[0])<<8 | uint16(r[1])}, true
	}
	return s.w.banks[is].Words(slave.Table(c.Func), c.Address, uint16(c.Type.Words()))
}

// Run implements sensors.Source: it polls by the clock of the world until ctx ends.
func (s *Source) Run(ctx context.Context, put func(sensors.Batch)) error {
	clock := s.w.clock
	if clock == nil {
		return fmt.Errorf("run the simulated source: the world has no clock: use Poll")
	}
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			next := s.Poll(clock.Now(), put)
			if next == 0 {
				next = clock.Now().Add(time.Second) // no devices
			}
			// A scaled clock rounds: without a least wait the timer would fire just before the
			// instant, and again at once.
			t.Reset(max(10*time.Microsecond, clock.Until(next)))
		}
	}
}
