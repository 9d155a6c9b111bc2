package app

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/guard"
	"firebreak/agent/journal"
	"firebreak/plugins"
	"firebreak/plugins/telegraf/companion"
	"firebreak/sensors"
	"firebreak/sensors/bus"
)

// firing is the way from a reading to what hooks start, with nothing in it that is not the product's:
// core, guard, a journal on the disk, the hook of one kind, and at its far end the thing that it starts.
type firing struct {
	t       testing.TB
	clock   *sensors.Clock
	inbox   *bus.Latest
	point   sensors.Point
	fallen  chan struct{}
	arrived chan arrival  // what was started, and when
	gate    chan struct{} // those whose step begins with h wait for it
	steps   []string
	guard   *guard.Guard
	config  *config.Config
	self    string       // the program that is started again as the shim of a command
	sync    atomic.Int64 // ns that the disk took to make things durable
	syncs   atomic.Int64 // how often it was asked
	script  bool         // what an exec hook starts is one
	tele    atomic.Pointer[companion.Companion]
}

type arrival struct {
	step string
	at   time.Time
}

// kindsOfStart are the ends: each gives the rest of the hook's table, and the broker's URL if it has one.
var kindsOfStart = map[string]func(*firing) (hook, broker string){
	"exec": (*firing).helper, "shell": (*firing).shell, "command": (*firing).command, "webhook": (*firing).target, "mqtt": (*firing).consumer,
}

// newFiring runs a guard whose plan has the steps. Those whose name begins with h hang until released.
func newFiring(t testing.TB, kind string, steps ...string) *firing {
	t.Helper()
	f := &firing{t: t, clock: sensors.NewClock(), fallen: make(chan struct{}, 1), arrived: make(chan arrival, 4*len(steps)),
		gate: make(chan struct{}), steps: steps}
	var s struct {
		Hook, Broker string
		Steps        []string
	}
	s.Hook, s.Broker = kindsOfStart[kind](f)
	s.Steps = steps
	if s.Broker == "" {
		s.Broker = "mqtt://127.0.0.1:1"
	}
	var text strings.Builder
	if err := template.Must(template.ParseFiles("testdata/start.toml.tmpl")).Execute(&text, s); err != nil {
		t.Fatal(err)
	}
	c, faults := config.Parse("start.toml", []byte(text.String()), Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	f.run(c)
	return f
}

func (f *firing) run(c *config.Config) {
	f.t.Helper()
	f.point, _ = points(c)("duct-1.smoke.alarm")
	f.inbox = bus.NewLatest(len(c.Devices))
	hooks, err := buildHooks(c, &devicesByName{}, f.self, memory(f.t), time.Now, discard())
	if err != nil {
		f.t.Fatal(err)
	}
	rec, err := guard.Recover(c.Rules, nil, nil, f.clock.Now(), "boot", false, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	g, err := guard.New(guard.Config{Core: rec.Core, Clock: f.clock, Resume: rec.Resume, Journal: f.journal(), Boot: guard.Boot{ID: "boot", Epoch: 1},
		Hooks: hooks, Publishers: []plugins.Publisher{f}, Inbox: f.inbox, Starting: f.starting})
	if err != nil {
		f.t.Fatal(err)
	}
	f.guard, f.config = g, c
	if r, ok := hooks[0].(plugins.Runner); ok {
		runHook(f.t, r, func(plugins.Evidence) {})
	}
	works(f.t, hooks[0]) // as the audit at a start does
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	f.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
		standDown(hooks...)
	})
	f.say(false)
}

// starting is what the agent gives its loop, for whichever companion there is.
func (f *firing) starting() {
	if still := starting(f.tele.Load()); still != nil {
		still()
	}
}

// Offer hears when an episode is over.
func (f *firing) Offer(u plugins.Update) {
	if u.Event != nil && u.Event.Type == "stage.fallen" {
		f.fallen <- struct{}{}
	}
}

