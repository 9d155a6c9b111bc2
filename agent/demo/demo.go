// Package demo runs the main job in front of a person: a simulated battery room behind real
// sockets, a real serial line and an I2C bus, the same agent that `firebreak run` starts, hooks
// that are real processes, and an MQTT broker on loopback. It runs the scenario twice at once: with
// firebreak's sensors, and with those of 2022.
//
// Concurrency: Run blocks until the scenario has ended or its context has; what it starts it ends
// and waits for. Failure: whatever cannot be started is an error that says what; a room that was
// not left in time is a result, not an error.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"firebreak/agent/hub"
	"firebreak/sensors/sim"
)

// Options of a demo.
type Options struct {
	Scenario string
	Speed    float64 // simulated seconds in one real second
	Headless bool    // lines instead of a live picture
	JSON     bool    // the last line on Out is the result as JSON
	Out      io.Writer
	Log      *slog.Logger
}

// Speed limits: at 120 a poll of 1 s has 8 ms of real time.
const (
	DefaultSpeed    = 60
	DefaultScenario = "pangyo-2022"
	maxSpeed        = 120
	afterEnd        = time.Minute // of simulated time, after power loss and last step
	longest         = time.Hour   // of simulated time: then it ends whatever has happened
)

// ErrTooLate says that the room was not left before the power was lost.
var ErrTooLate = errors.New("the racks were not left before the power was lost")

// Run plays the scenario and reports. It returns ErrTooLate if the evacuation was not done in time.
func Run(ctx context.Context, o Options) error {
	sc, err := sim.Find(o.Scenario)
	if err != nil {
		return err
	}
	if sc.NoSpark {
		return fmt.Errorf("scenario %q has no fire: there is nothing to show", sc.Name)
	}
	if !(o.Speed >= 1 && o.Speed <= maxSpeed) {
		return fmt.Errorf("speed %v: use 1 to %d", o.Speed, maxSpeed)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	base := tmpfs()
	sweepKilled(base, time.Minute)
	dir, unlock, err := workDir(base)
	if err != nil {
		return err
	}
	defer unlock()
	defer os.RemoveAll(dir)
	broker, err := hub.Start(filepath.Join(dir, "broker"))
	if err != nil {
		return err
	}
	defer broker.Close()

	old, err := newRun(ctx, o, sc, "sensors-2022", "sensors2022.toml.tmpl", filepath.Join(dir, "2022"), broker.URL(), 10*time.Minute)
	if err != nil {
		return fmt.Errorf("the room with the sensors of 2022: %w", err)
	}
	defer old.close()
	now, err := newRun(ctx, o, sc, "firebreak", "firebreak.toml.tmpl", filepath.Join(dir, "now"), broker.URL(), time.Second)
	if err != nil {
		return fmt.Errorf("the room with firebreak's sensors: %w", err)
	}
	defer now.close()

	err = watch(ctx, o, now, old)
	if err := errors.Join(now.close(), old.close()); err != nil {
		o.Log.Warn("the demo did not end cleanly", "err", err)
	}
	if err != nil {
		return err
	}
	res := result(o, now, old)
	printTimeline(o.Out, sc, res, now, old)
	if o.JSON {
		if err := printJSON(o.Out, res); err != nil {
			return err
		}
	}
	if !res.Evacuated {
		return ErrTooLate
	}
	return nil
}

// tmpfs is where run directories belong: in memory, if the system has such a place.
func tmpfs() string {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// watch shows the run until one simulated minute after the first loss of power or the last step,
// whichever is later.
func watch(ctx context.Context, o Options, now, old *run) error {
	s := newScreen(o, now)
	defer s.close()
	t := time.NewTicker(s.every())
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-now.died:
			return fmt.Errorf("the agent has ended: %w", err)
		case err := <-old.died:
			return fmt.Errorf("the agent with the sensors of 2022 has ended: %w", err)
		case <-t.C:
			s.draw()
			if now.over() || now.sinceSpark() > longest {
				return nil
			}
		}
	}
}
