//go:build peers

package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"
)

// startOutageLab is the lab of load with a broker that keeps the session of who counts over a stop.
func startOutageLab(b *testing.B) (*loadLab, *mosquitto, *feed) {
	b.Helper()
	l, m := newLoadLab(b, loadDevices), newMosquitto(b)
	m.start(b)
	l.Broker = m.address()
	return l, m, m.subscribe(b, "#")
}

// poll is one that came: of which device, in which life, and when it was made; of plain, when it came.
type poll struct {
	device     string
	epoch, seq uint64
	at         time.Time
}

// polled are the polls that came, each once.
func polled(all []line) (out []poll) {
	seen := map[[2]uint64]bool{}
	for _, l := range all {
		topic, text, _ := strings.Cut(l.text, " ")
		device := topic[strings.LastIndex(topic, "/")+1:]
		var p struct {
			Epoch, Seq uint64
			TS         int64
		}
		switch {
		case strings.HasPrefix(topic, "plain/"):
			out = append(out, poll{device: device, at: l.at})
		case !strings.HasPrefix(topic, "firebreak/1/state/") && !strings.HasPrefix(topic, "firebreak/1/history/"), device == "_echo":
		case json.Unmarshal([]byte(text), &p) == nil && !seen[[2]uint64{p.Epoch, p.Seq}]:
			seen[[2]uint64{p.Epoch, p.Seq}] = true
			out = append(out, poll{device, p.Epoch, p.Seq, time.UnixMilli(p.TS)})
		}
	}
	return out
}

// missed counts the seconds of each device, from its first poll to its last, for which none came; told says how many of
// them were polled, and told, and did not come: their numbers are missing.
func missed(all []poll) (lost, told int) {
	times, numbers := map[string][]time.Time{}, map[uint64][]uint64{}
	for _, p := range all {
		times[p.device] = append(times[p.device], p.at)
		numbers[p.epoch] = append(numbers[p.epoch], p.seq)
	}
	for _, ts := range times {
		lost += int(slices.MaxFunc(ts, time.Time.Compare).Sub(slices.MinFunc(ts, time.Time.Compare)).Seconds()+0.5) + 1 - len(ts)
	}
	for epoch, ns := range numbers {
		if epoch > 0 {
			told += int(slices.Max(ns)) - len(ns)
		}
	}
	return lost, told
}

// BenchmarkOutage is how many polls never arrive when the broker is away and what polls is killed (SIGKILL) in the
// middle and started again at once, as a supervisor would. An iteration is a second of the outage; as long again, nearly, is
// before and behind it: at 60x, 2,300 polls of 20 devices.
func BenchmarkOutage(b *testing.B) {
	for _, of := range []struct {
		name  string
		again func(b *testing.B, l *loadLab, dir string) *process
	}{{"firebreak", startAgain}, {"plain", func(b *testing.B, l *loadLab, _ string) *process { return startPlain(b, l, "1s") }}} {
		b.Run(of.name, func(b *testing.B) {
			l, m, told := startOutageLab(b)
			file := ""
			if of.name == "firebreak" {
				file = l.configure(b, "1s", "")
			}
			p := of.again(b, l, file)
			told.await(b, "second poll of each device", func(all []line) bool { return len(polled(all)) > 2*loadDevices })
			b.ResetTimer()
			outage := time.Duration(b.N) * time.Second
			<-time.After(outage * 55 / 120)
			if err := m.stop(); err != nil {
				b.Fatal(err)
			}
			<-time.After(outage / 2)
			_ = p.cmd.Process.Kill()
			<-p.done
			p.once.Do(func() {})
			p = of.again(b, l, file)
			again := func() *process { return of.again(b, l, file) }
			p = supervised(p, again, outage/2)
			m.start(b)
			supervised(p, again, outage*55/120)
			if of.name == "firebreak" {
				<-time.After(20 * time.Second) // the broker is found again within 10 s, and then comes what waited
			}
			all := polled(told.all())
			lost, numbers := missed(all)
			b.ReportMetric(float64(lost), "lost")
			b.ReportMetric(float64(numbers), "told-and-lost")
			b.ReportMetric(float64(len(all)+lost), "polls")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// supervised keeps a program running for so long: one that gives up is started again after a second.
func supervised(p *process, again func() *process, d time.Duration) *process {
	for over := time.After(d); ; {
		select {
		case <-p.done:
			<-time.After(time.Second)
			p = again()
		case <-over:
			return p
		}
	}
}

// startAgain starts firebreak by a file that stays.
func startAgain(b *testing.B, l *loadLab, file string) *process {
	b.Helper()
	return l.start(b, binary, "run", "-c", file)
}
