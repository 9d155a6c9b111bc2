package modbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// board is a device that is told what to do.
type board struct {
	mu    sync.Mutex
	on    bool
	sent  []string
	err   error
	mute  bool // acknowledges and shows nothing
	takes time.Duration
}

func (b *board) Command(ctx context.Context, device, command string) ([]sensors.Reading, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent = append(b.sent, device+" "+command)
	select {
	case <-time.After(b.takes):
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", sensors.ErrUnconfirmed, ctx.Err())
	}
	if b.err != nil {
		return nil, b.err
	}
	b.on = false
	if b.mute {
		return nil, nil
	}
	return []sensors.Reading{{Value: 0}}, nil
}

func (b *board) Inspect(context.Context, string, string) ([]sensors.Reading, bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, false, b.err
	}
	v := 0.0
	if b.on {
		v = 1
	}
	return []sensors.Reading{{Value: v}}, !b.on, nil
}

func config() Config {
	return Config{Targets: []Target{
		{Name: "rack-12", Device: "pdu-1", Command: "outlet-3-off", Direction: profile.Off, Does: "takes rack 12 off"},
		{Name: "bypass", Device: "ups-a", Command: "to-bypass", Undo: "from-bypass"},
		{Name: "feed-b", Device: "pdu-1", Command: "outlet-3-on", Direction: profile.On},
	}}
}

func call(target string, change ...func(*plugins.Call)) plugins.Call {
	c := plugins.Call{Key: plugins.Key{Plan: "evacuate", Zone: "b3", Stage: plugins.Shed, Step: "off", Episode: 7}, Target: target, Timeout: 5 * time.Second}
	for _, f := range change {
		f(&c)
	}
	return c
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		name  string
		board *board
		want  plugins.Result
		seen  bool
	}{
		{"read back", &board{on: true}, plugins.Done, true},
		{"acknowledged, nothing to read back", &board{on: true, mute: true}, plugins.Done, false},
		{"not sent", &board{err: fmt.Errorf("%w: the bus is full", sensors.ErrNotSent)}, plugins.Failed, false},
		{"refused", &board{err: fmt.Errorf("%w: illegal address", sensors.ErrRefused)}, plugins.Failed, false},
		{"the state does not come", &board{err: fmt.Errorf("%w: it shows 1", sensors.ErrUnconfirmed)}, plugins.Unknown, false},
		{"an error of no kind", &board{err: errors.New("odd")}, plugins.Unknown, false},
	} {
		h, err := New("off", config(), c.board)
		if err != nil {
			t.Fatal(err)
		}
		saw := false
		o := h.Do(t.Context(), call("rack-12"), func(e plugins.Evidence) { saw = e.OK && e.Name == plugins.SeenVerified })
		if o.Result != c.want || saw != c.seen || o.Detail == "" {
			t.Errorf("%s: %v (%s), verified %v; want %v, %v", c.name, o.Result, o.Detail, saw, c.want, c.seen)
		}
	}
}

// A known key attaches; one whose end is not known is tried again.
func TestOneKeyOneCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &board{on: true, takes: time.Second}
		h, err := New("off", config(), b)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				seen := ""
				if o := h.Do(t.Context(), call("rack-12"), func(ev plugins.Evidence) { seen += ev.Name }); o.Result != plugins.Done || seen != plugins.SeenVerified {
					t.Errorf("%v: %s, seen %q", o.Result, o.Detail, seen)
				}
			})
		}
		wg.Wait()
		if len(b.sent) != 1 {
			t.Errorf("sent %v", b.sent)
		}
		b.takes = time.Minute
		other := call("rack-12", func(c *plugins.Call) { c.Key.Episode = 8 })
		if o := h.Do(t.Context(), other, nil); o.Result != plugins.Unknown || o.Elapsed > 6*time.Second {
			t.Errorf("a command that hangs: %v after %v", o.Result, o.Elapsed)
		}
		b.takes = 0
		if o := h.Do(t.Context(), other, func(plugins.Evidence) {}); o.Result != plugins.Done || o.Attached {
			t.Errorf("the second try: %+v", o)
		}
	})
}

