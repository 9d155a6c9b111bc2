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
