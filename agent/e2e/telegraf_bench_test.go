//go:build peers

package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"firebreak/sensors/sim/slave"
)

// besides are companions that misbehave, by inputs that a site may have.
func besides(b *testing.B) map[string]string {
	b.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and says nothing for ever: inputs.upsd hangs
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = silent.Close() })
	const point = "[[source.telegraf]]\nname = \"foreign\"\n[[source.telegraf.point]]\nname = \"v\"\nmeasurement = \"flood\"\nfield = \"v\"\nunit = \"C\"\n"
	return map[string]string{
		"alone": "",
		"flood": "[[inputs.execd]]\ncommand = [\"/bin/sh\", \"-c\", \"while :; do echo flood v=1; done\"]\ndata_format = \"influx\"\n" + point,
		"leak":  "[[inputs.execd]]\ncommand = [\"/usr/bin/python3\", \"-c\", \"b = []\\nwhile len(b) < 64: b.append(bytearray(1 << 24))\"]\ndata_format = \"influx\"\n" + point,
		"block": fmt.Sprintf("[[inputs.upsd]]\nserver = \"127.0.0.1\"\nport = %d\n", silent.Addr().(*net.TCPAddr).Port) + point,
	}
}

// BenchmarkHookBesideTelegraf is BenchmarkFlipToHook with no companion, and with companions whose plugins flood,
// leak 1 GiB and hang, one after the other in each round: what the machine does else is done to all.
func BenchmarkHookBesideTelegraf(b *testing.B) {
	bank, addr := ups(b)
	companion := filepath.Join(b.TempDir(), "firebreak-telegraf")
	run(b, "bash", "../../.ci/companion", companion, "inputs.upsd", "inputs.execd", "outputs.file")
	m := newMosquitto(b) // never started
	took := map[string][]time.Duration{}
	all := besides(b)
	for b.Loop() {
		for how, tables := range all {
			l := newLab(b, addr, "", m.address())
			l.Poll = "10ms" // the shortest: what is left is the decision and the start of the hook
			l.write(b)
			if tables != "" {
				text, err := os.ReadFile(l.file)
				if err != nil {
					b.Fatal(err)
				}
				write(b, l.file, string(text)+"\n[telegraf]\ncompanion = \""+companion+"\"\n"+tables+"[[outputs.file]]\nfiles = [\"/dev/null\"]\n")
			}
			agent := start(b, binary, "run", "-c", l.file)
			agent.errs.line(b, 0, "firebreak runs")
			if tables != "" {
				agent.errs.line(b, 0, "the Telegraf companion runs")
			}
			bank.Set(slave.Holdings, regStatus, 1<<2)
			l.hook(b, "on-battery", 0) // it runs and has read the device
			from := time.Now()
			bank.Set(slave.Holdings, regTemp, 60*128)
			took[how] = append(took[how], l.hook(b, "hot", 0).Sub(from))
			bank.Set(slave.Holdings, regTemp, 25*128)
			bank.Set(slave.Holdings, regStatus, 1<<1)
			if err := agent.stop(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for how, d := range took {
		report(b, how, d)
	}
}

// BenchmarkLoadByTelegraf is BenchmarkLoad of firebreak's own Modbus, and of inputs.modbus in the companion, on the same
// devices and broker in one run: processor time of a million points and peak of memory, of the agent and its companion
// together. An iteration is a second of each.
func BenchmarkLoadByTelegraf(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "firebreak-telegraf")
	run(b, "bash", "../../.ci/companion", binary, "inputs.modbus")
	for _, poll := range []string{"1s", "100ms"} {
		b.Run(poll, func(b *testing.B) {
			l := newLoadLab(b, loadDevices)
			for how, companion := range map[string]string{"native": "", "telegraf": binary} {
				first := l.told.count()
				p := l.start(b, binary, "run", "-c", l.configure(b, poll, companion))
				l.told.await(b, "second poll of each device", func(all []line) bool { return len(all) > first+2*loadDevices })
				pids := []int{p.cmd.Process.Pid}
				if companion != "" {
					pids = append(pids, companionOf(b, pids[0]))
				}
				sum := func() (used time.Duration, peak float64) {
					for _, pid := range pids {
						u, m := usage(b, pid)
						used, peak = used+u, peak+m
					}
					return used, peak
				}
				from := l.told.count()
				before, _ := sum()
				<-time.After(time.Duration(b.N) * time.Second)
				after, peak := sum()
				points := float64((l.told.count() - from) * loadRegisters)
				b.ReportMetric((after-before).Seconds()/points*1e6, how+"-cpu-s/Mpoints")
				b.ReportMetric(points/float64(b.N), how+"-points/s")
				b.ReportMetric(peak, how+"-peak-MiB")
				if err := p.stop(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
