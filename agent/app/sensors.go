package app

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"firebreak/agent/config"
	"firebreak/sensors"
	"firebreak/sensors/bus"
)

// ReadSensors polls the devices of a configuration, judges nothing and does nothing, until ctx ends. put gets
// the newest batch of each device; it may wait, and no bus waits for it.
func ReadSensors(ctx context.Context, c *config.Config, log *slog.Logger, put func(sensors.Batch)) error {
	clock := sensors.NewClock()
	loads := &busLoads{}
	buses, err := buildBuses(c, clock, sensors.Real, openAdapter, 0, loads, certTime(time.Time{}), log)
	if err != nil {
		return err
	}
	inbox := bus.NewLatest(len(c.Devices))
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, b := range buses {
		wg.Go(func() { _ = runBus(b, inbox.Put, loads, log)(ctx) }) // it has logged its error
	}
	var batches []sensors.Batch
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-inbox.Ready():
			batches = inbox.Take(batches[:0])
			for _, b := range batches {
				put(b)
			}
		}
	}
}
