package modbus

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
)

// Any number of goroutines may read on one line: each gets the registers that it asked for.
func TestLineSharedByGoroutines(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			l := v.serve(t, func(_ int, c io.ReadWriteCloser, req []byte) { c.Write(v.reply(req)) })
			var wg sync.WaitGroup
			for k := range uint16(8) {
				wg.Go(func() {
					for i := range uint16(10) {
						r := holding(100+100*k+i, 10)
						if data, err := l.Read(context.Background(), r); err != nil || wrongData(r, data) {
							t.Errorf("%s: % x, %v", r, data, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// An adapter that hears what it sends puts the request before the reply. Nothing of that is a value, also not where
// the address reads as the right length, and the engineer is told what it is.
func TestLocalEcho(t *testing.T) {
	for name, v := range variants {
		t.Run(name, func(t *testing.T) {
			for _, address := range []uint16{100, 0x1400} {
				l := v.serve(t, func(_ int, c io.ReadWriteCloser, req []byte) {
					c.Write(req)
					c.Write(v.reply(req))
				})
				r := holding(address, 10)
				r.Turnaround = short
				data, err := l.Read(context.Background(), r)
				if !errors.Is(err, ErrGarbled) {
					t.Errorf("address %d: % x, %v", address, data, err)
				}
				if address == 100 && !strings.Contains(err.Error(), "local echo") {
					t.Errorf("told as %v", err)
				}
			}
		})
	}
}
