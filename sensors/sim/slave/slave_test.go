package slave

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func bank() *Bank {
	b := NewBank()
	b.Set(Holdings, 0x006B, 0x022B, 0x0000, 0x0064)
	b.Set(Inputs, 8, 0x000A)
	b.Set(Coils, 19, 1, 0, 1, 1, 0, 0, 1, 1, 1)
	b.Set(Discretes, 0, 1, 0, 1)
	b.Define(Holdings, 10, 2)
	b.Say(0, []byte("FB"))
	b.Say(2, []byte("V1"))
	b.Say(0x87, []byte{0, 0, 0, 1})
	b.Say(0x88, bytes.Repeat([]byte{'x'}, 300)) // cut to what one reply holds
	return b
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dial connects to a fresh server of units 1 and 7.
func dial(t *testing.T) (*TCP, net.Conn) {
	t.Helper()
	other := NewBank()
	other.Set(Holdings, 0, 0x0707)
	s, err := ListenTCP("127.0.0.1:0", map[byte]*Bank{1: bank(), 7: other})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return s, c
}

// patience bounds every wait for an answer.
const patience = 20 * time.Second

// ask sends a request and returns what comes, at most want bytes.
func ask(t *testing.T, c net.Conn, request string, want int) ([]byte, error) {
	t.Helper()
	if _, err := c.Write(unhex(t, request)); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, want)
	n, err := io.ReadFull(c, got)
	return got[:n], err
}

// Requests and answers typed from the Modbus specification V1.1b3 (its examples where it has one).
var exchanges = []struct{ name, request, answer string }{
	{"read holding", "0001 0000 0006 01 03 006B 0003", "0001 0000 0009 01 03 06 022B 0000 0064"},
	{"read input", "1502 0000 0006 01 04 0008 0001", "1502 0000 0005 01 04 02 000A"},
	{"read coils", "0003 0000 0006 01 01 0013 0009", "0003 0000 0005 01 01 02 CD 01"},
	{"read discretes", "0004 0000 0006 01 02 0000 0003", "0004 0000 0004 01 02 01 05"},
	{"defined, never set", "0005 0000 0006 01 03 000A 0002", "0005 0000 0007 01 03 04 0000 0000"},
	{"other unit", "0006 0000 0006 07 03 0000 0001", "0006 0000 0005 07 03 02 0707"},
	{"hole", "0007 0000 0006 01 03 006B 0004", "0007 0000 0003 01 83 02"},
	{"past the end", "0008 0000 0006 01 03 FFFF 0002", "0008 0000 0003 01 83 02"},
	{"no registers", "0009 0000 0006 01 03 0000 0000", "0009 0000 0003 01 83 03"},
	{"126 registers", "000A 0000 0006 01 04 0000 007E", "000A 0000 0003 01 84 03"},
	{"2001 bits", "000B 0000 0006 01 01 0000 07D1", "000B 0000 0003 01 81 03"},
	{"write refused", "000C 0000 0006 01 06 006B 0001", "000C 0000 0003 01 86 01"},
	{"write many refused", "000D 0000 0009 01 10 006B 0001 02 0001", "000D 0000 0003 01 90 01"},
	{"basic identification", "000F 0000 0005 01 2B 0E 01 00", "000F 0000 0010 01 2B 0E 01 03 00 00 02 00 02 4642 02 02 5631"},
	{"more follows", "0010 0000 0005 01 2B 0E 03 87", "0010 0000 000E 01 2B 0E 03 03 FF 88 01 87 04 0000 0001"},
	{"the last", "0011 0000 0005 01 2B 0E 03 88", "0011 0000 00FE 01 2B 0E 03 03 00 00 01 88 F4" + strings.Repeat("78", 244)},
	{"no such object", "0012 0000 0005 01 2B 0E 01 01", "0012 0000 0010 01 2B 0E 01 03 00 00 02 00 02 4642 02 02 5631"},
	{"no such read code", "0013 0000 0005 01 2B 0E 05 00", "0013 0000 0003 01 AB 03"},
	{"another MEI type", "0014 0000 0005 01 2B 0D 01 00", "0014 0000 0003 01 AB 01"},
	{"no identification", "0015 0000 0005 07 2B 0E 01 00", "0015 0000 0003 07 AB 01"},
	{"no such unit", "000E 0000 0006 02 03 0000 0001", "000E 0000 0003 02 83 0B"},
}

