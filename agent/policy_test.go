package main

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// floors gives each package its floor; a package imports lower ones only. Packages on one floor
// are peers: none knows another, so that any of them can be taken out or replaced.
var floors = map[string]int{
	"sensors": 0, // what everybody speaks of; standard library only
	"plugins": 1, // contracts of hooks and publishers; sees sensors
	"configs": 0, // data files and their embedding

	"plugins/reread":        1, // files that may be replaced, or hang
	"plugins/service":       1, // the service manager and the log, for agent and helper
	"sensors/profile":       1,
	"plugins/telegraf/line": 0, // line protocol; standard library only
	"plugins/telegraf/pipe": 1, // what agent and companion say to each other
	"agent/hazard":          1,
	"agent/journal":         1,
	"agent/latency":         0, // histograms of durations
	"agent/near":            0, // which name was meant
	"agent/wire":            2, // sees plugins
	"agent/wire/secret":     0, // files of keys and passwords
	"agent/wire/session":    1,
	"agent/consumer":        3, // public: what a failover system imports
	"agent/wire/brokertest": 1, // for tests
	"agent/journal/faultfs": 2, // for tests: the journal's files with faults

	"sensors/sim/room":  1, // the parts of the simulation
	"sensors/sim/hall":  1,
	"sensors/sim/vrla":  1,
	"sensors/sim/slave": 1,
	"sensors/sim/chips": 1,
	"sensors/sim/pty":   1,
	"sensors/sim":       2,
	"sensors/modbus":    2,
	"sensors/gpio":      2,
	"sensors/i2c":       2,
	"sensors/nut":       2,
	"sensors/snmp":      2,
	"agent/response":    2,

	"sensors/bus":           3,
	"plugins/hooks/exec":    3,
	"plugins/hooks/modbus":  3,
	"plugins/hooks/mqtt":    3,
	"plugins/hooks/webhook": 3,
	"plugins/hooks/nut":     3,
	"agent/core":            3,

	"plugins/telegraf/mapping":   3, // what inputs bring to readings
	"plugins/telegraf/schema":    3, // what is told to metrics
	"plugins/telegraf/companion": 3, // the agent's side: start, feed, limit, end
	"plugins/telegraf/rig":       4, // for tests of it
	"plugins/telegraf":           4, // package main of the companion, the fourth binary

	"plugins/hooks/exec/frame":  2, // what the exec hook and the helper say to each other
	"plugins/hooks/exec/helper": 4, // package main of the helper, the second binary

	"plugins/hooks/exec/shim":            2, // what stands above each command
	"plugins/hooks/exec/shim/standalone": 4, // package main of it alone, the third binary

	"agent/guard":   4,
	"agent/uplink":  4,
	"agent/history": 4, // the log of readings; on the journal's interface of files
	"agent/hub":     4,
	"agent/console": 4, // a page for a browser; knows of the agent what it is told
	"agent/metrics": 4, // for Prometheus

	"agent/config":     5,
	"agent/drill":      5,
	"agent/tools":      5, // what an engineer uses beside the agent, which does not import it
	"agent/app":        6,
	"agent/replay":     6, // reads configurations; the app does not know it
	"agent/commission": 7, // asks the app as a person does
	"agent/demo":       7, // runs the app
	"agent":            8, // package main: commands, flags and signals
	"agent/e2e":        9, // tests of the built binary alone
	"agent/e2e/board":  9, // its first process on an emulated board
}

func TestFloors(t *testing.T) {
	dirs := packages(t)
	for _, d := range dirs {
		if _, ok := floors[d]; !ok {
			t.Errorf("package %s has no floor: give it one here", d)
		}
	}
	for d := range floors {
		if !slices.Contains(dirs, d) {
			t.Errorf("the floor of %s is that of a package that does not exist: take it out", d)
		}
	}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, i := range s.imports() {
			if to, ours := strings.CutPrefix(i, module); ours && floors[to] >= floors[s.dir] {
				t.Errorf("%s on floor %d imports %s on floor %d: a package imports lower floors only", s.path, floors[s.dir], to, floors[to])
			}
		}
	}
}

