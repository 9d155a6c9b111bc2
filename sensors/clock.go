package sensors

import (
	"math"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Mono is a monotonic instant in nanoseconds: CLOCK_BOOTTIME, which counts suspension too. Within
// one boot the values of an earlier process and of this one are comparable (S8).
type Mono int64

// Add and Sub are the arithmetic of time.Time on Mono.
func (m Mono) Add(d time.Duration) Mono   { return m + Mono(d) }
func (m Mono) Sub(o Mono) time.Duration   { return time.Duration(m - o) }
func (m Mono) Since(o Mono) time.Duration { return time.Duration(m - o) }

// Clock tells Mono. It reads CLOCK_BOOTTIME once and counts on with the runtime's monotonic
// clock, so that testing/synctest fakes it; a suspension within its life is not counted, but by the next clock. A scaled clock runs faster than the world: polls,
// delays, countdowns and caps scale with it; transport time-outs, hook processes and the journal
// stay real.
type Clock struct {
	base   Mono
	start  time.Time
	factor float64
}

// NewClock returns the real clock.
func NewClock() *Clock { return &Clock{base: bootTime(), start: time.Now(), factor: 1} }

// NewScaledClock returns a clock that stands at base now and runs factor times as fast as the
// world. A factor that is not positive is taken as 1.
func NewScaledClock(base Mono, factor float64) *Clock {
	if !(factor > 0) {
		factor = 1
	}
	return &Clock{base: base, start: time.Now(), factor: factor}
}

// Now returns the present instant.
func (c *Clock) Now() Mono {
	d := time.Since(c.start)
	if c.factor != 1 {
		d = time.Duration(float64(d) * c.factor)
	}
	return c.base + Mono(d)
}

// Begun is the instant at which the clock was made: what shares the clock shares it.
func (c *Clock) Begun() Mono { return c.base }

// behindRaster is how long after the polls that lie on the raster all else that lies there is due.
const behindRaster = 200 * time.Microsecond

// Next is the real time to the next whole multiple of every since the clock was made. Polls lie on these instants, so
// that what is periodic beside them costs no wake of its own; it goes after them.
func (c *Clock) Next(every time.Duration) time.Duration {
	return every - (time.Since(c.start)-behindRaster+every)%every
}

// Factor returns how many times faster than the world the clock runs.
func (c *Clock) Factor() float64 { return c.factor }

// Real converts a duration of this clock to one of the world, for a timer.
func (c *Clock) Real(d time.Duration) time.Duration {
	if c.factor == 1 {
		return d
	}
	return time.Duration(float64(d) / c.factor)
}

// Until returns the real time from now to m, rounded up, so that a timer set to it does not fire
// before m; it is negative when m has passed.
func (c *Clock) Until(m Mono) time.Duration {
	d := m.Sub(c.Now())
	if d > 0 && c.factor != 1 {
		return time.Duration(math.Ceil(float64(d)/c.factor)) + 1
	}
	return d
}

const clockBoottime = 7 // linux/time.h

func bootTime() Mono {
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return Mono(time.Now().UnixNano()) // no such clock: durations still hold, "same boot" does not
	}
	return Mono(ts.Nano())
}

// BootID returns the kernel's identifier of this boot; empty when it is not known, which counts
// as another boot.
func BootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
