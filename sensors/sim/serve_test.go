package sim

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

func serve(t *testing.T, scenario string, speed float64) *Served {
	t.Helper()
	sc, err := Find(scenario)
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(sc, sensors.NewScaledClock(0, speed), profiles)
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Serve(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// exchange sends typed bytes to an endpoint and wants typed bytes back; "..": any byte.
func exchange(t *testing.T, rw io.ReadWriter, what, request, answer string) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(request, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rw.Write(b); err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(answer)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(rw, got); err != nil {
		t.Fatalf("%s: got % X, then %v; want %s", what, got[:n], err, answer)
	}
	for i, g := range got {
		if h := hex.EncodeToString([]byte{g}); want[i] != ".." && !strings.EqualFold(h, want[i]) {
			t.Errorf("%s: byte %d is %s, want %s: % X", what, i, h, want[i], got)
		}
	}
}

// The devices answer where their makers say, over real sockets and a real line.
func TestServed(t *testing.T) {
	s := serve(t, "quiet", 1)
	conn := map[string]net.Conn{}
	for _, e := range s.Endpoints() {
		switch e.Kind {
		case KindTCP:
			c := conn[e.Bus]
			if c == nil {
				var err error
				if c, err = net.Dial("tcp", e.Address); err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(5 * time.Second))
				conn[e.Bus] = c
			}
		case KindRTU:
			line, err := os.OpenFile(e.Address, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer line.Close()
			line.SetDeadline(time.Now().Add(5 * time.Second))
			exchange(t, line, "Calectro: head mounted, no smoke", "01 02 00 00 00 08 79 CC", "01 82 02 C1 61") // only four inputs
			exchange(t, line, "Calectro: head mounted, no smoke", "01 02 00 00 00 04 79 C9", "01 02 01 01 60 48")
		case KindI2C:
			var b [2]byte
			if err := s.I2C().Tx(e.Chip, []byte{0x0F}, b[:]); err != nil || !bytes.Equal(b[:], []byte{0x01, 0x17}) {
				t.Errorf("%s: identity %x, %v", e.Device, b, err)
			}
		}
	}
	exchange(t, conn["power"], "UPS status", "0001 0000 0006 01 03 0000 0002", "00 01 00 00 00 07 01 03 04 00 00 00 02")
	exchange(t, conn["power"], "UPS battery temperature, 25 C / 128", "0002 0000 0006 01 03 0087 0001", "00 02 00 00 00 05 01 03 02 0C ..")
	exchange(t, conn["power"], "UPS self-test", "0003 0000 0006 01 03 0806 0004", "00 03 00 00 00 0B 01 03 08 12 34 56 78 FF FF FF FB")
	exchange(t, conn["power"], "BMS alarms", "0004 0000 0006 02 03 2140 0003", "00 04 00 00 00 09 02 03 06 00 00 00 00 00 00")
	exchange(t, conn["power"], "BMS hole", "0005 0000 0006 02 03 2115 0001", "00 05 00 00 00 03 02 83 02")
	exchange(t, conn["smoke"], "FAAST mode and level", "0006 0000 0006 01 03 0006 0007", "00 06 00 00 00 11 01 03 0E 00 03 00 00 00 00 00 00 00 00 0B B8 00 00")
	exchange(t, conn["smoke"], "FAAST fire 1 threshold, 0.825 as a float", "0007 0000 0006 01 03 0050 0002", "00 07 00 00 00 07 01 03 04 3F 53 33 33")
	exchange(t, conn["load"], "sessions", "0008 0000 0006 01 03 0000 0001", "00 08 00 00 00 05 01 03 02 04 B0")
}

// A fast clock moves the served world, and a read never shows an older state than its instant.
func TestServedAdvances(t *testing.T) {
	s := serve(t, "pangyo-2022", 3000) // T+0 after 0.1 s, T+120 s after 0.14 s
	c, err := net.Dial("tcp", s.Smoke.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	level := func() byte {
		if _, err := c.Write([]byte{0, 1, 0, 0, 0, 6, 1, 3, 0, 12, 0, 1}); err != nil {
			t.Fatal(err)
		}
		var b [11]byte
		if _, err := io.ReadFull(c, b[:]); err != nil {
			t.Fatal(err)
		}
		return b[10]
	}
	for {
		before := s.clock.Now()
		l := level()
		if l == 0 && before.Sub(s.SparkAt()) > 90*time.Second {
			t.Fatalf("asked at T+%v and saw no smoke", before.Sub(s.SparkAt()))
		}
		if l != 0 {
			if seen := s.clock.Now().Sub(s.SparkAt()); seen < 60*time.Second {
				t.Errorf("smoke at T+%v", seen)
			}
			return
		}
	}
}

func TestServeNeedsClock(t *testing.T) {
	if _, err := still(t, "quiet").Serve(context.Background()); err == nil {
		t.Error("served a world without a clock")
	}
}

// Run polls by the scaled clock and ends with its context.
func TestSourceRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := New(Scenario{Name: "q", NoSpark: true}, sensors.NewScaledClock(0, 60), profiles)
		if err != nil {
			t.Fatal(err)
		}
		p, err := profile.Load(profiles, "tmp117")
		if err != nil {
			t.Fatal(err)
		}
		dev := sensors.Device{Name: Tmp1Name, Poll: time.Second}
		src, err := w.Source(SourceDevice{Device: dev, Is: Tmp1Name, Profile: p, Points: p.Expand(dev, time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(src.Points()); n != 1 {
			t.Errorf("%d points", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // of the fake world: 60 simulated s
		defer cancel()
		var n, ready int
		if err := src.Run(ctx, func(b sensors.Batch) {
			n++
			if b.Seq != uint64(n) {
				t.Errorf("batch %d has sequence %d", n, b.Seq)
			}
			if b.Readings[0].Quality.Usable() {
				ready++
			}
		}); err != nil {
			t.Error(err)
		}
		if n < 59 || n > 61 || ready != n-1 { // the chip is not ready at the first
			t.Errorf("%d polls, %d of them ready, in 60 simulated seconds", n, ready)
		}
	})
}
