package modbus

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// batched answers when n requests wait, the last first.
func batched(n int, answer func(c io.ReadWriteCloser, req []byte)) handler {
	var wait [][]byte
	return func(_ int, c io.ReadWriteCloser, req []byte) {
		if wait = append(wait, req); len(wait) < n {
			return
		}
		slices.Reverse(wait)
		for _, r := range wait {
			answer(c, r)
		}
		wait = nil
	}
}

func requests(n int) (rs []Request) {
	for i := range n {
		r := holding(uint16(100+10*i), uint16(1+i%10))
		r.Unit = byte(1 + i%3)
		rs = append(rs, r)
	}
	return rs
}

// Replies that come in another order reach their requests, as many as the window are under way, and
// an exception is of its own request.
func TestReadAll(t *testing.T) {
	l := newTCP(t, tcpServer(t, batched(8, func(c io.ReadWriteCloser, req []byte) {
		if req[9] == 110 {
			c.Write(mbap(req, req[6], []byte{0x83, 2}))
			return
		}
		c.Write(goodTCP(req))
	})))
	rs := requests(16)
	rs[5].Quantity = 0 // refused here, and in nobody's way
	rs = append(rs, requests(1)...)
	for i, reply := range l.ReadAll(context.Background(), rs, 8) {
		switch {
		case i == 1 && !errors.Is(reply.Err, ErrIllegalAddress), i == 5 && !errors.Is(reply.Err, ErrRefused),
			i != 1 && i != 5 && (reply.Err != nil || wrongData(rs[i], reply.Data)):
			t.Errorf("%s: % x, %v", rs[i], reply.Data, reply.Err)
		}
	}
}

// A reply that is spoilt ends the stream, and with it all that was under way or answered on it.
func TestReadAllSpoilt(t *testing.T) {
	for k, spoil := range faults {
		var n atomic.Int32
		l := newTCP(t, tcpServer(t, func(_ int, c io.ReadWriteCloser, req []byte) {
			g := goodTCP(req)
			if n.Add(1) == 4 {
				g = spoil(g)
			}
			c.Write(g)
		}))
		rs := requests(12)
		for i := range rs {
			rs[i].Timeout = 150 * time.Millisecond
		}
		bad := 0
		for i, reply := range l.ReadAll(context.Background(), rs, 4) {
			switch {
			case reply.Err != nil:
				bad++
			case wrongData(rs[i], reply.Data):
				t.Errorf("fault %d: %s took % x", k, rs[i], reply.Data)
			}
		}
		if bad == 0 {
			t.Errorf("fault %d: nothing failed", k)
		}
		mustRead(t, l, holding(200, 10))
	}
}

// The poller pipelines where its profile allows, and only there.
func TestPollerPipelines(t *testing.T) {
	p := wide(t)
	for window := range 3 {
		p.Read.Window, p.Read.Timeout = window, long
		wait := 1
		if window == 2 {
			wait = 2
		}
		l := newTCP(t, tcpServer(t, batched(wait, func(c io.ReadWriteCloser, req []byte) { c.Write(goodTCP(req)) })))
		d, _ := poller(t, l, p)
		now := sensors.Mono(7)
		if window == 2 && len(d.all.plan)%2 == 1 {
			d.all.plan = append(d.all.plan, block{Block: profile.Block{Span: profile.Span{Func: profile.Holding, First: 900, Count: 1}}})
		}
		rs, err := d.Poll(context.Background(), at(&now), nil)
		if bad := misattributed(p, rs); bad != "" || err != nil {
			t.Fatalf("window %d: %s %v", window, bad, err)
		}
		for _, r := range rs {
			if !r.Quality.Usable() || r.At != 7 {
				t.Fatalf("window %d: %+v", window, r)
			}
		}
	}
}

// A frame that lacks as many bytes as the next one has takes them for its own, and all that follows is in
// step again. Only the reply that never comes shows it, so nothing of that stream counts; and then the
// device is asked for one thing at a time, so that what it does answer is seen.
func TestReadAllLosesAFrameInAnother(t *testing.T) {
	p := wide(t)
	p.Read.Window, p.Read.Timeout = 4, 50*time.Millisecond
	l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
		g := goodTCP(req)
		asked := n + 1
		if asked%8 == 2 && len(g) > mbapSize+3 { // its data go lost, and the next frame of the same size is cut to them
			g = g[:len(g)-mbapSize]
		} else if asked%8 == 3 {
			g = g[:mbapSize]
		}
		c.Write(g)
	}))
	d, _ := poller(t, l, p)
	now := sensors.Mono(0)
	usable := 0
	for limit, i := time.Now().Add(long), 0; i < 4 || usable == 0 && time.Now().Before(limit); i++ {
		rs, _ := d.Poll(context.Background(), at(&now), nil)
		if bad := misattributed(p, rs); bad != "" {
			t.Fatal(bad)
		}
		for _, r := range rs {
			if r.Quality.Usable() {
				usable++
			}
		}
	}
	if usable == 0 {
		t.Error("nothing is read of a device that answers most")
	}
}
