package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/agent/console"
	"firebreak/plugins/service"
)

// serveConsole serves the page of the agent at this box, until it is told to end.
func serveConsole(args []string, stderr io.Writer) int {
	fs, path := flags("console", stderr)
	listen := fs.String("listen", "127.0.0.1:8642", "`ADDRESS` of this machine alone")
	if fs.Parse(args) != nil || fs.NArg() > 0 {
		return 2
	}
	address, err := console.Address(*listen)
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	c, _, code := load(*path, stderr)
	if code != 0 {
		return code
	}
	ctx, stop := signals()
	defer stop()
	if err := runConsole(ctx, c, *path, address, stderr, nil); err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 1
	}
	return 0
}

// runConsole asks the agent of c at its control socket, as `firebreak status` and `firebreak watch` do. ready is for who waits
// until browsers can come; nil: nobody.
func runConsole(ctx context.Context, c *config.Config, file, address string, stderr io.Writer, ready func(net.Addr)) error {
	lines := service.NewLogWriter(stderr)
	defer lines.Close()
	log := slog.New(slog.NewTextHandler(lines, nil))
	who := console.Who{Site: c.Site, Zone: c.Zone, Agent: c.Agent}
	if file != defaultConfig {
		if abs, err := filepath.Abs(file); err == nil {
			who.File = abs
		}
	}
	note := service.NewNotifier()
	defer note.Send("STOPPING=1")
	page := console.New(console.Config{Who: who, Words: isNot, Log: log, Ask: func(ctx context.Context) (*console.Answer, error) { return consoleAsk(ctx, c.Control) }})
	return page.Run(ctx, address, func(at net.Addr) {
		log.Info("the console serves", "url", "http://"+at.String()+"/", "asks", c.Control)
		note.Send("READY=1")
		if ready != nil {
			ready(at)
		}
	})
}

// consoleAsk puts two questions, one after the other, so that it holds one of the control socket's places at most.
func consoleAsk(ctx context.Context, control string) (*console.Answer, error) {
	s, err := app.AskUntil(ctx, control, app.Request{Order: "status"})
	if err != nil {
		return nil, err
	}
	p, err := app.AskUntil(ctx, control, app.Request{Order: "points"})
	if err != nil {
		return nil, err
	}
	if s.Status == nil {
		return nil, fmt.Errorf("what answers on %s is no agent: its status is empty", control)
	}
	out := &console.Answer{Plans: s.Status.Plans, Alarms: s.Status.Alarms, Buses: map[string]console.Bus{}, Points: make([]console.Point, len(p.Points))}
	for name, b := range s.Status.Buses {
		out.Buses[name] = console.Bus{Utilisation: b.Utilisation, Missed: b.Missed, Failures: b.Failures, Silent: b.Silent, Stuck: b.Stuck}
	}
	for i := range p.Points {
		q := &p.Points[i]
		out.Points[i] = console.Point{Name: q.Name, Unit: q.Unit, Kind: q.Kind, Value: q.Value, Quality: q.Quality, Usable: q.Usable, Stale: q.Stale, Votes: q.Votes, AgeMs: q.AgeMs}
	}
	var told bytes.Buffer
	printTelling(&told, &s.Status.Telling)
	for l := range strings.Lines(told.String()) {
		if l = strings.TrimSpace(l); !strings.Contains(l, ": connected, ") {
			out.Telling = append(out.Telling, l)
		}
	}
	return out, nil
}
