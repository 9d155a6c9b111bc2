package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/replay"
)

// runReplay runs a scenario or a recording through the core in simulated time.
func runReplay(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("firebreak replay", flag.ContinueOnError)
	fs.SetOutput(stderr)
	o := replay.Options{Kinds: app.Kinds(), Out: stdout, Errs: stderr}
	fs.StringVar(&o.Config, "config", "", "configuration `FILE` in place of the scenario's own; a recording needs one")
	fs.StringVar(&o.Config, "c", "", "the same")
	fs.StringVar(&o.Map, "map", "", "`FILE` that says which column of a recording is which point")
	fs.BoolVar(&o.JSON, "json", false, "one JSON object a line; the last is the result")
	var what []string
	if !parse(fs, args, &what) {
		return 2
	}
	if len(what) != 1 {
		fmt.Fprintf(stderr, "usage: firebreak replay SCENARIO|RECORDING [--config FILE] [--map FILE] [--json]\nscenarios: %s\n", strings.Join(replay.Names(), ", "))
		return 2
	}
	o.What = what[0]
	ctx, stop := signals()
	defer stop()
	begin := time.Now()
	r, err := replay.Run(ctx, o)
	if r != nil {
		took := time.Since(begin).Seconds()
		fmt.Fprintf(stderr, "replayed in %.2f s: %.0f readings/s, %.0f times as fast as it happened\n", took, float64(r.Readings)/took, r.SimulateS/took)
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, replay.ErrRefused) || r != nil:
		fmt.Fprintf(stderr, "firebreak replay: %v\n", err)
		return 1
	}
	fmt.Fprintf(stderr, "firebreak replay: %v\n", err)
	return 2
}
