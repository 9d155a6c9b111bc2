package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// board is a relay board that spoils the answers to its writes. Relay 1 is its coil 3.
type board struct {
	rtu bool

	mu     sync.Mutex
	coil   uint16
	writes int
	codes  map[byte]int
	spoil  func(line io.ReadWriteCloser, answer []byte) // of a write, after it was carried out
	refuse byte                                         // exception to each write, which is then not carried out
	deaf   bool                                         // no answer to reads
	owed   []byte                                       // sent in front of the answer to the next read
}

// serve is the handler of the board on either kind of line.
func (b *board) serve(_ int, line io.ReadWriteCloser, req []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	unit, pdu := req[0], req[1:6]
	frame := func(pdu []byte) []byte { return rtuFrame(unit, pdu) }
	if !b.rtu {
		unit, pdu = req[6], req[7:12]
		frame = func(pdu []byte) []byte { return mbap(req, unit, pdu) }
	}
	b.codes[pdu[0]]++
	switch pdu[0] {
	case 1:
		if !b.deaf {
			line.Write(append(b.owed, frame([]byte{1, 1, byte(b.coil)})...))
		}
	case 5:
		b.writes++
		if b.refuse != 0 {
			line.Write(frame([]byte{0x85, b.refuse}))
			return
		}
		b.coil = uint16(pdu[3]) >> 7
		answer := frame(pdu)
		if b.spoil != nil {
			b.spoil(line, answer)
			return
		}
		line.Write(answer)
	default:
		line.Write(frame([]byte{pdu[0] | 0x80, 1}))
	}
}

// with runs f under the lock that the handler of a request holds.
func (b *board) with(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *board) wrote() (n int)     { b.with(func() { n = b.writes }); return n }
func (b *board) stands() (v uint16) { b.with(func() { v = b.coil }); return v }

// asked is how often each function code came.
func (b *board) asked() (codes map[byte]int) {
	b.with(func() { codes = maps.Clone(b.codes) })
	return codes
}

const relayProfile = `
name = "relay"
title = "relay"
bus = "modbus"
source = "test"
[read]
timeout = "20s"
turnaround = "100ms"
[[channel]]
name = "relay"
function = "coil"
address = 3
[[command]]
name = "off"
does = "lets it go"
source = "test"
function = "coil"
address = 3
value = 0
direction = "off"
settle = "300ms"
read_back = { channel = "relay", is = false }
[[command]]
name = "blind"
does = "lets it go"
source = "test"
function = "coil"
address = 3
value = 0
direction = "off"
read_back = "none"
no_read_back = "test"
`

