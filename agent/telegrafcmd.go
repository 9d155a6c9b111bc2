package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/plugins"
	"firebreak/plugins/service"
	"firebreak/plugins/telegraf/schema"
	"firebreak/sensors"
)

// runTelegraf is an external plugin of a stock Telegraf, for its inputs.execd: readings as line protocol on
// standard output, log lines with Telegraf's marks on standard error, and the end of standard input as its
// own end.
func runTelegraf(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("firebreak telegraf", flag.ContinueOnError)
	fs.SetOutput(stderr)
	path := fs.String("c", defaultConfig, "`FILE` with buses and devices; plans are not needed, and not run")
	signal := fs.Bool("signal", false, `write at each line of standard input (signal = "STDIN"), not at each poll`)
	if !parseFlags(fs, args, stderr) {
		return 2
	}
	data, ok := readConfig(*path, "E! ", stderr)
	if !ok {
		return 2
	}
	c, faults := config.ParseSensors(*path, data, app.Kinds())
	for _, f := range faults {
		fmt.Fprintf(stderr, "E! %s\n", f)
	}
	if len(faults) > 0 {
		return 1
	}
	lines := service.NewLogWriter(stderr)
	defer lines.Close()
	ctx, stop := signals()
	defer stop()
	h := c.Rules.Hazard
	t := &tap{schema: schema.New(c.Site, c.Zone, c.Agent, h.Devices, h.Points), out: stdout, held: *signal, stop: stop}
	go t.obey(stdin)
	if err := app.ReadSensors(ctx, c, slog.New(newMarked(lines)), t.put); err != nil {
		fmt.Fprintf(stderr, "E! %v\n", err)
		return 1
	}
	return 0
}

// tap writes readings, at once or when it is told to. A reading is written once, with its own time.
type tap struct {
	schema *schema.Schema
	out    io.Writer
	stop   context.CancelFunc

	mu   sync.Mutex
	held bool
	wait []sensors.Batch // the newest of each device and part
	buf  []byte
}

// put takes a batch.
func (t *tap) put(b sensors.Batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.held {
		if i := slices.IndexFunc(t.wait, func(o sensors.Batch) bool { return o.Device == b.Device && o.Part == b.Part }); i >= 0 {
			t.wait = slices.Delete(t.wait, i, i+1)
		}
		t.wait = append(t.wait, b)
		return
	}
	t.write(b)
}

// obey writes what waits at each line, and ends at the end.
func (t *tap) obey(in io.Reader) {
	defer t.stop()
	for r := bufio.NewReader(in); ; {
		if _, err := r.ReadSlice('\n'); err != nil && err != bufio.ErrBufferFull {
			return
		}
		t.mu.Lock()
		for _, b := range t.wait {
			t.write(b)
		}
		t.wait = nil
		t.mu.Unlock()
	}
}

func (t *tap) write(b sensors.Batch) {
	t.buf = t.buf[:0]
	ms := t.schema.Metrics(plugins.Update{Wall: b.Wall, State: &b})
	for i := range ms {
		if out, err := ms[i].Append(t.buf); err == nil {
			t.buf = append(out, '\n')
		}
	}
	if _, err := t.out.Write(t.buf); err != nil {
		t.stop() // nobody reads any more
	}
}

// newMarked is a log in the form that Telegraf takes levels from: "W! text key=value".
func newMarked(w io.Writer) slog.Handler {
	return slog.NewTextHandler(&marker{w}, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}})
}

// marker puts the mark of its level before each line.
type marker struct{ w io.Writer }

func (m *marker) Write(line []byte) (int, error) {
	mark := "I! "
	for level, s := range map[string]string{"ERROR": "E! ", "WARN": "W! ", "DEBUG": "D! "} {
		if bytes.HasPrefix(line, []byte("level="+level+" ")) {
			mark = s
		}
	}
	_, rest, _ := bytes.Cut(line, []byte(" "))
	if _, err := m.w.Write(append([]byte(mark), rest...)); err != nil {
		return 0, err
	}
	return len(line), nil
}
