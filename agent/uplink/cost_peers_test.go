//go:build peers

package uplink

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// countedConn counts what goes to a broker.
type countedConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// BenchmarkBesidePaho is what telling readings costs, for polls of 100: processor time for a million, and bytes
// on the line for each; and of a loop that marshals a map and waits for each publish of paho, in the same run
// against the same mosquitto. Firebreak's readings have their quality, epoch, number and time with them.
func BenchmarkBesidePaho(b *testing.B) {
	const n = 100
	m := newMosquitto(b)
	m.start()
	report := func(b *testing.B, used, sent float64) {
		readings := float64(b.N) * n
		b.ReportMetric(used/readings*1e6/1e9, "cpu-s/Mreadings")
		b.ReportMetric(sent/readings, "bytes/reading")
	}
	b.Run("firebreak", func(b *testing.B) {
		var sent atomic.Int64
		cfg := config("mqtt://" + m.address())
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return countedConn{c, &sent}, err
		}
		cfg.Points = nil
		rs := make([]sensors.Reading, n)
		for i := range rs {
			cfg.Points = append(cfg.Points, sensors.Point{ID: sensors.PointID(i), Name: fmt.Sprintf("ups-a.module.%d.temperature", i)})
			rs[i] = sensors.Reading{Point: sensors.PointID(i), Value: 20 + float64(i)*0.1, Quality: sensors.GoodQuality}
		}
		u, _ := start(b, cfg)
		awaitStats(b, u, func(s BrokerStats) bool { return s.Connected && s.Acked > 0 })
		up := plugins.Update{State: &sensors.Batch{Readings: rs}}
		before, from := cpu(), sent.Load()
		for range b.N {
			u.Offer(up)
			for u.Stats().Brokers[0].Queued > 1000 {
				<-time.After(time.Millisecond)
			}
		}
		for u.Stats().Brokers[0].Queued > 0 {
			<-time.After(time.Millisecond)
		}
		report(b, float64(cpu()-before), float64(sent.Load()-from))
	})
	plain := filepath.Join(b.TempDir(), "plain")
	if out, err := exec.Command("go", "build", "-o", plain, "./testdata/plain").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	b.Run("paho", func(b *testing.B) {
		out, err := exec.Command(plain, m.address(), fmt.Sprint(b.N), fmt.Sprint(n)).Output()
		if err != nil {
			b.Fatal(err)
		}
		var used, sent float64
		if _, err := fmt.Fscan(strings.NewReader(string(out)), &used, &sent); err != nil {
			b.Fatalf("%q: %v", out, err)
		}
		report(b, used, sent)
	})
}
