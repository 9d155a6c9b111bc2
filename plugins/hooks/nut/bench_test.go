package nut

import (
	"testing"

	"firebreak/sensors"
)

// BenchmarkStatus is what upsmon asks every few seconds, over loopback.
func BenchmarkStatus(b *testing.B) {
	r := newRig(b, config(b)).run()
	c := r.dial().login("rack12")
	for n := 5; b.Loop(); n++ {
		if n == maxRate-1 { // more in a second would wait
			b.StopTimer()
			_ = c.nc.Close()
			c, n = r.dial().login("rack12"), 4
			b.StartTimer()
		}
		if s := c.status("rack12"); s != "OL" {
			b.Fatal(s)
		}
	}
}

// BenchmarkOffer is what the hook costs a poll of 100 points, of which it shows 3, while 500 hosts
// are logged in.
func BenchmarkOffer(b *testing.B) {
	cfg := config(b)
	cfg.MaxClients, cfg.PerAddress = 1000, 1000
	r := newRig(b, cfg).run()
	for range 500 {
		r.dial().login("rack12")
	}
	var batch sensors.Batch
	for i := range 100 {
		batch.Readings = append(batch.Readings, sensors.Reading{Point: sensors.PointID(i), Value: 20, Quality: sensors.GoodQuality})
	}
	b.ReportAllocs()
	for b.Loop() {
		r.read(batch.Readings...)
	}
}
