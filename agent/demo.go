package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	iofs "io/fs"
	"log/slog"

	"firebreak/agent/demo"
)

func runDemo(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("firebreak demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	o := demo.Options{Out: stdout}
	fs.StringVar(&o.Scenario, "scenario", demo.DefaultScenario, "what happens")
	fs.Float64Var(&o.Speed, "speed", demo.DefaultSpeed, "simulated seconds in one real second, 1 to 120")
	fs.BoolVar(&o.Headless, "headless", false, "print lines instead of a live picture")
	fs.BoolVar(&o.JSON, "json", false, "headless, and the last line is the result as JSON")
	verbose := fs.Bool("v", false, "log to standard error")
	if !parseFlags(fs, args, stderr) {
		return 2
	}
	o.Headless = o.Headless || o.JSON || !terminal(stdout)
	if *verbose {
		o.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, stop := signals()
	defer stop()
	err := demo.Run(ctx, o)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "firebreak demo: %v\n", err)
	if errors.Is(err, demo.ErrTooLate) || ctx.Err() != nil {
		return 1
	}
	return 2
}

// terminal tells whether w is one, so that a pipe gets lines and not pictures.
func terminal(w io.Writer) bool {
	f, ok := w.(interface{ Stat() (iofs.FileInfo, error) })
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&iofs.ModeCharDevice != 0
}
