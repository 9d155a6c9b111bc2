package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"firebreak/agent/app"
)

// watchLocal shows the points of the agent at the box, anew each second.
func watchLocal(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var patterns []string
	fs, file := flags("watch", stderr)
	once := fs.Bool("once", false, "show them once")
	every := fs.Duration("every", time.Second, "pause between two looks")
	if !parse(fs, args, &patterns) || *every < 100*time.Millisecond || slices.ContainsFunc(patterns, func(p string) bool { _, err := path.Match(p, ""); return err != nil }) {
		return wrongUse(stderr, "watch [POINT-PATTERN ...] -c FILE [--once], or watch --broker URL --trusted FILE")
	}
	c, _, code := load(*file, stderr)
	if code != 0 {
		return code
	}
	clear := ""
	if f, ok := stdout.(*os.File); ok {
		if fi, err := f.Stat(); err == nil && fi.Mode()&os.ModeCharDevice != 0 && !*once {
			clear = "\x1b[H\x1b[2J" // home, and an empty screen
		}
	}
	t := time.NewTicker(*every)
	defer t.Stop()
	for {
		a, err := app.Ask(c.Control, app.Request{Order: "points"})
		if err != nil && (*once || clear == "") {
			return told(err, stderr)
		}
		fmt.Fprint(stdout, clear)
		if err != nil {
			fmt.Fprintf(stdout, "%s  NO ANSWER: %v\n", time.Now().Format(time.TimeOnly), err)
		} else {
			printPoints(stdout, a.Points, patterns)
		}
		if *once {
			return 0
		}
		select {
		case <-ctx.Done():
			return 0
		case <-t.C:
		}
	}
}

func printPoints(w io.Writer, points []app.PointState, patterns []string) {
	slices.SortFunc(points, func(a, b app.PointState) int { return cmp.Compare(a.Name, b.Name) })
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tVALUE\tUNIT\tQUALITY\tAGE\tVOTES\n", time.Now().Format(time.TimeOnly))
	bad, shown := 0, 0
	for i := range points {
		p := &points[i]
		if !p.Usable || p.Stale {
			bad++
		}
		if !matches(p.Name, patterns) {
			continue
		}
		shown++
		value, quality, votes := "-", p.Quality, ""
		if p.Usable {
			value = fmt.Sprintf("%.6g", p.Value)
		}
		if p.Stale {
			quality += ", TOO OLD"
		}
		if p.Votes {
			votes = "yes"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, value, p.Unit, quality, (time.Duration(p.AgeMs) * time.Millisecond).Round(100*time.Millisecond), votes)
	}
	fmt.Fprintf(t, "%d of %d points shown; %d of all cannot be used\n", shown, len(points), bad)
	_ = t.Flush() // a closed pipe ends the program
}

func matches(name string, patterns []string) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { ok, _ := path.Match(p, name); return ok || strings.HasPrefix(name, p+".") })
}