// ban keeps an import (and what lies below it) out of all packages, or out of those under in, but
// for the allowed ones.
type ban struct {
	what   string   // import path; "std" names nothing outside the standard library and this module
	in     []string // folders, with all below them; empty: everywhere
	except []string // packages that may, in tests and elsewhere
	tests  bool     // tests may, anywhere
	exact  bool     // not what lies below the path
	reason string
}

var bans = []ban{
	{what: "github.com/goburrow/modbus", except: []string{"sensors/modbus"},
		reason: "its transports take a late reply for the next one's and have no context: only its codec is used, on our own transports"},
	{what: "periph.io/x/conn/v3", except: []string{"sensors/i2c", "sensors/sim/chips", "agent/app", "agent/demo"},
		reason: "its calls have no deadline; chip drivers take its bus interface, and app and demo name its type only to hand in who opens an adapter"},
	{what: "github.com/warthog618/go-gpiocdev", except: []string{"sensors/gpio"},
		reason: "it can drive lines: one package asks for inputs only"},
	{what: "github.com/gosnmp/gosnmp", except: []string{"sensors/snmp"},
		reason: "it takes a request id of zero for any, and can write: one package asks, and looks at who answers"},
	{what: "github.com/eclipse/paho.mqtt.golang", except: []string{"agent/wire/session"},
		reason: "its defaults report deliveries that never happened; one package sets it up honestly"},
	{what: "github.com/nats-io/nats-server/v2", except: []string{"agent/hub"}, tests: true,
		reason: "a broker in the process belongs to the demo and the hub, never to the way from sensor to hook"},
	{what: "github.com/pelletier/go-toml/v2", except: []string{"agent/config", "sensors/profile"}, tests: true,
		reason: "files are read in two places, each strict and with positions; nobody else parses"},
	{what: "golang.org/x/sys/unix", except: []string{"sensors/gpio", "sensors/i2c", "sensors/modbus", "sensors/sim/pty", "plugins/hooks/exec", "plugins/hooks/exec/frame", "plugins/hooks/exec/helper", "plugins/hooks/exec/shim", "plugins/hooks/webhook", "plugins/telegraf/companion", "agent/app", "agent/wire/session", "agent/e2e/board"}, tests: true,
		reason: "system calls stay at the edges"},
	{what: "github.com/influxdata/telegraf", except: []string{"plugins/telegraf"},
		reason: "its plugins may hang, panic, leak and flood: they run in a process of their own, and are in no other"},
	{what: "firebreak/plugins/telegraf/companion", except: []string{"agent/app", "agent", "plugins/telegraf", "plugins/telegraf/rig"}, tests: true,
		reason: "app starts it; main answers for the start that limits it"},
	{what: "firebreak/plugins/telegraf/pipe", in: []string{"agent"}, except: []string{"agent/app"}, tests: true,
		reason: "only the app joins the companion to the loop"},
	{what: "github.com/twmb/franz-go", except: []string{}, tests: true,
		reason: "a fake broker and a consumer, by which tests see what outputs.kafka writes"},
	{what: "go.opentelemetry.io/collector/pdata", except: []string{}, tests: true,
		reason: "the service that tests see outputs.opentelemetry write to"},
	{what: "google.golang.org/grpc", except: []string{}, tests: true,
		reason: "it carries that service"},
	{what: "pgregory.net/rapid", except: []string{}, tests: true,
		reason: "a test library"},
	{what: "github.com/santhosh-tekuri/jsonschema/v6", except: []string{}, tests: true,
		reason: "it holds messages to the schemas in tests; the agent reads what it takes by its own types"},
	{what: "github.com/standard-webhooks/standard-webhooks/libraries", except: []string{}, tests: true,
		reason: "it says in tests that a target would accept what the webhook signs"},
	{what: "firebreak/agent/wire/secret", except: []string{"agent/uplink", "agent/consumer", "agent/wire", "agent/wire/session", "agent/config", "agent/app"}, tests: true,
		reason: "keys and passwords are read where they are used"},
	{what: "firebreak/agent/wire", exact: true, except: []string{"agent/uplink", "agent/hub", "agent/app", "agent/consumer", "agent/demo", "agent"}, tests: true,
		reason: "the way from sensor to hook never passes through MQTT (S11); app hands sessions to the hook that commands by it, and the demo plays its consumer"},
	{what: "firebreak/agent/wire/session", except: []string{"agent/uplink", "agent/app", "agent/consumer", "agent/demo", "agent"}, tests: true,
		reason: "a session is held by who tells, by the app for the hook that commands, and by consumers, the one of the demo too"},
	{what: "firebreak/agent/consumer", except: []string{"agent", "agent/uplink", "agent/app"}, tests: true,
		reason: "it is for those who listen: the agent does so to hear another one, and never needs it to act"},
	{what: "firebreak/agent/uplink", except: []string{"agent/app", "agent"}, tests: true,
		reason: "telling hangs off the loop as a publisher: nobody but the app knows who tells; main prints how it stands"},
	{what: "firebreak/agent/history", except: []string{"agent/app"},
		reason: "what remembers readings hangs off the loop as a publisher: only the app writes it and reads it back"},
	{what: "firebreak/agent/hub", except: []string{"agent/demo", "agent/app"}, tests: true,
		reason: "the agent runs with any broker or none"},
	{what: "firebreak/agent/console", except: []string{"agent"}, tests: true,
		reason: "a browser, its server and their faults are in no process with the safety path: the command alone runs it"},
	{what: "firebreak/agent", in: []string{"sensors", "plugins"},
		reason: "sensors and hooks are used without the agent too, and never see core or response"},
	{what: "firebreak/plugins", in: []string{"sensors", "configs"}, tests: true,
		reason: "a sensor knows of no hook"},
	{what: "firebreak/sensors/sim", except: []string{"sensors/sim", "agent/demo", "agent/replay", "agent/tools"}, tests: true,
		reason: "nothing simulated is in the path of a real room (S7); firebreak sim is a tool of its own, which no agent imports"},
	{what: "firebreak/agent/tools", except: []string{"agent"}, tests: true,
		reason: "what an engineer uses beside the agent is not in it"},
	{what: "firebreak/sensors/bus", in: []string{"agent"}, except: []string{"agent/app", "agent/config"}, tests: true,
		reason: "only the app joins buses to the loop; the configuration takes from it the bounds that its worst cases add up"},
	{what: "firebreak/plugins/hooks", except: []string{"agent/app", "agent"}, tests: true,
		reason: "app holds the only list of concrete hooks; main answers for the shim that the exec hook starts"},
	{what: "firebreak/agent/journal/faultfs", except: []string{}, tests: true,
		reason: "a file system with faults is for tests"},
	{what: "firebreak/agent/wire/brokertest", except: []string{}, tests: true,
		reason: "a broker with faults is for tests"},
	{what: "testing", except: []string{"agent/wire/brokertest", "plugins/telegraf/rig"}, tests: true,
		reason: "its flags would become the agent's"},
	{what: "log", exact: true, except: []string{}, tests: true,
		reason: "logs go to the slog.Logger that was handed in"},
	{what: "plugin", except: []string{},
		reason: "one static binary"},
	{what: "firebreak/agent", in: []string{"plugins/hooks/exec/helper"}, tests: true,
		reason: "the helper runs as root: it is as small as it can be"},
	{what: "std", in: []string{"sensors"}, except: below("sensors"),
		reason: "the contract that everybody imports depends on nothing"},
	{what: "std", in: []string{"agent/hazard", "agent/response", "agent/core", "agent/journal", "agent/wire"}, except: []string{"agent/wire/session"}, tests: true,
		reason: "what decides and what remembers depends on nothing that we have not written"},
}

