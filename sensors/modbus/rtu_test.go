package modbus

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRTUBadReplies(t *testing.T) {
	cases := map[string]func(req []byte) []byte{
		"other unit": func(r []byte) []byte { return rtuFrame(r[0]+1, goodPDU(r[1:6])) },
		"CRC":        func(r []byte) []byte { g := goodRTU(r); g[len(g)-1] ^= 1; return g },
		"data bit":   func(r []byte) []byte { g := goodRTU(r); g[7] ^= 0x10; return g },
		"echo":       func(r []byte) []byte { return r },
		"garbage":    func(r []byte) []byte { return []byte("\xff\xfe OK\r\n") },
	}
	for name, pdu := range badPDU {
		cases[name] = func(r []byte) []byte { return rtuFrame(r[0], pdu(r[1:6])) }
	}
	for name, reply := range cases {
		t.Run(name, func(t *testing.T) {
			l := newRTU(t, rtuServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
				if n == 0 {
					c.Write(reply(req))
					return
				}
				c.Write(goodRTU(req))
			}))
			mustFail(t, l, holding(100, 10), ErrGarbled)
			mustRead(t, l, holding(200, 10))
			mustRead(t, l, holding(300, 10))
		})
	}
}

// A frame with more behind it is not one reply. (On a line it depends on when the rest comes; what
// comes later is thrown away before the next request.)
func TestRTUExtraBytes(t *testing.T) {
	r := holding(100, 10)
	g := rtuFrame(r.Unit, goodPDU([]byte{3, 0, 100, 0, 10}))
	if done, err := r.checkRTU(g); !done || err != nil {
		t.Fatalf("a whole frame: %v %v", done, err)
	}
	for _, more := range [][]byte{{0}, g} {
		if done, err := r.checkRTU(append(g[:len(g):len(g)], more...)); done || !errors.Is(err, ErrGarbled) {
			t.Errorf("%d bytes behind the frame: %v %v", len(more), done, err)
		}
	}
	l := newRTU(t, rtuServer(t, func(n int, c io.ReadWriteCloser, req []byte) { c.Write(append(goodRTU(req), goodRTU(req)...)) }))
	for i := range uint16(20) {
		r := holding(200+i, 10)
		if data, err := l.Read(context.Background(), r); err == nil && wrongData(r, data) {
			t.Fatalf("%s took the reply of another request", r)
		}
	}
}

// The reply to request 1 comes after its time-out, while request 2 of the same size waits to be
// sent: without the quarantine it would be taken as the answer to 2, and so on for ever.
func TestRTULateReply(t *testing.T) {
	for turnaround := 300 * time.Millisecond; !lateReply(t, turnaround); turnaround *= 2 {
		t.Logf("it came after the quarantine of %v: this machine is busy", turnaround)
	}
}

// lateReply tells whether the reply came while the next request waited in a quarantine of that length.
func lateReply(t *testing.T, turnaround time.Duration) bool {
	release, sent := make(chan struct{}), make(chan time.Time, 1)
	l := newRTU(t, rtuServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		if n == 0 {
			<-release
			c.Write(goodRTU(req))
			sent <- time.Now()
			return
		}
		c.Write(goodRTU(req))
	}))
	r := holding(100, 10)
	r.Timeout, r.Turnaround = short, turnaround
	mustFail(t, l, r, ErrTimeout)
	end := l.quarantine
	go func() {
		for len(l.turn) > 0 { // until the next request has begun
			runtime.Gosched()
		}
		<-time.After(turnaround / 3) // after its flush, had there been no quarantine
		close(release)
	}()
	data, err := l.Read(context.Background(), holding(200, 10))
	if (<-sent).After(end) {
		return false
	}
	if err != nil || wrongData(holding(200, 10), data) {
		t.Fatalf("%v, data % x", err, data)
	}
	for i := range uint16(20) {
		mustRead(t, l, holding(210+i, 10))
	}
	return true
}

func TestRTUTruncated(t *testing.T) {
	for cut := range 25 {
		var p pace
		l := p.of(newRTU(t, rtuServer(t, p.serve(func(n int, c io.ReadWriteCloser, req []byte) {
			g := goodRTU(req)
			if n == 0 {
				g = g[:cut]
			}
			c.Write(g)
		}))))
		r := holding(100, 10)
		r.Timeout, r.Turnaround = 10*time.Millisecond, 10*time.Millisecond
		mustFail(t, l, r, ErrTimeout)
		await(t, "what is left of the frame is there, in time or in the quarantine", func() bool {
			n, err := unix.IoctlGetInt(l.port.fd, unix.TIOCINQ)
			return err != nil || n+int(p.came.Load()) == cut
		})
		mustRead(t, l, holding(200, 10))
	}
}

func TestRTUExceptionInTwoWrites(t *testing.T) {
	second := make(chan struct{})
	l := newRTU(t, rtuServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		if n%2 == 0 {
			e := rtuFrame(req[0], []byte{req[1] | 0x80, 2})
			c.Write(e[:4])
			<-second
			c.Write(e[4:])
			return
		}
		c.Write(goodRTU(req))
	}))
	for i := range uint16(3) {
		go func() {
			<-time.After(20 * time.Millisecond)
			second <- struct{}{}
		}()
		mustFail(t, l, holding(100+i, 10), ErrIllegalAddress)
		mustRead(t, l, holding(200+i, 10))
	}
}