func TestTCPAnswers(t *testing.T) {
	s, c := dial(t)
	for _, x := range exchanges {
		want := unhex(t, x.answer)
		if got, err := ask(t, c, x.request, len(want)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x (%v), want %x", x.name, got, err, want)
		}
	}
	if s.Requests() != uint64(len(exchanges)) {
		t.Errorf("%d requests counted, %d sent", s.Requests(), len(exchanges))
	}
}

func TestTCPFaults(t *testing.T) {
	const request = "0001 0000 0006 01 03 006B 0003"
	for _, x := range []struct {
		name   string
		fault  Fault
		answer string
	}{
		{"exception", Fault{Exception: DeviceFailure}, "0001 0000 0003 01 83 04"},
		{"wrong unit", Fault{Unit: 9}, "0001 0000 0009 09 03 06 022B 0000 0064"},
		{"wrong transaction", Fault{TxShift: 1}, "0002 0000 0009 01 03 06 022B 0000 0064"},
		{"short", Fault{Short: 1}, "0001 0000 0007 01 03 04 022B 0000"},
		{"late", Fault{Delay: 30 * time.Millisecond}, "0001 0000 0009 01 03 06 022B 0000 0064"},
	} {
		s, c := dial(t)
		s.SetFault(func(r Request) Fault {
			if r != (Request{Unit: 1, Function: 3, Start: 0x6B, Count: 3}) {
				t.Errorf("the hook saw %+v", r)
			}
			return x.fault
		})
		began := time.Now()
		want := unhex(t, x.answer)
		if got, err := ask(t, c, request, len(want)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x (%v), want %x", x.name, got, err, want)
		}
		if took := time.Since(began); took < x.fault.Delay {
			t.Errorf("%s: answered after %v", x.name, took)
		}
	}
}

func TestTCPDropAndTruncate(t *testing.T) {
	const request = "0001 0000 0006 01 03 006B 0003"
	s, c := dial(t)
	s.SetFault(func(Request) Fault { return Fault{Drop: true} })
	if got, err := ask(t, c, request, 1); !errors.Is(err, io.EOF) {
		t.Errorf("dropped: got %x, %v", got, err)
	}
	s, c = dial(t)
	s.SetFault(func(r Request) Fault {
		if r.N == 0 {
			return Fault{Truncate: 5}
		}
		return Fault{}
	})
	// The five bytes of the first answer, then the whole second one.
	if _, err := c.Write(unhex(t, request)); err != nil {
		t.Fatal(err)
	}
	want := unhex(t, "0001 0000 00"+"0006 0000 0005 01 03 02 022B")
	if got, err := ask(t, c, "0006 0000 0006 01 03 006B 0001", len(want)); err != nil || !bytes.Equal(got, want) {
		t.Errorf("truncated: got %x (%v), want %x", got, err, want)
	}
}

