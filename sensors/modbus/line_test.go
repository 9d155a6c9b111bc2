package modbus

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A known exchange, typed from the specification's layout (Modbus over Serial Line V1.02, 2.5.2.1).
func TestASCIIFrame(t *testing.T) {
	sent := make(chan string, 1)
	m, path := openPTY(t)
	serveLine(t, m, readLine, func(n int, c io.ReadWriteCloser, req []byte) {
		sent <- string(req)
		io.WriteString(c, ":1103060001000200")
		io.WriteString(c, "03E0\r\n")
	})
	l := newLine(t, SerialOptions{Path: path, ASCII: true})
	data, err := l.Read(context.Background(), holding(0x6B, 3))
	if err != nil || string(data) != "\x00\x01\x00\x02\x00\x03" {
		t.Errorf("data % x, %v", data, err)
	}
	if want := ":1103006B00037E\r\n"; <-sent != want {
		t.Errorf("sent another frame than %q", want)
	}
}

// A pseudo terminal takes any settings and has none: what is asked for is looked at.
func TestLineSettings(t *testing.T) {
	const base = unix.CREAD | unix.CLOCAL
	for _, c := range []struct {
		o           SerialOptions
		mode, input uint32
	}{
		{SerialOptions{Baud: 9600, Path: "x"}, base | unix.CS8 | unix.B9600, 0},
		{SerialOptions{Baud: 19200, Path: "x", Parity: "even", StopBits: 1}, base | unix.CS8 | unix.B19200 | unix.PARENB, unix.INPCK},
		{SerialOptions{Baud: 1200, Path: "x", Parity: "odd", StopBits: 2}, base | unix.CS8 | unix.B1200 | unix.PARENB | unix.PARODD | unix.CSTOPB, unix.INPCK},
		{SerialOptions{Baud: 9600, Path: "x", ASCII: true, Parity: "even"}, base | unix.CS7 | unix.B9600 | unix.PARENB, unix.INPCK},
		{SerialOptions{Baud: 9600, Path: "x", ASCII: true, DataBits: 8}, base | unix.CS8 | unix.B9600, 0},
	} {
		if err := c.o.complete(); err != nil {
			t.Fatal(err)
		}
		if _, mode, input, err := c.o.flags(); err != nil || mode != c.mode || input != c.input {
			t.Errorf("%+v: c_cflag %#o, c_iflag %#o, %v; want %#o, %#o", c.o, mode, input, err, c.mode, c.input)
		}
	}
}

func TestASCIIBadReplies(t *testing.T) {
	good := variants["ASCII"]
	for name, reply := range map[string]func(g []byte) []byte{
		"LRC":            func(g []byte) []byte { g[len(g)-3] ^= 1; return g },
		"other unit":     func(g []byte) []byte { g[2] ^= 1; return g },
		"data":           func(g []byte) []byte { g[9] ^= 1; return g },
		"no hex":         func(g []byte) []byte { g[9] = 'x'; return g },
		"no colon":       func(g []byte) []byte { return g[1:] },
		"no CR":          func(g []byte) []byte { return append(g[:len(g)-2], '\n') },
		"nothing":        func(g []byte) []byte { return []byte(":\r\n") },
		"endless":        func(g []byte) []byte { return slices.Repeat([]byte(":11"), 300) },
		"one value less": func(g []byte) []byte { return asciiFrame(17, goodPDU([]byte{3, 0, 100, 0, 9})) },
		"two frames":     func(g []byte) []byte { return append(g, g...) },
	} {
		t.Run(name, func(t *testing.T) {
			l := good.serve(t, func(n int, c io.ReadWriteCloser, req []byte) {
				g := goodASCII(req)
				if n == 0 {
					g = reply(g)
				}
				c.Write(g)
			})
			data, err := l.Read(context.Background(), holding(100, 10))
			if err == nil && (name != "two frames" || wrongData(holding(100, 10), data)) || err != nil && !errors.Is(err, ErrGarbled) {
				t.Fatalf("% x, %v", data, err)
			}
			mustRead(t, l, holding(200, 10))
			mustRead(t, l, holding(300, 125)) // 513 characters
		})
	}
}