// A slave that sends a byte now and then does not stretch the deadline: else its frame would be whole in the end.
func TestRTUDeadlineIsAbsolute(t *testing.T) {
	stop := make(chan struct{})
	l := newRTU(t, rtuServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		for _, b := range goodRTU(req) {
			c.Write([]byte{b})
			select {
			case <-stop:
				return
			case <-time.After(short / 2):
			}
		}
	}))
	r := holding(100, 10)
	r.Timeout = short
	mustFail(t, l, r, ErrTimeout)
	close(stop)
}

func TestRTUCloseInterrupts(t *testing.T) {
	asked := make(chan struct{}, 1)
	l := newRTU(t, rtuServer(t, func(int, io.ReadWriteCloser, []byte) { asked <- struct{}{} }))
	done := make(chan error, 1)
	r := holding(100, 10)
	r.Timeout = time.Hour
	go func() {
		_, err := l.Read(context.Background(), r)
		done <- err
	}()
	<-asked
	l.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	mustFail(t, l, r, ErrClosed)
}

func TestRTUCancel(t *testing.T) {
	asked := make(chan struct{}, 1)
	l := newRTU(t, rtuServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		if n == 0 {
			asked <- struct{}{}
			return
		}
		c.Write(goodRTU(req))
	}))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	r := holding(100, 10)
	r.Timeout = time.Hour
	if _, err := l.Read(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	mustRead(t, l, holding(200, 10))
}

// The adapter is pulled while a reply is awaited, or between two requests, and comes back as another device node.
func TestRTUUnplugged(t *testing.T) {
	for _, silent := range []bool{false, true} {
		link := filepath.Join(t.TempDir(), "ttyUSB0")
		m, path := openPTY(t)
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		l := newRTU(t, link)
		serveRTU(t, m, func(n int, c io.ReadWriteCloser, req []byte) {
			if n == 1 {
				c.Close()
				return
			}
			c.Write(goodRTU(req))
		})
		mustRead(t, l, holding(100, 10))
		if silent {
			m.Close()
		}
		start := time.Now()
		_, err := l.Read(t.Context(), holding(200, 10))
		if !errors.Is(err, ErrLinkDown) {
			t.Errorf("pulled while the line is silent (%t): %v", silent, err)
		}
		if d := time.Since(start); d > long/2 {
			t.Errorf("a line that hung up was read for %s", d)
		}
		m2, path2 := openPTY(t)
		serveRTU(t, m2, func(n int, c io.ReadWriteCloser, req []byte) { c.Write(goodRTU(req)) })
		os.Remove(link)
		if err := os.Symlink(path2, link); err != nil {
			t.Fatal(err)
		}
		mustRead(t, l, holding(300, 10))
	}
}

// A terminal on which nothing has come is not one that has hung up, whoever asks.
func TestNothingHasCome(t *testing.T) {
	m, path := openPTY(t)
	o := SerialOptions{Path: path, Baud: 9600}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	p, err := openSerial(o)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if n, err := p.read(make([]byte, 8)); n != 0 || err != nil {
		t.Errorf("of a line on which nothing has come: %d bytes, %v", n, err)
	}
	m.Close()
	if n, err := p.read(make([]byte, 8)); n != 0 || err == nil {
		t.Errorf("of a line that has hung up: %d bytes, %v", n, err)
	}
}

func TestSerialOptionsAreChecked(t *testing.T) {
	if _, err := NewSerial(SerialOptions{Path: "/dev/null", Baud: 9601}); err == nil {
		t.Error("9601 baud was accepted")
	}
	l, err := NewSerial(SerialOptions{Path: "/dev/null", Baud: 9600})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	mustFail(t, l, holding(1, 1), ErrLinkDown) // not a serial line
	if want := 38500 * time.Millisecond / 9600; l.opt.Gap < want-time.Microsecond || l.opt.Gap > want+time.Microsecond {
		t.Errorf("gap at 9600 baud is %s, want 3.5 characters, %s", l.opt.Gap, want)
	}
}

// select(2) would write beyond its set for such a descriptor.
func TestRTUHighDescriptor(t *testing.T) {
	for range 1100 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	l := newRTU(t, rtuServer(t, func(n int, c io.ReadWriteCloser, req []byte) { c.Write(goodRTU(req)) }))
	mustRead(t, l, holding(100, 10))
	if l.port.fd < 1024 {
		t.Fatalf("descriptor %d: the test wants one above 1023", l.port.fd)
	}
}

func TestRTULineIsLocked(t *testing.T) {
	path := rtuServer(t, func(n int, c io.ReadWriteCloser, req []byte) { c.Write(goodRTU(req)) })
	a, b := newRTU(t, path), newRTU(t, path)
	mustRead(t, a, holding(100, 10))
	mustFail(t, b, holding(100, 10), ErrLinkDown)
}
