package companion_test

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/rig"
)

// BenchmarkWorkBesideFlood is how long a command of a hook takes for 30 ms of work, in a session of its own as a shim
// gives it one, alone and beside a companion that wants all processors, ten times each in turns.
func BenchmarkWorkBesideFlood(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	took := map[string][]float64{}
	work := func(how string) {
		for range 10 {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), rig.Variable+"=work")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			began := time.Now()
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
			took[how] = append(took[how], time.Since(began).Seconds()*1e3)
		}
	}
	for b.Loop() {
		work("alone")
		r := rig.New(b, rig.Variable+"=flood", nil)
		r.UntilHealth("")
		work("beside")
		if err := r.End(); err != nil {
			b.Fatal(err)
		}
	}
	for how, d := range took {
		slices.Sort(d)
		b.ReportMetric(d[len(d)/2], how+"-p50-ms")
		b.ReportMetric(d[len(d)*9/10], how+"-p90-ms")
		b.ReportMetric(d[len(d)*99/100], how+"-p99-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkStandStill is what the loop pays for stopping a companion, beside each that has threads to stop.
func BenchmarkStandStill(b *testing.B) {
	for _, how := range []string{"good", "flood"} {
		b.Run(how, func(b *testing.B) {
			r := rig.New(b, rig.Variable+"="+how, func(c *companion.Config) { c.Hold, c.Still = time.Millisecond, time.Hour })
			r.UntilHealth("")
			var took []float64
			for b.Loop() {
				<-time.After(10 * time.Millisecond) // it runs again
				began := time.Now()
				r.StandStill()
				took = append(took, time.Since(began).Seconds()*1e6)
			}
			if n := r.Stats().Holds; n < len(took)*9/10 {
				b.Errorf("it stood still %d times of %d", n, len(took))
			}
			if err := r.End(); err != nil {
				b.Fatal(err)
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2], "p50-us")
			b.ReportMetric(took[len(took)*99/100], "p99-us")
			b.ReportMetric(0, "ns/op")
		})
	}
}
