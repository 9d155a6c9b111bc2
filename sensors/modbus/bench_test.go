package modbus

import (
	"context"
	"fmt"
	"io"
	"testing"

	"firebreak/sensors"
)

// BenchmarkPollTCP is one poll of 60 registers over loopback, with decoding.
func BenchmarkPollTCP(b *testing.B) {
	var ch []string
	for i := range 60 {
		ch = append(ch, fmt.Sprintf("c%d %d scale = 0.1", i, 100+i))
	}
	link := newTCP(b, tcpServer(b, func(n int, c io.ReadWriteCloser, req []byte) { c.Write(goodTCP(req)) }))
	d, _ := device(b, link, "", ch...)
	clock := sensors.NewClock()
	out := make([]sensors.Reading, 0, 60)
	b.ReportAllocs()
	for b.Loop() {
		rs, err := d.Poll(context.Background(), clock.Now, out)
		if err != nil || !rs[59].Quality.Usable() {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadRTU is one read of 125 registers on a pty without pacing.
func BenchmarkReadRTU(b *testing.B) {
	link := newRTU(b, rtuServer(b, func(n int, c io.ReadWriteCloser, req []byte) { c.Write(goodRTU(req)) }))
	r := holding(100, 125)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := link.Read(context.Background(), r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
}
