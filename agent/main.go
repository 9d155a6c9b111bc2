// Command firebreak runs on the controller of a battery room: it reads its sensors, judges whether
// a hazard develops, runs the staged response, and tells.
//
// This package holds subcommands, flags and signals, and nothing else. Exit codes: 0 done, 1 a
// fault in what was given or a demo that failed, 2 usage or a file that cannot be read.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/agent/response"
	"firebreak/plugins/hooks/exec/shim"
	"firebreak/plugins/service"
	"firebreak/plugins/telegraf/companion"
)

const defaultConfig = "/etc/firebreak/firebreak.toml"

const usage = `firebreak watches a battery room and gets the load out before the power is cut for it.

  firebreak run   -c FILE              run the agent
  firebreak check -c FILE              check a configuration: faults, worst cases, single failures
            --writes                   every write that can ever be sent to a device
            --against RUNNING          say in what it protects later, less or more weakly
            --peer FILE                of another agent: what both drive; may be given again
  firebreak demo  [--scenario NAME] [--speed N] [--headless] [--json]
                                       a simulated room catches fire; watch the racks leave
  firebreak replay SCENARIO|RECORDING [--config FILE] [--map FILE] [--json]
                                       what happened, or was recorded, through the same core in seconds
  firebreak status -c FILE             alarms and plans of the running agent
  firebreak outstanding -c FILE        what was done and is not taken back
  firebreak bundle PLAN/NUMBER|last -c FILE [-o FILE.tar.gz]
                                       one archive of an episode: readings, alarms, votes, steps
  firebreak watch [PATTERN ...] -c FILE [--once]
                                       the points of the agent at this box, anew each second
  firebreak console -c FILE [--listen 127.0.0.1:8642]
                                       the same, plans and alarms as a page for a browser; read-only
  firebreak watch --broker URL --trusted FILE [--json]
                                       follow agents over their brokers: verified, gaps and silence told
  firebreak key new|show|trust|rotate FILE
                                       keys that messages are signed with, and whose are trusted
  firebreak acl mosquitto|nats --trusted FILE
                                       an access list for a broker: each may what its role needs
  firebreak hub -c FILE                serve a site: an MQTT broker that knows who is who
            history [--since TIME]     what a running one has heard, alarms and plans
  firebreak telegraf -c FILE [--signal]
                                       the sensors of FILE as an external input of a stock Telegraf
  firebreak version

Tools, for the engineer on the ladder; they read only (function codes 1 to 4 and 43), and say what they will do:

  scan modbus tcp://HOST|rtu:///dev/ttyUSB0 [--units 1-247] [--baud 9600,19200] [--plan] [--toml]
                                       which units answer, at which setting, and which profile fits
  scan i2c /dev/i2c-1 [--chip tmp117@0x48]
                                       which addresses answer, and what may stand there
  scan nut nut://HOST [--starttls] [--ca FILE] [--toml]
                                       the UPSes behind an upsd, what they say of themselves, and which profile fits
  probe TARGET --unit N --at 0x2100    registers under every type and word order, and what they may be
  doctor bus TARGET --unit N [--profile NAME]
                                       a second master, A and B swapped, two units on one number, bad
                                       termination, a gateway with one client taken
  bus record TARGET --unit N --profile NAME -o FILE | replay FILE --profile NAME
                                       keep what a unit answers; decode it again. It is a test of the profile
                                       too, and sim --session serves it
  bus set-address TARGET --profile NAME --from N --to M
                                       the one that writes: a unit's number, one unit on the line, confirmed
  sim PROFILE [--listen 127.0.0.1:1502 | --line] [--set POINT=VALUE]
                                       any profile as a Modbus device, on TCP or on a pseudo-terminal
  commission [PATTERN ...] -c FILE --by NAME [--sheet acceptance.md]
                                       walk through the points that vote: each is seen to move, alone and in
                                       the right sense, and proven; writes the acceptance sheet
  import LIST.csv                      buses and devices of many racks, as a configuration takes them
  profile list | show NAME | test [NAME|FILE.toml [CASES.txt ...]]
                                       what the known devices are, one of them whole, and its recorded cases

Orders, at the box; each with -c FILE and --by NAME:

  ack ALARM | shelve ALARM --for TIME [--once] | unshelve ALARM | reset-alarm ALARM
  trip PLAN --stage 2a|2b|3|4          open a stage by hand: over votes, countdown and hold
  hold PLAN                            stop countdowns and irreversible steps until interrupted, for
                                       max_hold at most; release PLAN ends any hold
  reset PLAN                           end an episode; then undo PLAN takes back what has an undo
  settle PLAN/STEP --reason TEXT       an outstanding action was reverted by hand, or is accepted
  arm PLAN | disarm PLAN --reason TEXT
  drill PLAN [--stage N] [--inject POINT=VALUE] [--json]
                                       exercise a plan, marked as a drill; end-drill PLAN ends it
  prove POINT | answered CONSUMER      what arming asks for: a point seen to move, a consumer that has
                                       its alarm
  learn INPUT                          take the baseline of a point, or of all of a device, in a room at
                                       rest, over the window of its detectors
  bypass INPUT --for TIME [--reason MEASURE] | end-bypass INPUT
  out-of-service POINT|ALARM | in-service POINT|ALARM
                                       a point: out of every vote; an alarm: not shown, and votes as before
  reload [--reason TEXT] [--force]     take the configuration file anew
  restart [--reason TEXT] [--force]    end in order and be started again, as after an upgrade
  energise HOOK --lockout-removed      switch something on again; a person's act, at stage 0

It is not a fire alarm or extinguishing system, and replaces none: on a fire alarm leave and call
the fire service; it does not call them.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == shim.Command {
		return shim.Main(args[1:]) // first of all: a hook waits for it
	}
	if len(args) > 0 && args[0] == companion.StartCommand {
		return companion.StartMain(args[1:])
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	cmd, args := args[0], args[1:]
	switch cmd {
	case "run":
		return runAgent(args, stderr)
	case "check":
		return check(args, stdout, stderr)
	case "demo":
		return runDemo(args, stdout, stderr)
	case "replay":
		return runReplay(args, stdout, stderr)
	case "status":
		return status(args, stdout, stderr)
	case "hold":
		return hold(args, stdout, stderr)
	case "bundle":
		return bundle(args, stdout, stderr)
	case "outstanding":
		return outstanding(args, stdout, stderr)
	case "drill":
		return runDrill(args, stdout, stderr)
	case "watch":
		return watch(args, stdout, stderr)
	case "acl":
		return acl(args, stdout, stderr)
	case "console":
		return serveConsole(args, stderr)
	case "hub":
		return serveHub(args, stdout, stderr)
	case "key":
		return key(args, stdout, stderr)
	case "scan":
		return scan(args, stdout, stderr)
	case "probe":
		return probe(args, stdout, stderr)
	case "sim":
		return simulate(args, stdout, stderr)
	case "doctor":
		return doctor(args, stdout, stderr)
	case "bus":
		return busCmd(args, os.Stdin, stdout, stderr)
	case "commission":
		return commissionCmd(args, os.Stdin, stdout, stderr)
	case "import":
		return importCmd(args, stdout, stderr)
	case "profile":
		return profileCmd(args, stdout, stderr)
	case "telegraf":
		return runTelegraf(args, os.Stdin, stdout, stderr)
	case "version":
		fmt.Fprintln(stdout, app.Version())
		return 0
	case "help", "-h", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	if f, ok := orders[cmd]; ok {
		return order(cmd, f, args, stdout, stderr)
	}
	fmt.Fprintf(stderr, "firebreak: unknown command %q: firebreak help lists all\n", cmd)
	return 2
}

// load reads the configuration that -c names, and prints its faults.
func load(path string, stderr io.Writer) (*config.Config, []byte, int) {
	data, ok := readConfig(path, "firebreak: ", stderr)
	if !ok {
		return nil, nil, 2
	}
	c, faults := config.Parse(path, data, app.Kinds())
	for _, f := range faults {
		fmt.Fprintln(stderr, f)
	}
	if len(faults) > 0 {
		return nil, nil, 1
	}
	return c, data, 0
}

// readConfig reads the file that -c names, or says what to do; mark begins the line.
func readConfig(path, mark string, stderr io.Writer) ([]byte, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		next := "-c FILE says which"
		if errors.Is(err, fs.ErrPermission) {
			next = "its user may, and root: sudo -u firebreak firebreak ..."
		}
		fmt.Fprintf(stderr, "%scannot read the configuration: %v: %s\n", mark, err, next)
	}
	return data, err == nil
}

func flags(name string, stderr io.Writer) (*flag.FlagSet, *string) {
	fs := flag.NewFlagSet("firebreak "+name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	return fs, fs.String("c", defaultConfig, "configuration `FILE`")
}

func runAgent(args []string, stderr io.Writer) int {
	fs, path := flags("run", stderr)
	verbose := fs.Bool("v", false, "log in detail")
	if !parseFlags(fs, args, stderr) {
		return 2
	}
	c, data, code := load(*path, stderr)
	if code != 0 {
		return code
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	lines := service.NewLogWriter(stderr)
	defer lines.Close()
	log := slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: level}))
	ctx, stop := signals()
	defer stop()
	defer hangups(log)()
	if err := app.Run(ctx, app.Options{Config: c, Source: data, Log: log, Alone: true}); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 1
	}
	return 0
}

// signals ends the context at the first SIGINT or SIGTERM, and the process at the second.
func signals() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ch
		cancel()
		<-ch
		os.Exit(1)
	}()
	return ctx, cancel
}

// hangups keeps SIGHUP from ending the agent: a terminal that closes, or somebody who thinks that it reloads, would
// take the protection away in the middle of what it does.
func hangups(log *slog.Logger) (stop func()) {
	ch, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(ch, syscall.SIGHUP)
	go func() {
		defer close(ended)
		for range ch {
			log.Warn("SIGHUP changes nothing: firebreak reload --by NAME takes the configuration anew")
		}
	}()
	return func() {
		signal.Stop(ch)
		close(ch)
		<-ended
	}
}

func check(args []string, stdout, stderr io.Writer) int {
	fs, path := flags("check", stderr)
	writes := fs.Bool("writes", false, "print every write that can ever be sent to a device, and nothing else")
	against := fs.String("against", "", "`FILE` that runs: say in what the new one protects later, less or more weakly")
	var peers []string
	fs.Func("peer", "`FILE` of another agent of the site: find what both drive; may be given again", func(s string) error {
		peers = append(peers, s)
		return nil
	})
	if !parseFlags(fs, args, stderr) {
		return 2
	}
	c, _, code := load(*path, stderr)
	if code == 0 {
		code = checkPeers(c, peers, stderr)
	}
	if code != 0 {
		return code
	}
	if *writes {
		if err := config.Writes(stdout, c); err != nil {
			fmt.Fprintf(stderr, "firebreak: %v\n", err)
			return 2
		}
		return 0
	}
	if *against != "" {
		return compare(*against, c, stdout, stderr)
	}
	if err := config.Report(stdout, c); err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	return 0
}

// checkPeers holds the configurations of several agents to each other, each to each (S13).
func checkPeers(c *config.Config, files []string, stderr io.Writer) int {
	all, worst := []*config.Config{c}, 0
	for _, f := range files {
		o, _, code := load(f, stderr)
		if code != 0 {
			return code
		}
		for _, one := range all {
			for _, fault := range config.Peers(one, o) {
				fmt.Fprintln(stderr, fault)
				worst = 1
			}
		}
		all = append(all, o)
	}
	return worst
}

// compare prints the difference of protection (S24). It is 0 also where something is weaker: whether
// that is meant, a person decides.
func compare(running string, c *config.Config, stdout, stderr io.Writer) int {
	old, _, code := load(running, stderr)
	if code != 0 {
		return code
	}
	lines := config.Weaker(old, c)
	for _, l := range lines {
		fmt.Fprintln(stdout, l)
	}
	if len(lines) == 0 {
		fmt.Fprintf(stdout, "%s protects no later, by no fewer means and no more weakly than %s\n", c.File, old.File)
	}
	return 0
}

func ask(path string, r app.Request, stderr io.Writer) (app.Answer, int) {
	c, _, code := load(path, stderr)
	if code != 0 {
		return app.Answer{}, code
	}
	a, err := app.Ask(c.Control, r)
	if err != nil {
		var refused *response.Refusal
		if !errors.As(err, &refused) || len(refused.Reasons) == 1 {
			fmt.Fprintf(stderr, "firebreak: %v\n", err)
			return a, 1
		}
		fmt.Fprintln(stderr, "firebreak: refused:")
		for _, why := range refused.Reasons {
			fmt.Fprintf(stderr, "  %s\n", why)
		}
		return a, 1
	}
	return a, 0
}
