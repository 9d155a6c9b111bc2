package i2c

import (
	"testing"
	"testing/synctest"
	"time"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"

	"golang.org/x/sys/unix"
)

// Vectors of the datasheets (SHT3x, SGP40, HDC302x), what a stuck line would have to have, and the word of
// Melexis' application note.
func TestCheckCodes(t *testing.T) {
	for word, want := range map[[2]byte]byte{
		{0xbe, 0xef}: 0x92, {0x80, 0x00}: 0xa2, {0x66, 0x66}: 0x93, {0xab, 0xab}: 0x72, {0x00, 0x00}: 0x81, {0xff, 0xff}: 0xac,
	} {
		if got := sensirionCheck(word[:]); got != want {
			t.Errorf("% x has %#02x, want %#02x", word, got, want)
		}
	}
	if got := crc8(0x07, 0, 0xb4, 0x07, 0xb5, 0xd2, 0x3a); got != 0x30 {
		t.Errorf("packet error code %#02x, want 0x30", got)
	}
}

// A reading that the poll before has started carries the time of that poll: it is never stamped anew.
func TestDelayedReadingIsAsOldAsItIs(t *testing.T) {
	p, err := profile.Load(configs.Profiles(), "sgp40")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		pl := newPlayer(t, p, casesOf(t, "sgp40")[0])
		for i := range 6 {
			pl.bus.steps, pl.bus.at = pl.c.polls[i].steps, 0
			pl.start, pl.zero = pl.c.polls[i].at, time.Now()
			out, err := pl.poller.Poll(t.Context(), pl.now, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range out {
				if want := sensors.Mono(pl.c.polls[i-min(i, 1)].at); r.Quality.Usable() && r.At != want {
					t.Errorf("poll %d: the value of %v is said to be of %v", i+1, want, r.At)
				} else if r.Quality.Usable() != (i == 5) {
					t.Errorf("poll %d: %v", i+1, show(r))
				}
			}
		}
	})
}

// Who tells a serial number tells it once it is known, and after a fault not before it was read again: another chip may
// answer then (S23).
func TestSerialNumbers(t *testing.T) {
	for chip, want := range map[string]string{"sht4x": "beef1234", "scd4x": "12345678beef", "sps30": "6A1B2C3D4E5F6071", "mlx90640": "0d22d1850189", "tmp117": ""} {
		p, err := profile.Load(configs.Profiles(), chip)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Test(t, func(t *testing.T) {
			pl := newPlayer(t, p, casesOf(t, chip)[0])
			if got := pl.poller.Serial(); got != "" {
				t.Errorf("%s: %q before the first poll", chip, got)
			}
			if _, err := pl.play(t, 0); err != nil {
				t.Fatal(err)
			}
			if got := pl.poller.Serial(); got != want {
				t.Errorf("%s: %q, want %q", chip, got, want)
			}
			pl.bus.spoilt = true
			pl.bus.spoil = func(int, []byte) error { return unix.EREMOTEIO }
			if _, err := pl.play(t, 1); err == nil {
				t.Errorf("%s: a fault is none", chip)
			}
			if got := pl.poller.Serial(); got != "" {
				t.Errorf("%s: %q after a fault", chip, got)
			}
		})
	}
}
