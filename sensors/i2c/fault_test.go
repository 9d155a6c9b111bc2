package i2c

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"golang.org/x/sys/unix"
)

// eachPoll plays every case up to every poll, and hands the player and the poll to do.
func eachPoll(t *testing.T, p *profile.Profile, do func(t *testing.T, pl *player, i int)) {
	t.Helper()
	for _, c := range casesOf(t, p.Name) {
		for i := range c.polls {
			t.Run(fmt.Sprintf("%s poll %d", c.where, i+1), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					pl := newPlayer(t, p, c)
					for k := range i {
						_, _ = pl.play(t, k)
					}
					do(t, pl, i)
				})
			})
		}
	}
}

// honest fails when a poll gave a usable value that the undisturbed poll does not give.
func honest(t *testing.T, pl *player, i int, got map[string]string, what string) {
	t.Helper()
	for ch, v := range got {
		if v != pl.c.polls[i].wants[ch] && !strings.HasPrefix(v, "bad") {
			t.Errorf("%s: %s: %s is %q, undisturbed %q", pl.bus.where, what, ch, v, pl.c.polls[i].wants[ch])
		}
	}
}

// Whichever transfer is not acknowledged, the poll fails, says so, and invents nothing. (The second try
// of a battery that was asleep is in its own cases.)
func TestChipNotAcknowledged(t *testing.T) {
	for _, p := range chipProfiles(t) {
		eachPoll(t, p, func(t *testing.T, pl *player, i int) {
			for k := range pl.c.polls[i].steps {
				if pl.c.polls[i].steps[k].nack {
					continue
				}
				again := newPlayer(t, p, pl.c)
				for j := range i {
					_, _ = again.play(t, j)
				}
				again.bus.spoil = func(n int, _ []byte) error {
					if n != k {
						return nil
					}
					again.bus.spoilt = true
					return unix.EREMOTEIO
				}
				got, err := again.play(t, i)
				if !errors.Is(err, unix.EREMOTEIO) && !errors.Is(err, unix.ENXIO) {
					t.Errorf("%s: transfer %d fails: %v", again.bus.where, k+1, err)
				}
				if again.bus.strays > 1 {
					t.Errorf("%s: transfer %d fails, and %d more follow", again.bus.where, k+1, again.bus.strays)
				}
				honest(t, again, i, got, "no acknowledge")
			}
		})
	}
}

// checked: the chips whose every answer carries a check code: there no flipped bit becomes a value.
func checked(chip string) bool {
	return slices.Contains([]string{"hdc302x", "mlx90614", "sbs", "scd4x", "sgp40", "sgp41", "sht3x", "sht4x", "sps30"}, chip)
}

func TestChipFlippedBit(t *testing.T) {
	for _, p := range chipProfiles(t) {
		if !checked(p.Chip) {
			continue
		}
		eachPoll(t, p, func(t *testing.T, pl *player, i int) {
			if pl.c.polls[i].fails != "" {
				return // a flipped bit may mend it
			}
			for k, s := range pl.c.polls[i].steps {
				for bit := range 8 * len(s.read) {
					again := newPlayer(t, p, pl.c)
					for j := range i {
						_, _ = again.play(t, j)
					}
					again.bus.spoil = func(n int, r []byte) error {
						if n == k {
							r[bit/8] ^= 0x80 >> (bit % 8)
							again.bus.spoilt = true
						}
						return nil
					}
					got, err := again.play(t, i)
					if err == nil {
						t.Errorf("%s: bit %d of answer %d is flipped, and nobody is told", again.bus.where, bit, k+1)
					}
					honest(t, again, i, got, "flipped bit")
				}
			}
		})
	}
}

// stuck is a bus on which each read gives the same byte.
type stuck struct {
	wireBus
	level byte
}

func (b *stuck) Tx(_ uint16, _, r []byte) error {
	for i := range r {
		r[i] = b.level
	}
	return nil
}

func stuckLine(t *testing.T, p *profile.Profile, level byte) {
	t.Helper()
	points := p.Expand(sensors.Device{Name: "dev"}, time.Hour)
	b := &stuck{level: level}
	poller, err := NewPoller(p.Chip, b, 0x48, points)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := range checkEvery + 1 {
		out, err := poller.Poll(t.Context(), func() sensors.Mono { return sensors.Mono(i) * sensors.Mono(time.Second) }, nil)
		if err != nil {
			failed++
		}
		for _, r := range out {
			if r.Quality.Usable() {
				t.Fatalf("%s: bus stuck at %#02x: %s is %v", p.Name, level, points[r.Point].Name, show(r))
			}
		}
	}
	if failed == 0 {
		t.Errorf("%s: bus stuck at %#02x, and no poll fails", p.Name, level)
	}
}

// A line that is stuck has no value, at start and after the chip was known.
func TestChipStuckLine(t *testing.T) {
	for _, p := range chipProfiles(t) {
		if p.Chip == "pcf8574" {
			continue // has nothing to tell it by; pairs are bad then, which their cases show
		}
		for _, level := range []byte{0x00, 0xff} {
			t.Run(fmt.Sprintf("%s stuck at %#02x", p.Name, level), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { stuckLine(t, p, level) })
			})
		}
		eachPoll(t, p, func(t *testing.T, pl *player, i int) {
			for _, level := range []byte{0x00, 0xff} {
				again := newPlayer(t, p, pl.c)
				for j := range i {
					_, _ = again.play(t, j)
				}
				again.bus.spoilt = true
				again.bus.spoil = func(_ int, r []byte) error {
					for k := range r {
						r[k] = level
					}
					return nil
				}
				got, _ := again.play(t, i)
				honest(t, again, i, got, "stuck")
			}
		})
	}
}

// A context that ends stops the poll before its next transfer.
func TestChipContext(t *testing.T) {
	for _, p := range chipProfiles(t) {
		eachPoll(t, p, func(t *testing.T, pl *player, i int) {
			for k := -1; k < len(pl.c.polls[i].steps)-1; k++ {
				again := newPlayer(t, p, pl.c)
				for j := range i {
					_, _ = again.play(t, j)
				}
				ctx, cancel := context.WithCancel(t.Context())
				if k < 0 {
					cancel()
				}
				again.bus.steps, again.bus.at = pl.c.polls[i].steps, 0
				again.bus.after = func(n int) {
					if n == k {
						cancel()
					}
				}
				again.start, again.zero = pl.c.polls[i].at, time.Now()
				_, err := again.poller.Poll(ctx, again.now, nil)
				cancel()
				if again.bus.at != k+1 {
					t.Errorf("%s, poll %d: the context ended after transfer %d, and %d were made", pl.c.where, i+1, k+1, again.bus.at)
				}
				if nack := k >= 0 && pl.c.polls[i].steps[k].nack; !nack && !errors.Is(err, context.Canceled) {
					t.Errorf("%s, poll %d: ended after transfer %d: %v", pl.c.where, i+1, k+1, err)
				}
			}
		})
	}
}
