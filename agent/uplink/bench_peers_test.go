//go:build peers

package uplink

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/wire/brokertest"
	"firebreak/plugins"
	"firebreak/sensors"
)

// BenchmarkMosquitto is the processor time of this process alone, from Offer to PUBACK, for polls
// of 100 readings.
func BenchmarkMosquitto(b *testing.B) {
	m := newMosquitto(b)
	m.start()
	const n = 100
	cfg := config("mqtt://" + m.address())
	cfg.Points = nil
	rs := make([]sensors.Reading, n)
	for i := range rs {
		cfg.Points = append(cfg.Points, sensors.Point{ID: sensors.PointID(i), Name: fmt.Sprintf("ups-a.module.%d.temperature", i)})
		rs[i] = sensors.Reading{Point: sensors.PointID(i), Value: 20 + float64(i)*0.1, Quality: sensors.GoodQuality}
	}
	u, _ := start(b, cfg)
	awaitStats(b, u, func(s BrokerStats) bool { return s.Connected }) // what waits for it is told more slowly
	up := plugins.Update{State: &sensors.Batch{Readings: rs}}
	before := cpu()
	for b.Loop() {
		u.Offer(up)
		for u.Stats().Brokers[0].Queued > 1000 {
			<-time.After(time.Millisecond)
		}
	}
	for u.Stats().Brokers[0].Queued > 0 {
		<-time.After(time.Millisecond)
	}
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N)/n, "cpu-ns/reading")
}

func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkFlapping is the time of an alarm to a healthy broker beside one that accepts and falls, again
// and again, and beside one that takes connections and is dead. What waits is kept on the disk.
func BenchmarkFlapping(b *testing.B) {
	b.Run("flapping", func(b *testing.B) {
		benchBeside(b, func(_ int, c *brokertest.Conn) {
			if c.Accept(0) == nil {
				_, _ = c.Next()
			}
		})
	})
	b.Run("dead", func(b *testing.B) {
		benchBeside(b, func(_ int, c *brokertest.Conn) {
			for {
				if _, err := c.Next(); err != nil {
					return
				}
			}
		})
	})
}

func benchBeside(b *testing.B, script func(int, *brokertest.Conn)) {
	m := newMosquitto(b)
	m.start()
	dir, err := journal.OS(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	u, _ := start(b, lifeOf(1, dir, brokertest.Start(b, script).URL(), "mqtt://"+m.address()))
	got := make(chan struct{}, 16)
	listen(b, "mqtt://"+m.address(), "watcher", "firebreak/1/alarm/+/+/+/smoke", func(string, []byte, bool) { got <- struct{}{} })
	u.Offer(alarm("smoke", 1, 1, true))
	<-got
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		u.Offer(alarm("smoke", 1, 1, true))
		<-got
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}
