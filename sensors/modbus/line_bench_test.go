package modbus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"

	"github.com/goburrow/modbus"
)

const lineBaud = 9600

// pacedLine is a device on a line of 9600 baud that paces bytes: what is written to it has arrived when
// its bits have passed, one direction at a time, and its reply the same. It answers at once.
func pacedLine(b *testing.B) (path string) {
	m, path := openPTY(b)
	char := wireTime(lineBaud, 1)
	serveLine(b, m, readFixed, func(_ int, c io.ReadWriteCloser, req []byte) {
		reply := goodRTU(req)
		until := time.Now().Add(time.Duration(len(req)+len(reply)) * char)
		<-time.After(time.Until(until) - time.Millisecond/2)
		for time.Now().Before(until) { // the timer of the kernel is coarser than a bit
		}
		c.Write(reply)
	})
	return path
}

// jkLike reads as a JK battery management system does: 32 cells, their resistances, temperatures, alarms
// and counters in dense blocks, with 50 ms between frames.
func jkLike(b *testing.B) *profile.Profile {
	var s strings.Builder
	s.WriteString("name = \"jk-like\"\ntitle = \"x\"\nbus = \"modbus\"\nsource = \"test\"\n[read]\nframe_gap = \"50ms\"\nmax_words = 60\ntimeout = \"500ms\"\n")
	for _, c := range []struct {
		name           string
		address, count int
	}{{"cell.*.voltage", 100, 32}, {"wire.*.resistance", 140, 32}, {"temperature.*", 180, 5}, {"counter.*", 190, 20}} {
		fmt.Fprintf(&s, "[[channel]]\nname = %q\nfunction = \"holding\"\naddress = %d\ncount = %d\n", c.name, c.address, c.count)
	}
	p, err := profile.Parse("jk-like.toml", []byte(s.String()))
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkLine9600 is a full round of a profile on a paced line: efficiency is the time on the wire and
// the silence that the profile or t3.5 demands, over the time that it takes. Beside it goburrow's own
// transport, one request for each point, for the same points.
func BenchmarkLine9600(b *testing.B) {
	apc, err := profile.Load(configs.Profiles(), "apc-smart-ups")
	if err != nil {
		b.Fatal(err)
	}
	apc.Identity = nil // asked for every hundredth time
	for _, p := range []*profile.Profile{apc, jkLike(b)} {
		gap := max(wireTime(lineBaud, 7)/2, p.Read.FrameGap)
		need := time.Duration(0)
		for _, s := range p.Plan() {
			need += wireTime(lineBaud, 8+5+2*int(s.Count)) + gap
		}
		b.Run(p.Name, func(b *testing.B) {
			l, err := NewSerial(SerialOptions{Path: pacedLine(b), Baud: lineBaud})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			d, _ := poller(b, l, p)
			clock := sensors.NewClock()
			if _, err := d.Poll(context.Background(), clock.Now, nil); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for range b.N {
				if _, err := d.Poll(context.Background(), clock.Now, nil); err != nil {
					b.Fatal(err)
				}
			}
			round := b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(float64(need)/float64(round), "efficiency")
			b.ReportMetric(round.Seconds(), "s/round")
			b.ReportMetric(0, "ns/op")
			if e := float64(need) / float64(round); e < 0.95 {
				b.Errorf("efficiency %.3f, want 0.95: the line stands idle for %v of a round of %v", e, round-need, round)
			}
		})
		b.Run(p.Name+"/goburrow", func(b *testing.B) { goburrowRound(b, p) })
	}
}

// goburrowRound is what somebody would write with the library alone.
func goburrowRound(b *testing.B, p *profile.Profile) {
	h := modbus.NewRTUClientHandler(pacedLine(b))
	h.BaudRate, h.DataBits, h.Parity, h.StopBits, h.SlaveId, h.Timeout = lineBaud, 8, "N", 1, 1, 2*time.Second
	if err := h.Connect(); err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	c := modbus.NewClient(h)
	failed := 0
	for range b.N {
		for i := range p.Channels {
			s := p.Channels[i].Span()
			if _, err := c.ReadHoldingRegisters(s.First, s.Count); err != nil {
				failed++
			}
		}
	}
	b.ReportMetric((b.Elapsed() / time.Duration(b.N)).Seconds(), "s/round")
	b.ReportMetric(0, "ns/op")
	if failed > 0 {
		b.Log(errors.New("reads failed"), failed)
	}
}

// BenchmarkReadsUnpaced is 100 registers at a time from a pseudo terminal that paces nothing, at 230400 baud with
// the silence that this speed demands: 3.5 characters are 167 us.
func BenchmarkReadsUnpaced(b *testing.B) {
	answer := func(_ int, c io.ReadWriteCloser, req []byte) { c.Write(goodRTU(req)) }
	b.Run("firebreak", func(b *testing.B) {
		l, err := NewSerial(SerialOptions{Path: rtuServer(b, answer), Baud: 230400, Gap: time.Microsecond})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		readsPerSecond(b, func() error { _, err := l.Read(context.Background(), holding(100, 100)); return err })
	})
	b.Run("goburrow", func(b *testing.B) {
		h := modbus.NewRTUClientHandler(rtuServer(b, answer))
		h.BaudRate, h.DataBits, h.Parity, h.StopBits, h.SlaveId, h.Timeout = 230400, 8, "N", 1, 17, 2*time.Second
		defer h.Close()
		c := modbus.NewClient(h)
		readsPerSecond(b, func() error { _, err := c.ReadHoldingRegisters(100, 100); return err })
	})
}

func readsPerSecond(b *testing.B, do func() error) {
	for range b.N {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkReads9600 is 100 registers at a time on the paced line, as fast as it goes.
func BenchmarkReads9600(b *testing.B) {
	b.Run("firebreak", func(b *testing.B) {
		l, err := NewSerial(SerialOptions{Path: pacedLine(b), Baud: lineBaud})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		readsPerSecond(b, func() error { _, err := l.Read(context.Background(), holding(100, 100)); return err })
	})
	b.Run("goburrow", func(b *testing.B) {
		h := modbus.NewRTUClientHandler(pacedLine(b))
		h.BaudRate, h.DataBits, h.Parity, h.StopBits, h.SlaveId, h.Timeout = lineBaud, 8, "N", 1, 17, 2*time.Second
		defer h.Close()
		c := modbus.NewClient(h)
		readsPerSecond(b, func() error { _, err := c.ReadHoldingRegisters(100, 100); return err })
	})
}
