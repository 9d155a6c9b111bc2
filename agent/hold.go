package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"firebreak/agent/app"
)

// holdEvery is how often a hold is renewed: it lapses 5 s after the last renewal (S16).
const holdEvery = 2 * time.Second

// hold keeps a plan on hold until it is interrupted, then releases it. It ends with the agent, with
// the hold time of the run, and with its own death: nobody else renews.
func hold(args []string, stdout, stderr io.Writer) int {
	r, path, ok := orderFlags("hold", takes{what: "PLAN"}, args, stderr, nil)
	if !ok {
		return 2
	}
	c, _, code := load(path, stderr)
	if code != 0 {
		return code
	}
	ctx, stop := signals()
	defer stop()
	return keepHold(ctx, r.Name, stdout, stderr, func(order string) error {
		_, err := app.Ask(c.Control, app.Request{Order: order, Name: r.Name, By: r.By})
		return err
	})
}

func keepHold(ctx context.Context, name string, stdout, stderr io.Writer, send func(order string) error) int {
	tick := time.NewTicker(holdEvery)
	defer tick.Stop()
	for told := false; ; told = true {
		if err := send("hold"); err != nil {
			fmt.Fprintf(stderr, "firebreak: plan %s is not held: %v\n", name, err)
			return 1
		}
		if !told {
			fmt.Fprintf(stdout, "plan %s is held; interrupt to release it\n", name)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err := send("release"); err != nil {
				fmt.Fprintf(stderr, "firebreak: plan %s is not released, the hold lapses 5 s after its last renewal: %v\n", name, err)
				return 1
			}
			return 0
		}
	}
}
