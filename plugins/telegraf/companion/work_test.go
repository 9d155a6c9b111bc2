package companion_test

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

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