// What the gateway's line still holds back when its connection is closed comes on the next one: the
// quarantine outlives the connection.
func TestOverTCPLateReplyOnTheNextConnection(t *testing.T) {
	l := variants["RTU over TCP"].serve(t, func(n int, c io.ReadWriteCloser, req []byte) {
		if n > 0 {
			c.Write(goodRTU(req))
		}
	})
	first := holding(100, 10)
	first.Timeout, first.Turnaround = short, 200*time.Millisecond
	least := time.Now().Add(first.Timeout + first.Turnaround)
	mustFail(t, l, first, ErrTimeout)
	if l.port != nil {
		t.Error("the connection was kept")
	}
	until := l.quarantine
	if until.Before(least) {
		t.Errorf("after a time-out the line is quarantined until %v, want %v at least", until, least)
	}
	mustRead(t, l, holding(200, 10))
	if time.Now().Before(until) {
		t.Error("the quarantine was not kept on the new connection")
	}
}

func TestOverTCPConnections(t *testing.T) {
	var closeAfter atomic.Bool
	l := variants["RTU over TCP"].serve(t, func(n int, c io.ReadWriteCloser, req []byte) {
		c.Write(goodRTU(req))
		if closeAfter.Load() {
			c.Close()
		}
	})
	mustRead(t, l, holding(100, 10))
	was := l.port
	mustRead(t, l, holding(110, 10))
	if l.port != was {
		t.Error("a second connection for the second request")
	}
	l.Rest()
	if l.port != nil {
		t.Error("Rest has kept the connection")
	}
	closeAfter.Store(true) // the server lets an idle client go: no request is lost by it
	for i := range uint16(3) {
		mustRead(t, l, holding(200+i, 10))
		for !isHangup(l.port.flushInput()) { // the end of the connection has come through
		}
	}
	l.Close()
	mustFail(t, l, holding(100, 1), ErrClosed)
	gone, err := NewSerial(SerialOptions{Address: "127.0.0.1:1", Baud: 9600})
	if err != nil {
		t.Fatal(err)
	}
	defer gone.Close()
	mustFail(t, gone, holding(1, 1), ErrLinkDown)
}

func TestLineOptions(t *testing.T) {
	for name, o := range map[string]SerialOptions{
		"nothing":            {Baud: 9600},
		"both":               {Baud: 9600, Path: "/dev/ttyS0", Address: "10.0.0.1:4001"},
		"RTU with 7 bits":    {Baud: 9600, Path: "/dev/ttyS0", DataBits: 7},
		"ASCII with 6 bits":  {Baud: 9600, Path: "/dev/ttyS0", DataBits: 6, ASCII: true},
		"RS-485 on a socket": {Baud: 9600, Address: "10.0.0.1:4001", RS485: RS485{Enabled: true}},
	} {
		if _, err := NewSerial(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRS485(t *testing.T) {
	if s := unsafe.Sizeof(serialRS485{}); s != 32 {
		t.Errorf("struct serial_rs485 has %d bytes, the kernel's 32", s)
	}
	asked := []serialRS485{}
	take := func(_ int, arg *serialRS485) error { asked = append(asked, *arg); return nil }
	for _, r := range []RS485{{}, {Enabled: true, DelayBefore: 1500 * time.Microsecond, DelayAfter: 2 * time.Millisecond}, {Enabled: true, Inverted: true}} {
		if err := r.apply(3, take); err != nil {
			t.Error(err)
		}
	}
	want := []serialRS485{{flags: 3, delayBefore: 2, delayAfter: 2}, {flags: 5}}
	if !slices.Equal(asked, want) {
		t.Errorf("asked %+v, want %+v", asked, want)
	}
	// A pseudo terminal has no such mode: the line says so, and does not go on without it.
	_, path := openPTY(t)
	l := newLine(t, SerialOptions{Path: path, RS485: RS485{Enabled: true}})
	_, err := l.Read(context.Background(), holding(1, 1))
	if !errors.Is(err, ErrLinkDown) || !errors.Is(err, unix.ENOTTY) {
		t.Errorf("%v", err)
	}
}

// Many unit ids, one connection.
func TestManyUnitsOneConnection(t *testing.T) {
	var conns sync.Map
	count := func() (n int) {
		conns.Range(func(any, any) bool { n++; return true })
		return n
	}
	l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) { conns.Store(c, true); c.Write(goodTCP(req)) }))
	for unit := range 200 {
		r := holding(uint16(unit), 3)
		r.Unit = byte(unit + 1)
		mustRead(t, l, r)
	}
	if n := count(); n != 1 {
		t.Errorf("%d connections", n)
	}
	l.Rest()
	mustRead(t, l, holding(1, 1))
	if n := count(); n != 2 {
		t.Errorf("%d connections after a rest", n)
	}
}
