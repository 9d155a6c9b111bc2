package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/plugins/service"
)

// serveHub serves a site's broker, or prints what a running one has heard.
func serveHub(args []string, stdout, stderr io.Writer) int {
	history := len(args) > 0 && args[0] == "history"
	if history {
		args = args[1:]
	}
	fs := flag.NewFlagSet("firebreak hub", flag.ContinueOnError)
	fs.SetOutput(stderr)
	path := fs.String("c", defaultConfig, "configuration `FILE` with a [hub]")
	verbose, since := new(bool), new(time.Duration)
	if history {
		fs.DurationVar(since, "since", 24*time.Hour, "what has come in the last `TIME`, oldest first")
	} else {
		fs.BoolVar(verbose, "v", false, "log in detail")
	}
	if !parseFlags(fs, args, stderr) {
		return 2
	}
	data, ok := readConfig(*path, "firebreak: ", stderr)
	if !ok {
		return 2
	}
	c, faults := config.ParseHub(*path, data, app.Kinds())
	for _, f := range faults {
		fmt.Fprintln(stderr, f)
	}
	var err error
	switch {
	case len(faults) > 0:
		return 1
	case history:
		err = app.HubHistory(c, time.Now().Add(-*since), stdout)
	default:
		ctx, stop := signals()
		defer stop()
		err = runHub(ctx, c, *verbose, stderr)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 1
	}
	return 0
}

func runHub(ctx context.Context, c *config.Hub, verbose bool, stderr io.Writer) error {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	lines := service.NewLogWriter(stderr)
	defer lines.Close()
	return app.RunHub(ctx, c, slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level})), nil)
}
