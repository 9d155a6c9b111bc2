package sensors

import "strings"

// Quality packs a status (bits 0-1), an origin (bits 2-4) and a reason (bits 8-15). Its zero
// value is bad, real, without a reason, so that a forgotten assignment is never taken for health.
type Quality uint16

// Status of a reading. Usable means good or uncertain.
type QualityStatus uint8

const (
	Bad QualityStatus = iota
	Uncertain
	Good
)

// Reason says why a reading is not good.
type Reason uint8

const (
	NoReason     Reason = iota
	Comm                // bad: no answer, CRC, exception
	Stale               // bad: the device serves an old value (its liveness channel stands still)
	Implausible         // bad: outside the range, away from the hazard
	Sentinel            // bad: the device's own "no value", wire break included
	Stuck               // bad: does not move where noise would
	NotReady            // bad: before the first conversion
	TestMode            // bad: the device says that it is in test or service
	Identity            // bad: another device answers at this address
	OutOfService        // bad: taken out by a person
	OverRange           // uncertain: beyond the range in the hazardous direction, clamped (S3)
	Fast                // uncertain: faster than plausible in the hazardous direction (S3)
	Replaced            // uncertain: serial number or firmware changed (S23)
	FlowFault           // uncertain: the air that a detector draws is out of its band: what it sees is there, what it does not see may be too
)

// Origin of a reading: it travels to the very end (S7).
type Origin uint8

const (
	Real Origin = iota
	Injected
	Simulated
	Replay
)

var (
	statusNames = [...]string{"bad", "uncertain", "good"}
	reasonNames = [...]string{"", "comm", "stale", "implausible", "sentinel", "stuck", "not-ready", "test-mode", "identity", "out-of-service", "over-range", "fast", "replaced", "air-flow"}
	originNames = [...]string{"real", "injected", "simulated", "replay"}
)

func (s QualityStatus) String() string { return nameOf(statusNames[:], int(s)) }
func (r Reason) String() string        { return nameOf(reasonNames[:], int(r)) }
func (o Origin) String() string        { return nameOf(originNames[:], int(o)) }

// ParseReason and ParseOrigin are the inverses of String.
func ParseReason(s string) (Reason, error) {
	i, err := indexOf("reason", reasonNames[:], s)
	return Reason(i), err
}

func ParseOrigin(s string) (Origin, error) {
	i, err := indexOf("origin", originNames[:], s)
	return Origin(i), err
}

// MakeQuality packs the three parts.
func MakeQuality(s QualityStatus, r Reason, o Origin) Quality {
	return Quality(s) | Quality(o)<<2 | Quality(r)<<8
}

// GoodQuality and BadQuality are the common cases, of real origin.
const GoodQuality = Quality(Good)

func BadQuality(r Reason) Quality { return MakeQuality(Bad, r, Real) }

func (q Quality) Status() QualityStatus { return QualityStatus(q & 3) }
func (q Quality) Origin() Origin        { return Origin(q >> 2 & 7) }
func (q Quality) Reason() Reason        { return Reason(q >> 8) }

// Usable is true for good and uncertain readings.
func (q Quality) Usable() bool { return q.Status() != Bad }

// WithOrigin returns q with another origin.
func (q Quality) WithOrigin(o Origin) Quality { return q&^(7<<2) | Quality(o)<<2 }

// String is "good", "bad:comm", "uncertain:over-range", with "@origin" unless real.
func (q Quality) String() string {
	var b strings.Builder
	b.WriteString(q.Status().String())
	if q.Reason() != NoReason {
		b.WriteString(":" + q.Reason().String())
	}
	if q.Origin() != Real {
		b.WriteString("@" + q.Origin().String())
	}
	return b.String()
}
