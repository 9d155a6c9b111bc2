package modbus

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/sensors/profile"

	"golang.org/x/sys/unix"
)

// Every register of the test devices holds its own address mixed with its function, and every bit
// the parity of its own: a value that reaches the wrong point shows.
func wordOf(f profile.Function, address int) uint16 { return uint16(address*7 + int(f)*4096) }
func bitOf(f profile.Function, address int) byte    { return byte(address*5/3+int(f)) & 1 }

// goodPDU answers the read request in pdu.
func goodPDU(pdu []byte) []byte {
	f, address, n := profile.Function(pdu[0]), int(binary.BigEndian.Uint16(pdu[1:])), int(binary.BigEndian.Uint16(pdu[3:]))
	out := []byte{pdu[0], 0}
	if f.Bits() {
		out = append(out, make([]byte, (n+7)/8)...)
		for i := range n {
			out[2+i/8] |= bitOf(f, address+i) << (i % 8)
		}
	} else {
		for i := range n {
			out = binary.BigEndian.AppendUint16(out, wordOf(f, address+i))
		}
	}
	out[1] = byte(len(out) - 2)
	return out
}

// checkData fails when data is not what r asks for.
func wrongData(r Request, data []byte) bool {
	if len(data) != r.dataLen() {
		return true
	}
	for i := range int(r.Quantity) {
		want := wordOf(r.Func, int(r.Address)+i)
		if r.Func.Bits() {
			want = uint16(bitOf(r.Func, int(r.Address)+i))
		}
		if wordAt(r.Func, data, i) != want {
			return true
		}
	}
	return false
}

func mbap(tx []byte, unit byte, pdu []byte) []byte {
	out := []byte{tx[0], tx[1], 0, 0, 0, byte(len(pdu) + 1), unit}
	return append(out, pdu...)
}

// goodTCP answers a whole request frame.
func goodTCP(req []byte) []byte { return mbap(req, req[6], goodPDU(req[7:])) }

func crc(b []byte) []byte {
	c := uint16(0xFFFF)
	for _, x := range b {
		c ^= uint16(x)
		for range 8 {
			lsb := c & 1
			c >>= 1
			if lsb != 0 {
				c ^= 0xA001
			}
		}
	}
	return []byte{byte(c), byte(c >> 8)}
}

func rtuFrame(unit byte, pdu []byte) []byte {
	out := append([]byte{unit}, pdu...)
	return append(out, crc(out)...)
}

func goodRTU(req []byte) []byte { return rtuFrame(req[0], goodPDU(req[1:6])) }

// handler answers request n (from zero, over all connections) on line.
type handler func(n int, line io.ReadWriteCloser, req []byte)

// tcpServer serves handler on a real socket and returns its address.
func tcpServer(t testing.TB, h handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	n := 0
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				for {
					req := make([]byte, 6)
					if _, err := io.ReadFull(c, req); err != nil {
						return
					}
					req = append(req, make([]byte, binary.BigEndian.Uint16(req[4:]))...)
					if _, err := io.ReadFull(c, req[6:]); err != nil {
						return
					}
					mu.Lock()
					k := n
					n++
					mu.Unlock()
					h(k, c, req)
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// openPTY returns the device's end and the path of the agent's.
func openPTY(t testing.TB) (*os.File, string) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := os.NewFile(uintptr(fd), "ptmx")
	t.Cleanup(func() { m.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	path := "/dev/pts/" + strconv.Itoa(n)
	// Held open and raw, so that the line neither echoes before the agent opens it nor hangs up
	// when the agent closes it.
	s, err := openSerial(SerialOptions{Path: path, Baud: 115200})
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(s.fd, unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return m, path
}

// rtuServer serves handler on a pty and returns the path of the agent's end.
func rtuServer(t testing.TB, h handler) string {
	t.Helper()
	m, path := openPTY(t)
	serveRTU(t, m, h)
	return path
}

func serveRTU(t testing.TB, m *os.File, h handler) { serveLine(t, m, readFixed, h) }

func newRTU(t testing.TB, path string) *SerialLink {
	t.Helper()
	return newLine(t, SerialOptions{Path: path})
}

func newTCP(t testing.TB, address string) *TCPLink {
	l := NewTCP(address, TCPOptions{})
	t.Cleanup(func() { l.Close() })
	return l
}

const (
	short = 60 * time.Millisecond // a time-out that the test waits for
	long  = 20 * time.Second      // one that must not come
)

// pace is how far a link and its server are. With a time-out of milliseconds a busy machine lets the server fall
// behind: what it then says late is not what the test has it say.
type pace struct{ sent, served, came atomic.Int64 }

func (p *pace) serve(h handler) handler {
	return func(n int, line io.ReadWriteCloser, req []byte) {
		h(n, line, req)
		p.served.Add(1)
	}
}

// of counts what l sends, and the bytes that it takes for replies.
func (p *pace) of(l *SerialLink) *SerialLink {
	l.opt.Tap = func(sent bool, b []byte) {
		if sent {
			p.sent.Add(1)
		} else {
			p.came.Add(int64(len(b)))
		}
	}
	return l
}

// caughtUp waits until the server has dealt with all that was sent: what it says to that is on the line.
func (p *pace) caughtUp(t testing.TB) {
	t.Helper()
	await(t, "the server deals with all that was sent", func() bool { return p.served.Load() == p.sent.Load() })
}

// await waits for what others do.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(long); !ok(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Errorf("never: %s", what)
			return
		}
	}
}

func holding(address, n uint16) Request {
	return Request{Unit: 17, Func: profile.Holding, Address: address, Quantity: n, Timeout: long, Turnaround: short}
}

// mustRead fails unless r is answered with its own data.
func mustRead(t testing.TB, l Link, r Request) {
	t.Helper()
	data, err := l.Read(context.Background(), r)
	if err != nil {
		t.Fatalf("%s: %v", r, err)
	}
	if wrongData(r, data) {
		t.Fatalf("%s: data % x belong to another request", r, data)
	}
}

func mustFail(t testing.TB, l Link, r Request, want error) {
	t.Helper()
	data, err := l.Read(context.Background(), r)
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v with data % x, want %v", r, err, data, want)
	}
}

