package modbus

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A line on which somebody speaks is heard, in bursts; nothing is sent meanwhile.
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
	got, err := l.Listen(context.Background(), 200*time.Millisecond)
	if err != nil || len(got) != 1 || string(got[0].Bytes) != "\x01\x03\x00\x00" {
		t.Errorf("%v, %v", got, err)
	}
	for _, after := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond} {
		time.AfterFunc(after, func() { p.Write([]byte{byte(after.Milliseconds())}) })
	}
	got, err = l.Listen(context.Background(), 400*time.Millisecond)
	if err != nil || len(got) != 2 || string(got[1].Bytes) != "\x96" || got[1].After <= got[0].After {
		t.Errorf("two bursts: %v, %v", got, err)
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
