//go:build peers

package e2e

import (
	"slices"
	"testing"
	"time"

	"firebreak/sensors/sim/slave"
)

// ups is a Smart-UPS on our own server: it tells the instant of a change better than a process
// that is led over a pipe.
func ups(t testing.TB) (*slave.Bank, string) {
	t.Helper()
	b := slave.NewBank()
	b.Define(slave.Holdings, 0, 27)
	b.Define(slave.Holdings, 128, 44)
	b.Set(slave.Holdings, 1, 2)
	b.Set(slave.Holdings, regTemp, 25*128)
	b.Set(slave.Holdings, 150, 1)
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{1: b})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return b, srv.Addr()
}

// report shows a middle and a worst figure in milliseconds.
func report(b *testing.B, what string, d []time.Duration) {
	slices.Sort(d)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(d[(len(d)-1)/2]), what+"-p50-ms")
	b.ReportMetric(ms(d[len(d)-1]), what+"-max-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkColdStart is the time from exec of the agent to its first published reading at
// mosquitto_sub. The bound is 100 ms.
func BenchmarkColdStart(b *testing.B) {
	_, addr := ups(b)
	m := newMosquitto(b)
	m.start(b)
	told := m.subscribe(b, "firebreak/1/state/#")
	var took []time.Duration
	for b.Loop() {
		l := newLab(b, addr, "", m.address())
		l.write(b)
		told.mu.Lock()
		n := len(told.lines)
		told.mu.Unlock()
		from := time.Now()
		agent := start(b, binary, "run", "-c", l.file)
		first, _ := told.line(b, n, "/ups-a ", `"battery.temperature":25`)
		took = append(took, first.at.Sub(from))
		if err := agent.stop(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "start", took)
	if took[len(took)/2] > 100*time.Millisecond {
		b.Errorf("the median of %d cold starts is %v, above 100ms", len(took), took[len(took)/2])
	}
}

// BenchmarkFlipToHook is the time from a flipped register to the hook's own process: at most one
// poll interval (100 ms) and 10 ms. The flip comes just after a poll, which is the worst moment.
func BenchmarkFlipToHook(b *testing.B) {
	bank, addr := ups(b)
	m := newMosquitto(b) // never started: nothing on the way to the hook needs it
	var took []time.Duration
	for b.Loop() {
		l := newLab(b, addr, "", m.address())
		agent := l.run(b)
		agent.errs.line(b, 0, "firebreak runs")
		bank.Set(slave.Holdings, regStatus, 1<<2)
		l.hook(b, "on-battery", 0) // it runs and has read the device
		from := time.Now()
		bank.Set(slave.Holdings, regTemp, 60*128)
		took = append(took, l.hook(b, "hot", 0).Sub(from))
		bank.Set(slave.Holdings, regTemp, 25*128)
		bank.Set(slave.Holdings, regStatus, 1<<1)
		if err := agent.stop(); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "flip", took)
}