// below are the packages under a folder, without itself.
func below(dir string) []string {
	var out []string
	for p := range floors {
		if strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	return out
}

func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func (b *ban) hits(s *source, imp string) bool {
	if b.tests && s.test || len(b.in) > 0 && !slices.ContainsFunc(b.in, func(d string) bool { return under(s.dir, d) }) || slices.Contains(b.except, s.dir) {
		return false
	}
	if b.what == "std" {
		first, _, _ := strings.Cut(imp, "/")
		return strings.Contains(first, ".")
	}
	if b.exact {
		return imp == b.what
	}
	// A package may import what lies below itself: the ban is on others.
	return under(imp, b.what) && !under(module+s.dir, b.what)
}

func TestImports(t *testing.T) {
	used := map[string][]string{} // import path -> folders
	for _, s := range sources(t) {
		for _, i := range s.imports() {
			used[i] = append(used[i], s.dir)
			for n := range bans {
				if bans[n].hits(s, i) {
					t.Errorf("%s imports %s: %s", s.path, i, bans[n].reason)
				}
			}
		}
	}
	dirs := packages(t)
	for _, b := range bans {
		if b.reason == "" {
			t.Errorf("the ban of %s has no reason", b.what)
		}
		for _, e := range append(slices.Clone(b.except), b.in...) {
			if !slices.Contains(dirs, e) && !slices.ContainsFunc(dirs, func(d string) bool { return under(d, e) }) {
				t.Errorf("the ban of %s names %s, which does not exist", b.what, e)
			}
		}
		if strings.Contains(b.what, ".") || strings.HasPrefix(b.what, module) {
			if !slices.ContainsFunc(slices.Collect(keys(used)), func(i string) bool { return under(i, b.what) }) {
				t.Errorf("the ban of %s is dead: nobody imports it any more", b.what)
			}
			for _, e := range b.except {
				if !slices.ContainsFunc(slices.Collect(keys(used)), func(i string) bool { return under(i, b.what) && slices.Contains(used[i], e) }) {
					t.Errorf("the ban of %s has an exception for %s, which does not use it", b.what, e)
				}
			}
		}
	}
	for i := range used { // a new dependency is a decision
		first, _, _ := strings.Cut(i, "/")
		if strings.Contains(first, ".") && !slices.ContainsFunc(bans, func(b ban) bool { return under(i, b.what) }) {
			t.Errorf("%s is imported by %v and no rule here says who may and why", i, used[i])
		}
	}
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// pure are the rooms that decide. They are functions of their inputs, so that the demo, a replay,
// a crash test and the real loop come to the same decision; nothing in them can block.
var pure = []string{"agent/hazard", "agent/response", "agent/core", "sensors/sim/room", "sensors/sim/hall", "sensors/sim/vrla"}

// pureStd is what they may import of the standard library.
var pureStd = []string{"cmp", "encoding/json", "errors", "fmt", "hash/fnv", "maps", "math", "math/bits", "math/rand/v2", "slices", "sort", "strconv", "strings", "time"}

// impure are the functions of those packages that wait, read a clock, write or draw at random.
var impure = map[string][]string{
	"time": {"Now", "Sleep", "Since", "Until", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"fmt":  {"Print", "Println", "Printf", "Scan", "Scanln", "Scanf"},
	"rand": {"Int", "IntN", "Float64", "Uint64", "Perm", "Shuffle", "NormFloat64", "N"},
}

func TestPureRooms(t *testing.T) {
	for _, dir := range pure {
		found := false
		for _, s := range sources(t) {
			if s.dir == dir && !s.test {
				found = true
				checkPure(t, s)
			}
		}
		if !found {
			t.Errorf("%s is said to be pure and does not exist", dir)
		}
	}
}

func checkPure(t *testing.T, s *source) {
	for _, i := range s.imports() {
		if !strings.HasPrefix(i, module) && !slices.Contains(pureStd, i) {
			t.Errorf("%s imports %s: what decides imports nothing that can block", s.path, i)
		}
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt, *ast.SelectStmt, *ast.ChanType, *ast.SendStmt:
			t.Errorf("%s: no goroutine and no channel in what decides", s.at(n))
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				t.Errorf("%s: no channel in what decides", s.at(n))
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(impure[x.Name], n.Sel.Name) {
				t.Errorf("%s: %s.%s in what decides: time comes in as an argument, and nothing goes out but effects", s.at(n), x.Name, n.Sel.Name)
			}
		}
		return true
	})
}