// A hung connection stays hung; a new one is served.
func TestTCPHangAndClose(t *testing.T) {
	s, c := dial(t)
	hung := make(chan struct{}, 8)
	s.SetFault(func(r Request) Fault {
		if r.Unit != 1 {
			return Fault{}
		}
		hung <- struct{}{}
		return Fault{Hang: r.N == 0}
	})
	for range 2 {
		if _, err := c.Write(unhex(t, "0001 0000 0006 01 03 006B 0003")); err != nil {
			t.Fatal(err)
		}
		<-hung
	}
	fresh, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if got, err := ask(t, fresh, "0006 0000 0006 07 03 0000 0001", 11); err != nil {
		t.Errorf("a fresh connection: %x, %v", got, err)
	}
	c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("hung connection gave %d bytes, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// The reading hook runs first, without the lock, so that it may write what is then read.
func TestOnRead(t *testing.T) {
	b := bank()
	b.OnRead(func() { b.Set(Inputs, 8, 0xBEEF) })
	if got := answer(b, Request{Unit: 1, Function: 4, Start: 8, Count: 1}, []byte{4, 0, 8, 0, 1}, Fault{}); !bytes.Equal(got, []byte{4, 2, 0xBE, 0xEF}) {
		t.Errorf("got %x", got)
	}
}

// Frames and checksums of the device notes, computed elsewhere.
func TestCRC16(t *testing.T) {
	for frame, want := range map[string]string{
		"01 03 00 00 00 01": "84 0A", "01 04 00 01 00 02": "20 0B", "01 05 00 00 FF 00": "8C 3A",
		"01 02 00 00 00 08": "79 CC", "01 2B 0E 03 87": "31 75", "01 03 00 02 00 01": "25 CA",
	} {
		crc := CRC16(unhex(t, frame))
		if got := []byte{byte(crc), byte(crc >> 8)}; !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%s: % X, want %s", frame, got, want)
		}
	}
}

// rtu runs f against a server on an in-memory line, under a fake clock.
func rtu(t *testing.T, f func(s *RTU, line net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		b := NewBank()
		b.Set(Discretes, 0, 1, 0, 1, 1, 0, 0, 0, 0)
		b.Set(Holdings, 0, 0x1234)
		s := ServeRTU(far, map[byte]*Bank{1: b})
		f(s, near)
		near.Close()
		s.Close()
	})
}

func expect(t *testing.T, line net.Conn, what, want string) {
	t.Helper()
	b := unhex(t, want)
	got := make([]byte, max(1, len(b)))
	line.SetReadDeadline(time.Now().Add(time.Second))
	n, err := io.ReadFull(line, got)
	if len(b) == 0 && errors.Is(err, os.ErrDeadlineExceeded) && n == 0 {
		return
	}
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("%s: got %x (%v), want %x", what, got[:n], err, b)
	}
}

func TestRTU(t *testing.T) {
	const discretes, holding = "01 02 00 00 00 08 79 CC", "01 03 00 00 00 01 84 0A"
	rtu(t, func(s *RTU, line net.Conn) {
		send := func(b string) {
			if _, err := line.Write(unhex(t, b)); err != nil {
				t.Fatal(err)
			}
		}
		send(discretes)
		expect(t, line, "discretes", "01 02 01 0D 60 4D")
		send(holding[:11]) // in two pieces within one frame
		send(holding[11:])
		expect(t, line, "split request", "01 03 02 12 34 B5 33")
		send("FF 00" + holding) // noise just before
		expect(t, line, "after noise", "01 03 02 12 34 B5 33")
		send(holding[:11])        // half a request, then silence
		<-time.After(time.Second) // of the fake clock
		send(holding)
		expect(t, line, "after a torn request", "01 03 02 12 34 B5 33")
		send("01 03 00 00 00 01 84 0B") // wrong checksum
		expect(t, line, "wrong checksum", "")
		send("02 03 00 00 00 01 84 39") // another unit's
		expect(t, line, "another unit", "")
		s.SetFault(func(r Request) Fault { return Fault{BadCRC: true} })
		send(holding)
		expect(t, line, "injected checksum", "01 03 02 12 34 4A CC")
		s.SetFault(func(r Request) Fault { return Fault{Unit: 5} })
		send(holding)
		expect(t, line, "injected unit", "05 03 02 12 34 44 F3")
		s.SetFault(func(r Request) Fault { return Fault{Truncate: 3} })
		send(holding)
		expect(t, line, "truncated", "01 03 02")
		s.SetFault(func(r Request) Fault { return Fault{Silent: true} })
		send(holding)
		expect(t, line, "silent", "")
		s.SetFault(nil)
		send("01 2B 0E 03 87 31 75")
		expect(t, line, "no identification", "01 AB 01 9E F0")
		send("01 03 00 00 00 02 C4 0B")
		expect(t, line, "hole", "01 83 02 C0 F1")
	})
}