// S1: nothing but the order of an engineer switches on; S7: no drill writes; an undo sends the undo.
func TestWhatIsSent(t *testing.T) {
	energise := func(c *plugins.Call) {
		c.Key = plugins.Key{Plan: plugins.EnergisePlan, Zone: "b3", Step: "off", Episode: 1}
	}
	undo := func(c *plugins.Call) { c.Key.Undo = true }
	mark := func(m plugins.Mark) func(*plugins.Call) { return func(c *plugins.Call) { c.Mark = m } }
	for _, c := range []struct {
		name   string
		call   plugins.Call
		drill  string
		want   plugins.Result
		sent   string
		detail string
	}{
		{"off", call("rack-12"), "", plugins.Done, "pdu-1 outlet-3-off", "read back"},
		{"on by a step", call("feed-b"), "", plugins.Failed, "", "S1"},
		{"on by an undo", call("feed-b", undo), "", plugins.Failed, "", "no undo"},
		{"on by order", call("feed-b", energise), "", plugins.Done, "pdu-1 outlet-3-on", ""},
		{"undo", call("bypass", undo), "", plugins.Done, "ups-a from-bypass", ""},
		{"no undo", call("rack-12", undo), "", plugins.Failed, "", "by hand"},
		{"no such target", call("rack-13"), "", plugins.Failed, "", "rack-12, bypass, feed-b"},
		{"drill", call("rack-12", mark(plugins.MarkDrill)), "", plugins.Skipped, "", "no write"},
		{"drill, dry run", call("rack-12", mark(plugins.MarkDrill)), "dry-run", plugins.Skipped, "", "it reads 1 now"},
		{"dry", call("rack-12", mark(plugins.MarkDry)), "", plugins.Skipped, "", "takes rack 12 off"},
	} {
		b, cfg := &board{on: true}, config()
		cfg.Drill = c.drill
		h, err := New("off", cfg, b)
		if err != nil {
			t.Fatal(err)
		}
		o := h.Do(t.Context(), c.call, func(plugins.Evidence) {})
		if o.Result != c.want || strings.Join(b.sent, ",") != c.sent || !strings.Contains(o.Detail, c.detail) {
			t.Errorf("%s: %v (%s), sent %v; want %v, %q", c.name, o.Result, o.Detail, b.sent, c.want, c.sent)
		}
	}
}

func TestResolveAndValidate(t *testing.T) {
	find := func(device, command string) (*profile.Command, error) {
		switch command {
		case "on":
			return &profile.Command{Direction: profile.On}, nil
		case "off":
			return &profile.Command{Direction: profile.Off, Does: "off"}, nil
		}
		return nil, errors.New("no such command")
	}
	c := Config{Targets: []Target{{Name: "a", Device: "d", Command: "off"}, {Name: "b", Device: "d", Command: "nope"},
		{Name: "c", Device: "d", Command: "off", Undo: "on"}, {Name: "e", Device: "d", Command: "off", Undo: "off", Irreversible: true}, {Name: "f", Device: "d", Command: "on"}}}
	resolved, faults := c.Resolve(find)
	for i, want := range []string{"", "no such command", "S1", "one of the two", ""} {
		if got := fmt.Sprint(faults[i]); (faults[i] == nil) != (want == "") || !strings.Contains(got, want) && want != "" {
			t.Errorf("target %s: %s, want %q", c.Targets[i].Name, got, want)
		}
	}
	if tr, err := resolved.(Config).Traits("f"); err != nil || !tr.PowersOn {
		t.Errorf("%+v, %v: what switches on does not say so", tr, err)
	}
	if tr, err := resolved.(Config).Traits("a"); err != nil || tr.PowersOn {
		t.Errorf("%+v, %v", tr, err)
	}
	if _, err := resolved.(Config).Traits(""); err == nil {
		t.Error("five targets, and none is needed")
	}
	for what, bad := range map[string]Config{"no command": {}, "native": {Targets: c.Targets, Drill: "native"},
		"two commands": {Targets: []Target{c.Targets[0], c.Targets[0]}}, "needs name": {Targets: []Target{{Name: "x"}}}} {
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// hung is a board of which one device never answers.
type hung struct {
	board
	device string
}

func (h *hung) Inspect(ctx context.Context, device, command string) ([]sensors.Reading, bool, error) {
	if device == h.device {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	return h.board.Inspect(ctx, device, command)
}

// One that hangs uses up nobody else's time: the fault names it alone.
func TestProbeOfOneThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, err := New("off", config(), &hung{device: "ups-a"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		h.devices.(*hung).err = errors.New("no such outlet")
		err = h.Probe(ctx)
		if err == nil || strings.Count(err.Error(), "no such outlet") != 2 || strings.Count(err.Error(), "deadline") != 1 {
			t.Errorf("said: %v", err)
		}
	})
}

func TestProbe(t *testing.T) {
	h, err := New("off", config(), &board{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	h, _ = New("off", config(), &board{err: errors.New("no answer")})
	if err := h.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "outlet-3-off of pdu-1") {
		t.Errorf("a device that does not answer: %v", err)
	}
}
