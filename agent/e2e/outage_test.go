//go:build peers

package e2e

import (
	"encoding/json"
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

// polled counts the polls that came, each once, and of those of firebreak the ones made by then.
func polled(all []line, end time.Time) (n int) {
	seen := map[[2]uint64]bool{}
	for _, l := range all {
		topic, text, _ := strings.Cut(l.text, " ")
		var p struct {
			Epoch, Seq uint64
			TS         int64
		}
		switch {
		case strings.HasPrefix(topic, "plain/"):
			n++
		case !strings.HasPrefix(topic, "firebreak/1/state/") && !strings.HasPrefix(topic, "firebreak/1/history/"), strings.HasSuffix(topic, "/_echo"):
		case json.Unmarshal([]byte(text), &p) == nil && p.TS <= end.UnixMilli() && !seen[[2]uint64{p.Epoch, p.Seq}]:
			seen[[2]uint64{p.Epoch, p.Seq}] = true
			n++
		}
	}
	return n
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
				file = l.configure(b, "1s")
			}
			p := of.again(b, l, file)
			told.await(b, "second poll of each device", func(all []line) bool { return polled(all, time.Now()) > 2*loadDevices })
			b.ResetTimer()
			begun, before := time.Now(), polled(told.all(), time.Now())
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
			for back := time.After(outage / 2); ; {
				select {
				case <-p.done: // it gave up: its supervisor starts it once a second
					<-time.After(time.Second)
					p = of.again(b, l, file)
					continue
				case <-back:
				}
				break
			}
			m.start(b)
			for back := time.After(outage * 55 / 120); ; {
				select {
				case <-p.done:
					<-time.After(time.Second)
					p = of.again(b, l, file)
					continue
				case <-back:
				}
				break
			}
			end := time.Now()
			want := int(end.Sub(begun).Seconds()) * loadDevices
			if of.name == "firebreak" {
				<-time.After(20 * time.Second) // the broker is found again within 10 s, and then comes what waited
			}
			got := polled(told.all(), end) - before
			b.ReportMetric(float64(want-got), "lost")
			b.ReportMetric(float64(want), "polls")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// startAgain starts firebreak by a file that stays.
func startAgain(b *testing.B, l *loadLab, file string) *process {
	b.Helper()
	return l.start(b, binary, "run", "-c", file)
}
