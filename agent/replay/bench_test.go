package replay

import (
	"io"
	"testing"

	"firebreak/agent/app"
)

// BenchmarkScenario replays a day of a room whose physics is a model, and a year of one that is quiet. It reports
// the readings per second and how much faster than life it is.
func BenchmarkScenario(b *testing.B) {
	for _, name := range []string{"maintenance-day", "quiet-year"} {
		b.Run(name, func(b *testing.B) {
			var readings int
			var seconds float64
			for b.Loop() {
				r, err := Run(b.Context(), Options{What: name, Kinds: app.Kinds(), Out: io.Discard})
				if err != nil {
					b.Fatal(err)
				}
				readings, seconds = readings+r.Readings, seconds+r.SimulateS
			}
			b.ReportMetric(float64(readings)/b.Elapsed().Seconds(), "readings/s")
			b.ReportMetric(86400/(seconds/b.Elapsed().Seconds()), "s/day")
		})
	}
}
