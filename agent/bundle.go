package main

import (
	"fmt"
	"io"
	"time"

	"firebreak/agent/app"
)

// aroundEpisode is what a bundle holds before the start of an episode, and after its end.
const aroundEpisode = 10 * time.Minute

// bundle writes an archive of one episode. It asks the running agent for nothing but its status, and
// works without one: on what a killed agent has left, or on a copy of its disk (--journal).
func bundle(args []string, stdout, stderr io.Writer) int {
	fs, path := flags("bundle", stderr)
	out := fs.String("o", "", "archive to write, `FILE.tar.gz`; default: firebreak-PLAN-NUMBER.tar.gz here")
	before := fs.Duration("before", aroundEpisode, "readings so long before the start of the episode")
	after := fs.Duration("after", aroundEpisode, "readings so long after its end")
	dir := fs.String("journal", "", "journal `DIRECTORY`, in place of the configuration's: a copy from another machine")
	var names []string
	if !parse(fs, args, &names) || len(names) != 1 || *before < 0 || *after < 0 {
		fmt.Fprintln(stderr, "usage: firebreak bundle PLAN/NUMBER|NUMBER|last -c FILE [-o FILE.tar.gz] [--before TIME] [--after TIME] [--journal DIRECTORY]")
		return 2
	}
	o := app.BundleOptions{Episode: names[0], Journal: *dir, Out: *out, Before: *before, After: *after, Now: time.Now()}
	if *dir == "" {
		c, source, code := load(*path, stderr)
		if code != 0 {
			return code
		}
		o.Config, o.Source, o.Journal = c, source, c.Journal
	}
	ctx, stop := signals()
	defer stop()
	made, missing, err := app.Bundle(ctx, o)
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 1
	}
	for _, line := range missing {
		fmt.Fprintf(stderr, "missing: %s\n", line)
	}
	fmt.Fprintln(stdout, made)
	return 0
}
