package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/commission"
)

// commissionCmd walks a person through the points and writes the acceptance sheet (S23).
func commissionCmd(args []string, in io.Reader, stdout, stderr io.Writer) int {
	const how = "commission [POINT-PATTERN ...] -c FILE --by NAME [--sheet FILE.md]"
	w := commission.Walk{Out: stdout}
	fs, file := flags("commission", stderr)
	fs.StringVar(&w.By, "by", "", "`NAME` of the person who sees the points move")
	fs.DurationVar(&w.Rest, "rest", 5*time.Second, "how long each point is seen at rest first")
	fs.DurationVar(&w.Patience, "patience", 3*time.Minute, "how long a point is waited for")
	name := fs.String("sheet", "acceptance.md", "`FILE` that the acceptance sheet is written to; one that is there is kept")
	if !parse(fs, args, &w.Only) || w.By == "" || w.Rest <= 0 || w.Patience <= 0 {
		return wrongUse(stderr, how)
	}
	c, _, code := load(*file, stderr)
	if code != 0 {
		return code
	}
	sheet, err := os.OpenFile(*name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: the sheet: %v: give another --sheet\n", err)
		return 2
	}
	defer sheet.Close()
	w.Ask = func(r app.Request) (app.Answer, error) { return app.Ask(c.Control, r) }
	ctx, stop := signals()
	defer stop()
	w.Lines = typedLines(ctx, in)
	results, err := w.Run(ctx)
	if results == nil {
		_ = os.Remove(*name) // nothing was looked at
		return told(err, stderr)
	}
	site := commission.Site{Site: c.Site, Zone: c.Zone, Agent: c.Agent, Hash: c.Rules.Hash, Version: app.Version(), Consumers: c.Rules.Consumers}
	if e := commission.Sheet(sheet, site, w.By, time.Now(), results); e != nil {
		return told(e, stderr)
	}
	fmt.Fprintf(stdout, "\nthe acceptance sheet is %s\n", *name)
	for _, r := range results {
		if !r.Proven {
			code = 1
		}
	}
	return max(code, told(err, stderr))
}

// typedLines gives what is typed, a line each. Its goroutine ends with the input or the context; one that waits for
// a terminal ends with the program.
func typedLines(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for sc := bufio.NewScanner(in); sc.Scan(); {
			select {
			case lines <- sc.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