func (f *firing) say(smoke bool) {
	v := 0.0
	if smoke {
		v = 1
	}
	f.inbox.Put(sensors.Batch{Device: f.point.Device, Wall: time.Now(),
		Readings: []sensors.Reading{{Point: f.point.ID, Value: v, Quality: sensors.GoodQuality, At: f.clock.Now()}}})
}

// fire makes smoke and waits until every step has been started, while those that hang do. It tells how
// long after the reading each was, and how long the disk has worked meanwhile. Then all is at rest again.
func (f *firing) fire() (took []time.Duration, disk spent) {
	f.t.Helper()
	f.sync.Store(0)
	f.syncs.Store(0)
	begin := time.Now()
	f.say(true)
	late := time.After(time.Minute)
	seen := map[string]bool{}
	for len(seen) < len(f.steps) {
		select {
		case a := <-f.arrived:
			if !seen[a.step] { // a command may be sent again
				if seen[a.step] = true; len(seen) == 1 {
					disk = spent{time.Duration(f.sync.Load()), f.syncs.Load()}
				}
				took = append(took, a.at.Sub(begin))
			}
		case <-late:
			f.t.Fatalf("%d of %d steps were started", len(seen), len(f.steps))
		}
	}
	for _, s := range f.steps {
		if strings.HasPrefix(s, "h") {
			f.gate <- struct{}{}
		}
	}
	f.say(false)
	select {
	case <-f.fallen:
	case <-late:
		f.t.Fatal("the stage does not fall")
	}
	slices.Sort(took)
	return took, disk
}

// came notes a start. It is called by the far end.
func (f *firing) came(step string) { f.arrived <- arrival{step, time.Now()} }

// journal is one on the disk, whose syncs are timed.
func (f *firing) journal() guard.Journal {
	d, err := journal.OS(filepath.Join(f.t.TempDir(), "journal"))
	if err != nil {
		f.t.Fatal(err)
	}
	j, _, err := journal.Open(context.Background(), timedFS{d, f}, journal.Options{})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() {
		_ = j.Close(context.Background())
		_ = d.Close()
	})
	return j
}

// spent is what the disk took, and in how many syncs.
type spent struct {
	took  time.Duration
	syncs int64
}

// timedFS adds up what the syncs of its files take.
type timedFS struct {
	journal.FS
	of *firing
}

func (t timedFS) Open(name string, create bool) (journal.File, error) {
	f, err := t.FS.Open(name, create)
	return timedFile{f, t.of}, err
}

type timedFile struct {
	journal.File
	of *firing
}

func (t timedFile) Sync() error {
	begin := time.Now()
	err := t.File.Sync()
	t.of.sync.Add(int64(time.Since(begin)))
	t.of.syncs.Add(1)
	return err
}

// manySteps names n steps, of which some hang.
func manySteps(n, hung int) (steps []string) {
	for i := range n {
		name := fmt.Sprintf("s%03d", i)
		if i < hung {
			name = fmt.Sprintf("h%03d", i)
		}
		steps = append(steps, name)
	}
	return steps
}

// Of 200 steps that are due at once every one is started, whatever its kind, while some of them hang:
// the hung ones are let go only when the last has been seen at its target. That all start within 500 ms
// is BenchmarkTwoHundredDueAtOnce.
func TestHungHooksChangeNoOther(t *testing.T) {
	for _, kind := range []string{"exec", "command", "webhook", "mqtt"} {
		t.Run(kind, func(t *testing.T) {
			f := newFiring(t, kind, manySteps(200, 7)...)
			took, _ := f.fire()
			t.Logf("the last of %d started after %v", len(took), took[len(took)-1])
		})
	}
}

