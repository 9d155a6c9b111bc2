package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/app"
)

const drillLook = 500 * time.Millisecond

// runDrill starts a drill, waits for its end and prints the report: Markdown, or JSON. Interrupting it
// ends the drill. Exit 0: a good drill; 1: not.
func runDrill(args []string, stdout, stderr io.Writer) int {
	inject, asJSON, stage := map[string]float64{}, false, ""
	r, path, ok := orderFlags("drill", takes{what: "PLAN"}, args, stderr, func(fs *flag.FlagSet) {
		fs.StringVar(&stage, "stage", "", "`STAGE` to trip: 2a, 2b, 3 or 4")
		fs.BoolVar(&asJSON, "json", false, "print the report as JSON")
		fs.Func("inject", "`POINT=VALUE` that its sensor is made to say; may be repeated", func(s string) error {
			point, text, found := strings.Cut(s, "=")
			v, err := strconv.ParseFloat(text, 64)
			if !found || err != nil {
				return fmt.Errorf("%q is not POINT=VALUE", s)
			}
			inject[point] = v
			return nil
		})
	})
	if !ok {
		return 2
	}
	r.Stage, r.Inject = stage, inject
	c, _, code := load(path, stderr)
	if code != 0 {
		return code
	}
	if _, err := app.Ask(c.Control, r); err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 1
	}
	ctx, stop := signals()
	defer stop()
	tick := time.NewTicker(drillLook)
	defer tick.Stop()
	for ended := false; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if !ended {
				_, _ = app.Ask(c.Control, app.Request{Order: "end-drill", Name: r.Name, By: r.By}) // it may have ended by itself
				ended = true
			}
			<-tick.C
		}
		a, err := app.Ask(c.Control, app.Request{Order: "drill-report"})
		if err != nil {
			fmt.Fprintf(stderr, "firebreak: %v\n", err)
			return 1
		}
		if a.Drill == nil || a.Drill.Running {
			continue
		}
		if asJSON {
			b, err := json.MarshalIndent(a.Drill, "", "  ")
			if err != nil {
				fmt.Fprintf(stderr, "firebreak: %v\n", err)
				return 1
			}
			fmt.Fprintln(stdout, string(b))
		} else {
			fmt.Fprint(stdout, a.Drill.Markdown())
		}
		if !a.Drill.Good {
			return 1
		}
		return 0
	}
}
