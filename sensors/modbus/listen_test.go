package modbus

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What came without a longer silence in it is one burst.
func TestBursts(t *testing.T) {
	var b bursts
	for _, at := range []time.Duration{0, burstGap, 2 * burstGap, 3*burstGap + 1, 4 * burstGap} {
		b.add(at, []byte{byte(at / burstGap)})
	}
	if want := []Burst{{0, []byte{0, 1, 2}}, {3*burstGap + 1, []byte{3, 4}}}; !reflect.DeepEqual(b.list, want) || b.size != 5 {
		t.Errorf("%v of %d bytes, want %v", b.list, b.size, want)
	}
}

// A line on which somebody speaks is heard; nothing is sent meanwhile.
func TestListen(t *testing.T) {
	p, path := openPTY(t)
	defer p.Close()
	l, err := NewSerial(SerialOptions{Path: path, Baud: 9600})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got, err := l.Listen(context.Background(), 10*time.Millisecond); err != nil || len(got) != 0 {
		t.Errorf("a silent line: %v, %v", got, err)
	}
	if _, err := p.Write([]byte{1, 3, 0, 0}); err != nil {
		t.Fatal(err)
	}
	fd := l.port.fd
	waiting := func(n int) func() bool {
		return func() bool { k, err := unix.IoctlGetInt(fd, unix.TIOCINQ); return err != nil || k == n }
	}
	await(t, "they are on the line", waiting(4))
	heard, enough := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { defer enough(); await(t, "they are taken in", waiting(0)) })
	got, err := l.Listen(heard, time.Hour)
	wg.Wait()
	if !errors.Is(err, context.Canceled) || len(got) != 1 || string(got[0].Bytes) != "\x01\x03\x00\x00" {
		t.Errorf("%v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Listen(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	p.Close()
	if _, err := l.Listen(context.Background(), time.Hour); !errors.Is(err, ErrLinkDown) {
		t.Errorf("a pulled adapter: %v", err)
	}
}
