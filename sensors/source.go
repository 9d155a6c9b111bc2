// Package sensors is the vocabulary of everything that measures: points, readings, quality,
// units, time, and the contracts that a source of readings keeps. Every other package may import
// it; it imports the standard library only.
//
// Concurrency: the types are plain values. A Clock may be used from any goroutine; a Qualifier
// belongs to one. Failure: a measurement that failed is a Reading of bad quality with its reason,
// never a number that looks like one, and never nothing at all.
package sensors

import (
	"context"
	"errors"
	"time"
)

// Reading is one value of one point. Value is in the point's declared unit; binary points are 0
// or 1, state points carry the code. At is the instant of sampling; a reading is never re-stamped
// and never carried forward.
type Reading struct {
	Point   PointID
	Value   float64
	Quality Quality
	At      Mono
}

// Batch is one poll of one device, or of the part of its points that has a period of its own. The
// receiver owns Readings. A newer batch says all that an older one of the same device and part said.
type Batch struct {
	Device   DeviceID
	Part     uint8
	Serial   string // that the unit says it has; empty: it has none, or has not been asked yet (S23)
	Seq      uint64
	Wall     time.Time
	Readings []Reading
}

// Source yields readings until its context ends. put never blocks: the newest batch of a device
// replaces one that was not yet taken, and that is counted. Run returns only when all that it
// started has ended.
type Source interface {
	Points() []Point
	Run(ctx context.Context, put func(Batch)) error
}

// Commander sends a command that a device profile names, and reads back what it changed. It is
// the only way to write to a device (S25). Without an error the device is in the state that the
// command leads to, or, where the profile has no read back, has acknowledged it, and then there are
// no readings. Every error is one of the three below, or the command was not known.
type Commander interface {
	Command(ctx context.Context, d DeviceID, name string) (readBack []Reading, err error)
}

// What is known of a command that has failed, for errors.Is.
var (
	ErrNotSent     = errors.New("not sent")                                    // the device was not written to
	ErrRefused     = errors.New("refused by the device")                       // it answered that it does not do it
	ErrUnconfirmed = errors.New("sent, and not seen to have been carried out") // it may or may not be done, or be done later
)