// relay puts a board, its relay pulled in, behind a TCP or an RTU link.
func relay(t testing.TB, rtu bool, text string) (*board, *Poller) {
	t.Helper()
	b := &board{rtu: rtu, coil: 1, codes: map[byte]int{}}
	p, err := profile.Parse("relay.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var l Link
	if rtu {
		l = newRTU(t, rtuServer(t, b.serve))
	} else {
		l = newTCP(t, tcpServer(t, b.serve))
	}
	d, _ := poller(t, l, p)
	return b, d
}

// hasty does not wait long for the answer to a write, where the test has none come.
type hasty struct{ Link }

func (h hasty) Write(ctx context.Context, r Request, c *profile.Command) error {
	r.Timeout = short
	return h.Link.(Writer).Write(ctx, r, c)
}

func onBoth(t *testing.T, run func(t *testing.T, rtu bool)) {
	for name, rtu := range map[string]bool{"tcp": false, "rtu": true} {
		t.Run(name, func(t *testing.T) { run(t, rtu) })
	}
}

var noNow = func() sensors.Mono { return 0 }

// A command goes out once, is acknowledged by its own echo, and once there is not sent again.
func TestSend(t *testing.T) {
	onBoth(t, func(t *testing.T, rtu bool) {
		b, d := relay(t, rtu, relayProfile)
		ctx := context.Background()
		rs, done, err := d.Send(ctx, noNow, "off")
		if err != nil || done || b.wrote() != 1 || b.stands() != 0 {
			t.Fatalf("first: %v, done %t, %d writes, coil %d", err, done, b.wrote(), b.stands())
		}
		if len(rs) != 1 || rs[0].Value != 1 || rs[0].Point != 100 {
			t.Errorf("the state before was %+v", rs)
		}
		if rs, done, err = d.Inspect(ctx, noNow, "off"); err != nil || !done || rs[0].Value != 0 || rs[0].Quality != sensors.GoodQuality {
			t.Errorf("read back: %+v %t %v", rs, done, err)
		}
		if _, done, err = d.Send(ctx, noNow, "off"); err != nil || !done || b.wrote() != 1 {
			t.Errorf("again: %v, done %t, %d writes: a state that is there is not written", err, done, b.wrote())
		}
		if rs, done, err = d.Send(ctx, noNow, "blind"); err != nil || done || rs != nil || b.wrote() != 2 {
			t.Errorf("without read back: %v, done %t, %d writes", err, done, b.wrote())
		}
		if _, _, err = d.Send(ctx, noNow, "dance"); !errors.Is(err, sensors.ErrNotSent) || !strings.Contains(err.Error(), "it has off, blind") {
			t.Errorf("an unknown command: %v", err)
		}
	})
}

// Whatever becomes of the answer to a write, it is taken neither for an acknowledgement nor for the
// answer to what is asked next, and the write does not go out again by itself.
func TestWriteAttribution(t *testing.T) {
	spoils := map[string]func(line io.ReadWriteCloser, g []byte){
		"hang":      func(io.ReadWriteCloser, []byte) {},
		"truncated": func(l io.ReadWriteCloser, g []byte) { l.Write(g[:len(g)-3]) },
		"wrong function": func(l io.ReadWriteCloser, g []byte) {
			l.Write(spoilt(g, -5, 6))
		},
		"wrong address": func(l io.ReadWriteCloser, g []byte) { l.Write(spoilt(g, -3, 4)) },
		"wrong value":   func(l io.ReadWriteCloser, g []byte) { l.Write(spoilt(g, -2, 0xFF)) },
		"a read's answer": func(l io.ReadWriteCloser, g []byte) {
			if len(g) == 12 {
				l.Write(mbap(g, g[6], []byte{1, 1, 0}))
				return
			}
			l.Write(rtuFrame(g[0], []byte{1, 1, 0}))
		},
		"other unit": func(l io.ReadWriteCloser, g []byte) { l.Write(spoilt(g, -6, 99)) },
		"too long":   func(l io.ReadWriteCloser, g []byte) { l.Write(append(g, 0)) },
		"garbage":    func(l io.ReadWriteCloser, g []byte) { l.Write([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff")) },
	}
	onBoth(t, func(t *testing.T, rtu bool) {
		for name, spoil := range spoils {
			if name == "too long" && !rtu {
				continue // on TCP the frame's own length ends it; the byte behind spoils the next, below
			}
			t.Run(name, func(t *testing.T) {
				b, d := relay(t, rtu, relayProfile)
				b.with(func() { b.spoil = spoil })
				if name == "hang" || name == "truncated" {
					d.link = hasty{d.link}
				}
				rs, done, err := d.Send(context.Background(), noNow, "off")
				await(t, "the write has come, and its answer gone", func() bool { return b.wrote() > 0 })
				if !errors.Is(err, sensors.ErrUnconfirmed) || errors.Is(err, sensors.ErrNotSent) || done || b.wrote() != 1 {
					t.Fatalf("%v, done %t, %d writes; readings %+v", err, done, b.wrote(), rs)
				}
				for range 3 { // the line is in step again, and says what is
					if rs, done, err = d.Inspect(context.Background(), noNow, "off"); err != nil || !done || rs[0].Value != 0 {
						t.Fatalf("the state after: %+v %t %v", rs, done, err)
					}
				}
			})
		}
	})
}

// spoilt is g with the byte at i of its PDU (from the end: -5 the function, -6 the unit) replaced,
// its CRC made right again.
func spoilt(g []byte, i int, v byte) []byte {
	if len(g) == 12 { // TCP
		g[len(g)+i] = v
		return g
	}
	g = g[:len(g)-2]
	g[len(g)+i] = v
	return append(g, crc(g)...)
}

// A late echo of a write comes before the next request is out, in the quarantine: it is thrown away.
func TestLateEcho(t *testing.T) {
	onBoth(t, func(t *testing.T, rtu bool) {
		b, d := relay(t, rtu, relayProfile)
		late := make(chan func(), 1)
		b.with(func() {
			b.spoil = func(line io.ReadWriteCloser, g []byte) {
				b.coil = 1                       // and it was not carried out
				late <- func() { line.Write(g) } // the TCP socket may be gone: that is the point
			}
		})
		whole := d.link
		d.link = hasty{whole}
		if _, done, err := d.Send(context.Background(), noNow, "off"); !errors.Is(err, sensors.ErrUnconfirmed) || done {
			t.Fatalf("%v, done %t", err, done)
		}
		(<-late)()
		d.link = whole
		for range 3 {
			rs, done, err := d.Inspect(context.Background(), noNow, "off")
			if err != nil || done || rs[0].Value != 1 {
				t.Fatalf("the relay is pulled in: %+v, done %t, %v", rs, done, err)
			}
		}
		b.with(func() { b.spoil = nil })
		if _, _, err := d.Send(context.Background(), noNow, "off"); err != nil {
			t.Error(err)
		}
	})
}

// What an exception means for a write: refused, taken on, or not known.
func TestWriteExceptions(t *testing.T) {
	want := map[byte]error{1: sensors.ErrRefused, 2: sensors.ErrRefused, 3: sensors.ErrRefused, 4: sensors.ErrUnconfirmed, 5: nil,
		6: sensors.ErrRefused, 7: sensors.ErrRefused, 8: sensors.ErrUnconfirmed, 10: sensors.ErrRefused, 11: sensors.ErrUnconfirmed, 77: sensors.ErrUnconfirmed}
	onBoth(t, func(t *testing.T, rtu bool) {
		b, d := relay(t, rtu, relayProfile)
		for code, w := range want {
			b.with(func() { b.refuse, b.writes = code, 0 })
			_, done, err := d.Send(context.Background(), noNow, "off")
			if done || !errors.Is(err, w) || (w != nil && !strings.Contains(err.Error(), fmt.Sprintf("exception %d", code))) {
				t.Errorf("exception %d: %v, done %t, want %v", code, err, done, w)
			}
			if n := map[bool]int{true: 1 + busyRetries, false: 1}[code == 6]; b.wrote() != n {
				t.Errorf("exception %d: sent %d times, want %d", code, b.wrote(), n)
			}
		}
	})
}

// A device that cannot be read, or is another one, is not written to.
func TestNotSent(t *testing.T) {
	onBoth(t, func(t *testing.T, rtu bool) {
		b, d := relay(t, rtu, strings.Replace(relayProfile, `timeout = "20s"`, `timeout = "60ms"`, 1))
		b.with(func() { b.deaf = true })
		_, _, err := d.Send(context.Background(), noNow, "off")
		if !errors.Is(err, sensors.ErrNotSent) || !errors.Is(err, ErrTimeout) || b.wrote() != 0 {
			t.Errorf("deaf: %v, %d writes", err, b.wrote())
		}
		b, d = relay(t, rtu, strings.Replace(relayProfile, "[[channel]]", "[[identity]]\nfunction = \"coil\"\nfirst = 7\ncount = 1\nwant = [0]\n[[channel]]", 1))
		if _, _, err = d.Send(context.Background(), noNow, "off"); !errors.Is(err, sensors.ErrNotSent) || !strings.Contains(err.Error(), "another device") || b.wrote() != 0 {
			t.Errorf("another device: %v, %d writes", err, b.wrote())
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		b, d = relay(t, rtu, relayProfile)
		if _, _, err = d.Send(ctx, noNow, "off"); !errors.Is(err, sensors.ErrNotSent) || b.wrote() != 0 {
			t.Errorf("ended: %v, %d writes", err, b.wrote())
		}
	})
	p, err := profile.Parse("relay.toml", []byte(relayProfile))
	if err != nil {
		t.Fatal(err)
	}
	l := NewTCP("peer", TCPOptions{Dial: func(context.Context) (net.Conn, error) { return nil, os.ErrNotExist }})
	defer l.Close()
	d, _ := poller(t, l, p)
	for range 3 { // in back-off too, each tries once
		if _, _, err := d.Send(context.Background(), noNow, "blind"); !errors.Is(err, sensors.ErrNotSent) || !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "next try") {
			t.Errorf("nobody there: %v", err)
		}
	}
	p.Channels[0].Physics = sensors.Smoke // a profile that was changed behind the parser's back
	if _, _, err := d.Send(context.Background(), noNow, "blind"); !errors.Is(err, sensors.ErrNotSent) || !strings.Contains(err.Error(), "detector") {
		t.Errorf("a detector: %v", err)
	}
}

// A peer that has closed an idle connection may have taken the write or not: a read goes out again,
// a write does not.
func TestWriteOnAClosedConnection(t *testing.T) {
	served := 0
	l := NewTCP("peer", TCPOptions{Dial: func(context.Context) (net.Conn, error) {
		a, b := net.Pipe()
		go func() {
			defer b.Close()
			req := make([]byte, 12)
			if _, err := io.ReadFull(b, req); err == nil {
				b.Write(goodTCP(req))
			}
			if _, err := io.ReadFull(b, req); err == nil {
				served++ // read, and hung up without an answer
			}
		}()
		return a, nil
	}})
	defer l.Close()
	mustRead(t, l, holding(1, 1))
	err := l.Write(context.Background(), holding(1, 1), &profile.Command{Func: profile.Holding, Address: 1, Values: []uint16{7}})
	if err == nil || errors.Is(err, sensors.ErrNotSent) || !errors.Is(err, ErrLinkDown) || served != 1 {
		t.Errorf("%v; %d writes were taken", err, served)
	}
	mustRead(t, l, holding(1, 1))
}

// Each function code has the frame of the specification (V1.1b3, 6.5, 6.6, 6.11, 6.12), and takes
// its own echo only.
func TestWriteFrames(t *testing.T) {
	for _, k := range []struct {
		c    profile.Command
		sent string
		echo string
	}{
		{profile.Command{Func: profile.Coil, Address: 0xAC, Values: []uint16{1}}, "05 00ac ff00", "05 00ac ff00"},
		{profile.Command{Func: profile.Coil, Address: 0xAC, Values: []uint16{0}}, "05 00ac 0000", "05 00ac 0000"},
		{profile.Command{Func: profile.Holding, Address: 1, Values: []uint16{3}}, "06 0001 0003", "06 0001 0003"},
		{profile.Command{Func: profile.Coil, Address: 0x13, Values: []uint16{1, 0, 1, 1, 0, 0, 1, 1, 1, 0}, Multiple: true}, "0f 0013 000a 02 cd01", "0f 0013 000a"},
		{profile.Command{Func: profile.Holding, Address: 1, Values: []uint16{0x0A, 0x102}, Multiple: true}, "10 0001 0002 04 000a0102", "10 0001 0002"},
	} {
		r := Request{Unit: 17}.writing(&k.c)
		var sent []byte
		_, err := exchange(newTCPPackager(17), func(adu []byte) ([]byte, error) {
			sent = adu[7:]
			return mbap(adu, 17, unhex(t, k.echo)), nil
		}, r)
		if err != nil || string(sent) != string(unhex(t, k.sent)) || r.checkPDU(unhex(t, k.echo)) != nil {
			t.Errorf("%s: sent % x, %v", r, sent, err)
		}
		for i := range echoLen {
			bad := unhex(t, k.echo)
			bad[i] ^= 1
			if r.checkPDU(bad) == nil {
				t.Errorf("%s takes % x for its echo", r, bad)
			}
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	var out []byte
	if _, err := fmt.Sscanf(strings.ReplaceAll(s, " ", ""), "%x", &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Polls send reads only, whatever they meet; a write comes of Send and of nothing else, and nothing
// but a command that a request can hold reaches the wire (S25).
func TestOnlyCommandsWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, rtu bool) {
		b, d := relay(t, rtu, relayProfile)
		now := sensors.Mono(0)
		for range 20 {
			if _, err := d.Poll(context.Background(), at(&now), nil); err != nil {
				t.Fatal(err)
			}
			if _, _, err := d.Inspect(context.Background(), noNow, "off"); err != nil {
				t.Fatal(err)
			}
		}
		if len(b.asked()) != 1 || b.asked()[1] < 40 {
			t.Fatalf("polls sent %v", b.asked())
		}
		if _, _, err := d.Send(context.Background(), noNow, "off"); err != nil || b.asked()[5] != 1 || len(b.asked()) != 2 {
			t.Fatalf("a command sent %v, %v", b.asked(), err)
		}
		w := d.link.(Writer)
		many := make([]uint16, 1969)
		for _, c := range []*profile.Command{nil, {}, {Func: profile.Coil}, {Func: profile.Input, Values: many[:1]}, {Func: profile.Discrete, Values: many[:1]},
			{Func: profile.Register, Values: many[:1]}, {Func: profile.Coil, Values: many[:2]}, {Func: profile.Coil, Values: []uint16{2}},
			{Func: profile.Coil, Values: many, Multiple: true}, {Func: profile.Holding, Values: many[:124], Multiple: true}, {Func: profile.Holding, Address: 65535, Values: many[:2], Multiple: true}} {
			if err := w.Write(context.Background(), Request{Unit: 1}, c); !errors.Is(err, ErrRefused) || !errors.Is(err, sensors.ErrNotSent) {
				t.Errorf("%+v: %v", c, err)
			}
		}
		if rtu {
			if err := w.Write(context.Background(), Request{Unit: 0}, &profile.Command{Func: profile.Coil, Values: many[:1]}); !errors.Is(err, ErrRefused) {
				t.Errorf("broadcast: %v", err)
			}
		}
		r := Request{Unit: 1, Func: profile.Coil, Address: 3, Quantity: 1, Timeout: time.Second}.writing(d.p.Command("off"))
		if _, err := d.link.Read(context.Background(), r); err != nil || b.asked()[5] != 1 {
			t.Errorf("a read of what was made a write: %v, sent %v", err, b.asked())
		}
	})
}

// FuzzEcho feeds arbitrary bytes to both response paths of a write: what is taken is its echo.
func FuzzEcho(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 6, 17, 6, 0, 5, 0, 0}, byte(6), uint16(5), uint16(0))
	f.Add(rtuFrame(17, []byte{5, 0, 3, 0xFF, 0}), byte(5), uint16(3), uint16(1))
	f.Add(rtuFrame(17, []byte{0x90, 2}), byte(16), uint16(3), uint16(1))
	f.Fuzz(func(t *testing.T, reply []byte, code byte, address, value uint16) {
		c := &profile.Command{Func: profile.Holding, Address: address, Values: []uint16{value}, Multiple: code > 6}
		if code%2 == 1 {
			c.Func, c.Values[0] = profile.Coil, value&1
		}
		r := Request{Unit: 17}.writing(c)
		if r.checkWrite() != nil {
			t.Fatal("a command that can be sent is refused")
		}
		second := c.Values[0]
		switch {
		case c.Multiple:
			second = 1
		case c.Func == profile.Coil:
			second *= 0xFF00
		}
		echo := []byte{c.Code()}
		echo = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(echo, address), second)
		_, err := exchange(newTCPPackager(17), func(adu []byte) ([]byte, error) {
			out, _, err := readADU(strings.NewReader(string(reply)), adu, r)
			return out, err
		}, r)
		if err == nil && string(reply[6:12]) != string(append([]byte{17}, echo...)) {
			t.Fatalf("TCP: %s took % x", r, reply)
		}
		_, err = exchange(newRTUPackager(17), func([]byte) ([]byte, error) {
			for i := range reply {
				if done, err := r.checkRTU(reply[:i+1]); err != nil || done {
					return reply[:i+1], err
				}
			}
			return nil, ErrTimeout
		}, r)
		if err == nil && string(reply[:6]) != string(append([]byte{17}, echo...)) {
			t.Fatalf("RTU: %s took % x", r, reply)
		}
	})
}
