//go:build peers

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// coprime is a number that n has no divisor in common with, and that goes far at each step.
func coprime(n int) int {
	gcd := func(a, b int) int {
		for b != 0 {
			a, b = b, a%b
		}
		return a
	}
	c := n*3/8 + 1
	for gcd(n, c) != 1 {
		c++
	}
	return c
}

// startWithWebhook starts firebreak with a hook that is no program: a target that a connection is kept open to. It says when
// it has been called in the way of those that are.
func startWithWebhook(b *testing.B, l *loadLab, poll string) *process {
	b.Helper()
	fifo, err := os.OpenFile(l.FIFO, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(fifo, "tell-hot %d\n", time.Now().UnixNano())
	}))
	b.Cleanup(func() {
		target.Close()
		_ = fifo.Close()
	})
	l.target = target.URL
	return startFirebreak(b, l, poll)
}

// startFloor starts what does nothing but read, sync and start.
func startFloor(b *testing.B, l *loadLab, poll string) *process {
	b.Helper()
	every, err := time.ParseDuration(poll)
	if err != nil {
		b.Fatal(err)
	}
	floor := filepath.Join(l.Dir, "floor")
	run(b, "gcc", "-O2", "-Wall", "-Werror", "-I/usr/include/modbus", "-o", floor, "testdata/floor.c", "-lmodbus")
	p := l.start(b, append([]string{floor, filepath.Join(l.disk, "journal"), fmt.Sprint(every.Milliseconds()), "50000", l.FIFO, l.stamp}, l.ports...)...)
	p.out.line(b, 0, "ready")
	return p
}

// readTwice waits until each device was read twice, as far as anybody is told of it.
func readTwice(b *testing.B, l *loadLab) {
	b.Helper()
	l.told.await(b, "second poll of each device", func(all []line) bool { return len(all) > 2*loadDevices })
}

// BenchmarkFlip is the time from a register of one device that flips to the start of the hook's own process, or to the
// target's handler. The floor is what that takes whoever does it: a loop that reads the same devices, syncs a record and
// starts the same program.
func BenchmarkFlip(b *testing.B) {
	for _, of := range []struct {
		name  string
		start starter
		ready func(*testing.B, *loadLab)
	}{
		{"firebreak", startFirebreak, readTwice},
		{"firebreak-webhook", startWithWebhook, readTwice},
		{"plain", startPlain, readTwice},
		{"floor", startFloor, func(*testing.B, *loadLab) {}}, // it tells nobody
	} {
		for _, poll := range []string{"250ms", "10ms"} {
			b.Run(of.name+"/"+poll, func(b *testing.B) {
				l := newLoadLab(b, loadDevices)
				l.disk = b.TempDir() // a decision waits for it
				of.start(b, l, poll)
				of.ready(b, l)
				every, _ := time.ParseDuration(poll)
				var took []time.Duration
				turn := coprime(b.N)
				for i := range b.N {
					n := l.hooks.count()
					port := l.ports[i%len(l.ports)]
					from := time.Now()
					l.set(b, 0, 60000, port)
					took = append(took, l.hook(b, "hot", n).Sub(from))
					l.set(b, 0, 1, port)
					// Three polls until it is over, and then another moment of the period each time: the
					// periods between hook and flip are cut into b.N parts, and each has its turn.
					<-time.After(3*every + 200*time.Millisecond + every*time.Duration(2*(i*turn%b.N)+1)/time.Duration(2*b.N))
				}
				report(b, "flip", took)
			})
		}
	}
}
