// Command firebreak-helper runs the actions of its own list for the firebreak agent, and nothing
// else. The agent runs without rights and can only name an action; program, arguments, user and
// limits stand in a file that root alone can write. Each action is the child of a shim, firebreak-shim or
// this program started again, so that the end of the helper neither ends nor doubles an action (S10).
//
// Concurrency: each connection has a goroutine of its own and asks once; the keys are guarded by
// their locks in the run directory, also against another helper. Failure: a list with a fault keeps
// new actions from being started, and no running or ended one from being told; whatever the helper
// does not know it does not say, and the agent asks again under the same key.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"firebreak/plugins/hooks/exec/shim"
	"firebreak/plugins/service"
)

const (
	defaultList = "/etc/firebreak/actions.toml"
	defaultRun  = "/run/firebreak-helper"
)

const usage = `firebreak-helper runs the actions of its own list for the firebreak agent.

  firebreak-helper run   -c FILE [-run DIR] -allow USER[,USER] [-group GROUP]
                         serve the users; on the socket that the service manager hands over, or on
                         helper.sock in DIR, for GROUP
  firebreak-helper check -c FILE
                         faults of a list; exit 0, 1 (faults), 2 (unreadable)
  firebreak-helper version
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == shim.Command {
		return shim.Main(args[1:]) // first of all: an action waits for it
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "run":
		return serve(args[1:], stderr)
	case "check":
		return check(args[1:], stdout, stderr)
	case "version":
		fmt.Fprintln(stdout, version())
		return 0
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "firebreak-helper: unknown command %q\n\n%s", args[0], usage)
	return 2
}

// version is the commit that was built.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}

// check prints what is wrong with a list, and on this machine with what it names.
func check(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("firebreak-helper check", flag.ContinueOnError)
	fs.SetOutput(stderr)
	file := fs.String("c", defaultList, "list of actions, `FILE`")
	if fs.Parse(args) != nil || fs.NArg() > 0 {
		return 2
	}
	if f, err := os.Open(*file); err != nil {
		fmt.Fprintf(stderr, "firebreak-helper: cannot read the list: %v\n", err)
		return 2
	} else {
		f.Close()
	}
	l, faults, err := load(*file, true) // as the unit runs it
	if l != nil {
		for name, a := range l.actions {
			for _, err := range a.fit() {
				faults = append(faults, fault{*file, l.places[name], fmt.Sprintf("action %q: %v", name, err)})
			}
		}
		slices.SortFunc(faults, func(a, b fault) int { return a.at.line - b.at.line })
	} else if len(faults) == 0 {
		faults = []fault{{*file, pos{}, err.Error()}}
	}
	for _, f := range faults {
		fmt.Fprintln(stderr, f)
	}
	if len(faults) > 0 {
		return 1
	}
	for _, name := range l.names() {
		a := l.actions[name]
		fmt.Fprintf(stdout, "%s: %s as %s, ended after %v\n", name, strings.Join(append([]string{a.program}, a.args...), " "), a.as.name, a.maxTimeout)
	}
	return 0
}

// serve runs the helper until SIGTERM. It needs no order to end: whatever it has started goes on.
func serve(args []string, stderr io.Writer) int {
	fs := flag.NewFlagSet("firebreak-helper run", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var o options
	fs.StringVar(&o.file, "c", defaultList, "list of actions, `FILE`")
	fs.StringVar(&o.dir, "run", defaultRun, "run directory `DIR`, on tmpfs")
	allow := fs.String("allow", "", "`USERS` that may ask, by name or number, with commas between")
	fs.StringVar(&o.group, "group", "", "`GROUP` that may connect, if the helper makes its own socket")
	if fs.Parse(args) != nil || fs.NArg() > 0 {
		return 2
	}
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // a log that nobody reads any more ends nothing
	lines := service.NewLogWriter(stderr)
	defer lines.Close()
	o.log = slog.New(slog.NewTextHandler(lines, nil))
	err := o.users(*allow)
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		err = o.run(ctx)
	}
	if err != nil {
		o.log.Error("the helper ends: actions cannot be started until it runs again", "err", err)
		return 1
	}
	return 0
}

// users resolves who may ask.
func (o *options) users(allow string) error {
	for _, name := range strings.Split(allow, ",") {
		if name == "" {
			return errors.New("-allow names nobody: give the agent's user, such as -allow firebreak")
		}
		u, err := lookup(name)
		if err != nil {
			return fmt.Errorf("-allow: user %q is not known on this machine: %w", name, err)
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return fmt.Errorf("-allow: user %q: %w", name, err)
		}
		o.allow = append(o.allow, uint32(uid))
	}
	return nil
}