func asciiFrame(unit byte, pdu []byte) []byte {
	raw := append([]byte{unit}, pdu...)
	var sum byte
	for _, b := range raw {
		sum += b
	}
	return []byte(fmt.Sprintf(":%X\r\n", append(raw, -sum)))
}

// goodASCII answers a whole request frame with CR LF.
func goodASCII(req []byte) []byte {
	raw, err := hex.DecodeString(string(req[1 : len(req)-2]))
	if err != nil {
		panic(err)
	}
	return asciiFrame(raw[0], goodPDU(raw[1:6]))
}

// variant is one of the ways in which frames stand on a line.
type variant struct {
	reply func(req []byte) []byte
	serve func(t testing.TB, h handler) *SerialLink
}

var variants = map[string]variant{
	"RTU": {goodRTU, func(t testing.TB, h handler) *SerialLink { return newRTU(t, rtuServer(t, h)) }},
	"RTU over TCP": {goodRTU, func(t testing.TB, h handler) *SerialLink {
		return newLine(t, SerialOptions{Address: lineServer(t, readFixed, h)})
	}},
	"ASCII": {goodASCII, func(t testing.TB, h handler) *SerialLink {
		m, path := openPTY(t)
		serveLine(t, m, readLine, h)
		return newLine(t, SerialOptions{Path: path, ASCII: true})
	}},
	"ASCII over TCP": {goodASCII, func(t testing.TB, h handler) *SerialLink {
		return newLine(t, SerialOptions{Address: lineServer(t, readLine, h), ASCII: true})
	}},
}

func newLine(t testing.TB, o SerialOptions) *SerialLink {
	t.Helper()
	o.Baud, o.Gap = 115200, noGap
	l, err := NewSerial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func readFixed(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(2)
	if err != nil {
		return nil, err
	}
	req := make([]byte, 8)
	if head[1] == byte(profile.Identification) {
		req = req[:7]
	}
	_, err = io.ReadFull(r, req)
	return req, err
}

func readLine(r *bufio.Reader) ([]byte, error) { return r.ReadBytes('\n') }

// lineServer serves handler on sockets that hand bytes on, and returns the address.
func lineServer(t testing.TB, next func(*bufio.Reader) ([]byte, error), h handler) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var conns []net.Conn
	var mu sync.Mutex
	wg.Go(func() {
		for n := 0; ; {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			r := bufio.NewReader(c)
			for { // one client at a time, as such servers do
				req, err := next(r)
				if err != nil {
					break
				}
				h(n, c, req)
				n++
			}
			c.Close()
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

func serveLine(t testing.TB, m io.ReadWriteCloser, next func(*bufio.Reader) ([]byte, error), h handler) {
	var wg sync.WaitGroup
	wg.Go(func() {
		r := bufio.NewReader(m)
		for n := 0; ; n++ {
			req, err := next(r)
			if err != nil {
				return
			}
			h(n, m, req)
		}
	})
	t.Cleanup(func() { m.Close(); wg.Wait() })
}
