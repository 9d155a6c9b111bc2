package sensors

import (
	"fmt"
	"strings"
	"time"
)

// PointID names a point within one configuration: dense, from zero, given by the
// configuration. Names stand at the edges and in everything that is written to disk.
type PointID uint32

// DeviceID names a device within one configuration: dense, from zero.
type DeviceID uint32

// Kind says what the value of a point means.
type Kind uint8

const (
	Measurement Kind = iota // a quantity in the point's unit
	Binary                  // 0 or 1
	State                   // an enumeration's code
)

// Physics is the physical effect that a point observes. A quorum for stages 3 and 4
// spans at least two of them (S5).
type Physics uint8

const (
	Status Physics = iota // the device's own state: no physical effect of a hazard
	Temperature
	Smoke
	Gas
	Electrical
	Humidity
	Leak
	AirFlow
)

var physicsNames = [...]string{"status", "temperature", "smoke", "gas", "electrical", "humidity", "leak", "air-flow"}

func (p Physics) String() string { return nameOf(physicsNames[:], int(p)) }

// ParsePhysics is the inverse of String.
func ParsePhysics(s string) (Physics, error) {
	i, err := indexOf("physics", physicsNames[:], s)
	return Physics(i), err
}

var kindNames = [...]string{"measurement", "binary", "state"}

func (k Kind) String() string { return nameOf(kindNames[:], int(k)) }

// ParseKind is the inverse of String.
func ParseKind(s string) (Kind, error) {
	i, err := indexOf("kind", kindNames[:], s)
	return Kind(i), err
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("unknown(%d)", i)
}

func indexOf(what string, names []string, s string) (int, error) {
	for i, n := range names {
		if n == s {
			return i, nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q: use one of %s", what, s, strings.Join(names, ", "))
}

// Path is the way that a reading takes: what can fail and take it along (S5).
type Path struct {
	Bus     string // serial line, TCP endpoint or I2C adapter
	Gateway string // switch or gateway between; empty: none
	Supply  string // power feed of the bus; empty is one feed of its own, "not declared"
}

// Device is one unit on a bus.
type Device struct {
	ID   DeviceID
	Name string // "bms-1"
	Path Path
	Poll time.Duration
}

// Point is one measured quantity of one device.
type Point struct {
	ID       PointID
	Device   DeviceID
	Name     string // device and channel: "bms-1.module.3.temperature"
	Register string // the place that it is read from: points of one device with the same register are one member (S5)
	Unit     Unit
	Kind     Kind
	Physics  Physics

	// Hazard is the direction of danger: +1 rising, -1 falling, 0 neither. A change in this
	// direction is never discarded as implausible (S3).
	Hazard   int8
	Min, Max float64 // range of the device, in Unit; no range when Min == Max
	MaxRate  float64 // fastest plausible change, Unit per second; 0 means no limit

	Poll  time.Duration // how often it is read
	Stale time.Duration // older than this, a reading is no longer fresh
	Lag   time.Duration // sensor lag: t90 and, for an aspirating detector, pipe transport
	Panel bool          // supervised contact of the building's cross-zoned fire panel (S5)
}
