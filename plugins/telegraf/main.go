//go:build telegraf

// Command firebreak-telegraf is the companion that hosts Telegraf plugins for firebreak, which starts it,
// feeds it, limits it and ends it. It is a process of its own because a plugin may hang, panic in a
// goroutine, leak or flood: then the points that it brings go bad, and nothing else changes.
//
// Frames of package pipe come on standard input and go to file 3; standard output and error are a log. It
// reads one Setup, answers Hello, and works until Quit or the end of its input.
//
// Concurrency: one goroutine for each input's gathers, each processor, each aggregator and each output's
// writes; one that reads frames and one that writes them. Inputs wait for a full chain of processors, as in
// Telegraf; outputs and the way to the agent drop their oldest. Failure: what cannot be built or hangs for
// too long is told in a Fatal frame, and the process ends; there is nothing in it that must be saved.
package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"firebreak/plugins/telegraf/pipe"

	"github.com/influxdata/telegraf/logger"
	"github.com/influxdata/telegraf/plugins/aggregators"
	"github.com/influxdata/telegraf/plugins/inputs"
	"github.com/influxdata/telegraf/plugins/outputs"
	"github.com/influxdata/telegraf/plugins/parsers"
	"github.com/influxdata/telegraf/plugins/processors"
	"github.com/influxdata/telegraf/plugins/secretstores"
	"github.com/influxdata/telegraf/plugins/serializers"
)

const usage = `firebreak-telegraf hosts Telegraf plugins for firebreak, which starts it by itself.

  firebreak-telegraf plugins    what is built in
  firebreak-telegraf version    of Telegraf
`

func main() {
	if len(os.Args) == 1 {
		os.Exit(serveAgent())
	}
	switch os.Args[1] {
	case "plugins":
		list(os.Stdout)
	case "version":
		fmt.Println(telegrafVersion())
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
}

// serveAgent serves the agent that has started this process.
func serveAgent() int {
	const frames = 3
	syscall.CloseOnExec(frames)
	if err := syscall.Dup3(2, 1, 0); err != nil { // a plugin that prints is logged
		return 2
	}
	out := os.NewFile(frames, "frames")
	if err := logger.SetupLogging(&logger.Config{LogFormat: "text"}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	return serve(context.Background(), os.Stdin, out)
}

// serve reads the Setup, and works until Quit or the end of in.
func serve(ctx context.Context, in io.Reader, out io.Writer) int {
	w := newSpeaker(out)
	r := pipe.NewReader(in)
	fail := func(err error) int {
		w.fatal(err)
		return 1
	}
	kind, body, err := r.Next()
	if err != nil || kind != pipe.SetupKind {
		fmt.Fprintf(os.Stderr, "%s\nno setup came: %v\n", usage, err)
		return 2
	}
	setup, err := pipe.Decode[pipe.Setup](body)
	switch {
	case err != nil:
		return fail(fmt.Errorf("the setup cannot be read: %w", err))
	case setup.V != pipe.Version:
		return fail(fmt.Errorf("the agent speaks version %d of the pipe, this companion %d: install both from one build", setup.V, pipe.Version))
	}
	h, err := newHost(setup, w)
	if err != nil {
		return fail(err)
	}
	return h.run(ctx, r)
}

// list prints what is built in, by name of the registry.
func list(w io.Writer) {
	for _, s := range []struct {
		kind  string
		names []string
	}{
		{"inputs", sorted(inputs.Inputs)}, {"outputs", sorted(outputs.Outputs)}, {"processors", sorted(processors.Processors)},
		{"aggregators", sorted(aggregators.Aggregators)}, {"parsers", sorted(parsers.Parsers)}, {"serializers", sorted(serializers.Serializers)}, {"secretstores", sorted(secretstores.SecretStores)},
	} {
		fmt.Fprintf(w, "%-24s%s\n", s.kind, strings.Join(s.names, " "))
	}
}

// telegrafVersion is that of the module that is linked.
func telegrafVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == "github.com/influxdata/telegraf" {
				return d.Version
			}
		}
	}
	return "unknown"
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
