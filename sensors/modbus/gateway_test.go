package modbus

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// gateway answers each unit of codes with its exception, and the rest with their registers. It counts requests
// by unit, and connections.
type gateway struct {
	mu    sync.Mutex
	codes map[byte]byte
	asked map[byte]int
	lines map[io.ReadWriteCloser]bool
}

func (g *gateway) serve(_ int, c io.ReadWriteCloser, req []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	unit := req[6]
	g.asked[unit]++
	g.lines[c] = true
	if code := g.codes[unit]; code != 0 {
		c.Write(mbap(req, unit, []byte{req[7] | 0x80, code}))
		return
	}
	c.Write(goodTCP(req))
}

// What a gateway says of one unit is of that unit: the connection stays, the neighbour is read without a
// back-off, a unit behind it that is silent or without a path (10, 11) is asked once, and one that is busy or
// needs time (5, 6) three times.
func TestGatewayExceptionsAreOfOneUnit(t *testing.T) {
	for code, want := range map[byte]struct {
		asked int
		err   error  // of the poll: the unit is silent
		ends  string // its point
	}{
		5:  {1 + busyRetries, nil, "bad:comm"},
		6:  {1 + busyRetries, nil, "bad:comm"},
		10: {1, ErrTargetDown, "bad:comm"},
		11: {1, ErrTargetDown, "bad:comm"},
	} {
		g := &gateway{codes: map[byte]byte{1: code}, asked: map[byte]int{}, lines: map[io.ReadWriteCloser]bool{}}
		l := newTCP(t, tcpServer(t, g.serve))
		d, _ := device(t, l, "", "a 10")
		var now sensors.Mono
		for range 3 {
			if got, err := poll(t, d, at(&now)); got != want.ends || !errors.Is(err, want.err) {
				t.Errorf("exception %d: %q %v", code, got, err)
			}
			mustRead(t, l, holding(200, 3))
		}
		g.mu.Lock()
		if g.asked[1] != 3*want.asked || g.asked[17] != 3 || len(g.lines) != 1 {
			t.Errorf("exception %d: asked %v times on %d connections, want %d", code, g.asked, len(g.lines), 3*want.asked)
		}
		g.codes = nil
		g.mu.Unlock()
		if got, err := poll(t, d, at(&now)); got == want.ends || err != nil {
			t.Errorf("exception %d is over: %q %v", code, got, err)
		}
	}
}

// The library counts transactions in more bits than go over the wire.
func TestTransactionNumbersWrap(t *testing.T) {
	l := newTCP(t, tcpServer(t, batched(4, func(c io.ReadWriteCloser, req []byte) { c.Write(goodTCP(req)) })))
	for _, unit := range []byte{1, 2, 3} { // those of requests
		l.packagers[unit] = newTCPPackager(unit)
		pdu := holding(1, 1)
		c := transport(func([]byte) ([]byte, error) { return nil, io.EOF })
		for range 0x10000 - 3 {
			if _, err := exchange(l.packagers[unit], c, pdu); !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
	}
	rs := requests(24) // eight of each unit, so that the number goes over its end
	for i, reply := range l.ReadAll(context.Background(), rs, 4) {
		if reply.Err != nil || wrongData(rs[i], reply.Data) {
			t.Errorf("%s: % x, %v", rs[i], reply.Data, reply.Err)
		}
	}
}

// A device whose identity cannot be read yet, since it is busy or says that it failed, has no values until it
// was seen right once; then it keeps them while it is busy, until it was silent.
func TestIdentityBeforeValues(t *testing.T) {
	for _, code := range []byte{4, 5, 6} {
		refuse := true
		link := &fakeLink{words: map[int]uint16{500: 1, 501: 2}}
		link.fail = func(_ int, r Request) error {
			if refuse && r.Address == 500 {
				return &Exception{r, code}
			}
			return nil
		}
		d, _ := device(t, link, identity, "a 10")
		var now sensors.Mono
		if got, err := poll(t, d, at(&now)); got != "bad:comm" || err == nil || !strings.Contains(err.Error(), "identity") {
			t.Errorf("exception %d: never seen right: %q %v", code, got, err)
		}
		refuse = false
		if got, err := poll(t, d, at(&now)); got != "10" || err != nil {
			t.Errorf("exception %d: seen right: %q %v", code, got, err)
		}
		refuse, d.identified = true, 0
		if got, err := poll(t, d, at(&now)); got != "10" || err != nil {
			t.Errorf("exception %d: was seen right: %q %v", code, got, err)
		}
		silence := link.fail
		link.fail = func(int, Request) error { return ErrTimeout }
		poll(t, d, at(&now))
		link.fail = silence
		if got, err := poll(t, d, at(&now)); got != "bad:comm" || err == nil {
			t.Errorf("exception %d: after a silence: %q %v", code, got, err)
		}
		d, _ = device(t, link, identity+"optional = true\n", "a 10")
		if got, err := poll(t, d, at(&now)); got != "10" || err != nil {
			t.Errorf("exception %d: of an optional identity: %q %v", code, got, err)
		}
	}
}

// Nor is anything written to it, whether it was seen right before or not.
func TestIdentityBeforeAWrite(t *testing.T) {
	text := strings.Replace(relayProfile, "[[channel]]", "[[identity]]\nfunction = \"holding\"\nfirst = 7\ncount = 1\nwant = [0]\n[[channel]]", 1)
	for _, code := range []byte{4, 6} {
		for _, seen := range []bool{false, true} {
			b, d := relay(t, false, text)
			d.link = busyIdentity{d.link, code}
			d.seen = seen
			_, _, err := d.Send(context.Background(), noNow, "off")
			if !errors.Is(err, sensors.ErrNotSent) || !strings.Contains(err.Error(), "identity") || b.wrote() != 0 {
				t.Errorf("exception %d, seen right %v: %v, %d writes", code, seen, err, b.wrote())
			}
		}
	}
}

// busyIdentity is a link to a device that does not tell its identity.
type busyIdentity struct {
	Link
	code byte
}

func (l busyIdentity) Read(ctx context.Context, r Request) ([]byte, error) {
	if r.Address == 7 {
		return nil, &Exception{r, l.code}
	}
	return l.Link.Read(ctx, r)
}

func (l busyIdentity) Write(ctx context.Context, r Request, c *profile.Command) error {
	return l.Link.(Writer).Write(ctx, r, c)
}