// BenchmarkDecisionToStart is the time from a reading in the mailbox to what its hook starts: judged,
// decided, journaled with fsync on the disk, asked for, and seen where it starts: as the command's first
// act, in the target's handler, at the consumer behind the broker. The bounds are 10 ms at the p99 of
// exec and 5 ms of the others. What the disk took of it is shown apart, and beside all what any program takes here.
func BenchmarkDecisionToStart(b *testing.B) {
	for _, kind := range []string{"exec", "shell", "command", "webhook", "mqtt"} {
		b.Run(kind, func(b *testing.B) { decisionToStart(b, kind, 0) })
		b.Run(kind+"-after-a-pause", func(b *testing.B) { decisionToStart(b, kind, 20*time.Millisecond) })
	}
	for _, kind := range []string{"floor", "floor-shell"} {
		b.Run(kind, func(b *testing.B) { floorOfStart(b, kind, 0) })
		b.Run(kind+"-after-a-pause", func(b *testing.B) { floorOfStart(b, kind, 20*time.Millisecond) })
	}
}

// floorOfStart is what this machine takes of any exec, in the same run: a program that judges nothing, keeps one
// small record with one sync, and starts the same program with no process of its own between.
func floorOfStart(b *testing.B, kind string, pause time.Duration) {
	f := &firing{t: b, arrived: make(chan arrival, 4), gate: make(chan struct{}), script: kind == "floor-shell"}
	argv := f.program()
	file, err := os.Create(filepath.Join(b.TempDir(), "record"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	var total, disk, rest []time.Duration
	for b.Loop() {
		if pause > 0 {
			<-time.After(pause)
		}
		begin := time.Now()
		if _, err := file.Write(make([]byte, 600)); err != nil {
			b.Fatal(err)
		}
		synced := time.Now()
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			b.Fatal(err)
		}
		d := time.Since(synced)
		cmd := osexec.Command(argv[0], argv[1:]...)
		cmd.Env = []string{"FIREBREAK_STEP=s000"}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		took := (<-f.arrived).at.Sub(begin)
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		total, disk, rest = append(total, took), append(disk, d), append(rest, took-d)
	}
	reportStart(b, total, disk, rest)
}

func decisionToStart(b *testing.B, kind string, pause time.Duration) {
	f := newFiring(b, kind, "s000")
	var total, disk, rest []time.Duration
	syncs := int64(0)
	for b.Loop() {
		if pause > 0 { // the processors go to sleep meanwhile, as in a building they do
			<-time.After(pause)
		}
		took, d := f.fire()
		total, disk, rest = append(total, took[0]), append(disk, d.took), append(rest, took[0]-d.took)
		syncs += d.syncs
	}
	reportStart(b, total, disk, rest)
	b.ReportMetric(float64(syncs)/float64(len(total)), "syncs")
}

func reportStart(b *testing.B, total, disk, rest []time.Duration) {
	quantiles(b, total)
	for what, d := range map[string][]time.Duration{"fsync": disk, "rest": rest} {
		slices.Sort(d)
		b.ReportMetric(d[len(d)/2].Seconds()*1e3, what+"-p50-ms")
		b.ReportMetric(d[len(d)*99/100].Seconds()*1e3, what+"-p99-ms")
	}
	b.ReportMetric(0, "ns/op") // of a whole episode: says nothing
}

// BenchmarkTwoHundredDueAtOnce is the time from a reading to the start of the last of 200 steps, none of
// which waits for another, while 7 of them hang. The bound is 500 ms from the first to the last.
func BenchmarkTwoHundredDueAtOnce(b *testing.B) {
	for _, kind := range []string{"exec", "command", "webhook", "mqtt"} {
		b.Run(kind, func(b *testing.B) {
			f := newFiring(b, kind, manySteps(200, 7)...)
			var first, last, spread []time.Duration
			for b.Loop() {
				took, _ := f.fire()
				n := len(took) - 1
				first, last, spread = append(first, took[0]), append(last, took[n]), append(spread, took[n]-took[0])
			}
			for what, d := range map[string][]time.Duration{"first": first, "last": last, "spread": spread} {
				slices.Sort(d)
				b.ReportMetric(d[len(d)/2].Seconds()*1e3, what+"-p50-ms")
				b.ReportMetric(d[len(d)-1].Seconds()*1e3, what+"-max-ms")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
