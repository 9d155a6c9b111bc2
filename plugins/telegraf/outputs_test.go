//go:build telegraf

package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/rig"
	"firebreak/plugins/telegraf/schema"
	"firebreak/sensors"
)

// receiver is who an output writes to. While it fails it takes nothing.
type receiver interface {
	conf() string // of the output, without its buffer
	fail(bool)
}

// taken are the readings that a receiver has taken, each with its metric's time; what came twice is told by repeated.
type taken struct {
	mu   sync.Mutex
	at   map[int]int64
	more int
}

func (k *taken) take(value float64, ns int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at == nil {
		k.at = map[int]int64{}
	}
	if _, twice := k.at[int(value)]; twice {
		k.more++
	}
	k.at[int(value)] = ns
}

func (k *taken) values() map[int]int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.at)
}

const (
	outBatch  = 10
	outBuffer = 50
)

// bench is bin/firebreak-telegraf with one output for each receiver, a processor and an aggregator before them, and a
// file that has all.
type bench struct {
	*rig.Rig
	t    *testing.T
	all  string
	last int
	from time.Time
}

// newBench builds the companion as `make telegraf` does.
func newBench(t *testing.T, rs ...receiver) *bench {
	t.Helper()
	if out, err := exec.Command("make", "-C", "../..", "telegraf").CombinedOutput(); err != nil {
		t.Fatalf("make telegraf: %v\n%s", err, out)
	}
	binary, err := filepath.Abs("../../bin/firebreak-telegraf")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, all: filepath.Join(t.TempDir(), "all"), from: time.Now()}
	text := `
[agent]
omit_hostname = true
flush_interval = "100ms"
[[processors.rename]]
[[processors.rename.replace]]
field = "value"
dest  = "celsius"
[[aggregators.basicstats]]
period = "300ms"
grace = "1h"
stats = ["count"]
name_suffix = "_stats"
namepass = ["firebreak_reading"]
fieldinclude = ["celsius"]
[[outputs.file]]
files = ["` + b.all + `"]
`
	for _, r := range rs {
		text += r.conf() + fmt.Sprintf("namepass = [\"firebreak_reading\"]\nfieldinclude = [\"celsius\"]\nmetric_batch_size = %d\nmetric_buffer_limit = %d\n", outBatch, outBuffer)
	}
	s := schema.New("lab", "b3", "rack1", []sensors.Device{{Name: "ups"}}, []sensors.Point{{Name: "ups.heat", Unit: "C", Physics: sensors.Temperature}})
	b.Rig = rig.New(t, "GOTRACEBACK=single", func(c *companion.Config) {
		c.Path, c.Setup.Text, c.Render = binary, text, s.Metrics
	})
	b.UntilHealth("")
	return b
}

// feed tells n readings, numbered on, and waits until the file has them: the chain has room for some only.
func (b *bench) feed(n int) {
	b.t.Helper()
	for range n {
		b.last++
		b.Offer(plugins.Update{State: &sensors.Batch{Wall: b.at(b.last), Readings: []sensors.Reading{{Value: float64(b.last), Quality: sensors.GoodQuality}}}})
		if b.last%outBatch == 0 {
			has := regexp.MustCompile(fmt.Sprintf("celsius=%d[ ,]", b.last))
			b.until(fmt.Sprintf("reading %d in the file", b.last), func() bool { return has.MatchString(b.file()) })
		}
	}
}

// at is the time of a reading.
func (b *bench) at(n int) time.Time { return b.from.Add(time.Duration(n) * time.Millisecond) }

func (b *bench) file() string {
	text, err := os.ReadFile(b.all)
	if err != nil && !os.IsNotExist(err) {
		b.t.Fatal(err)
	}
	return string(text)
}

func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(time.Minute); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			b.t.Fatalf("never: %s", what)
		}
	}
}

// has waits until a receiver has all readings of a range, with their own times.
func (b *bench) has(name string, k *taken, from, to int) {
	b.t.Helper()
	var missing []int
	b.until(fmt.Sprintf("%s takes readings %d to %d", name, from, to), func() bool {
		have := k.values()
		missing = missing[:0]
		for n := from; n <= to; n++ {
			at, there := have[n]
			if !there {
				missing = append(missing, n)
			} else if want := b.at(n); time.Unix(0, at).Sub(want).Abs() > time.Millisecond {
				b.t.Fatalf("%s: reading %d is of %v, and told as of %v", name, n, want, time.Unix(0, at))
			}
		}
		return len(missing) == 0
	})
}

// The outputs that write to somebody else, in the companion that ships, behind a processor and an aggregator: while their
// receivers refuse, hang or are gone, the alarm says so and the buffer keeps; then all arrives, in full, with its own time; and
// what is more than metric_buffer_limit is dropped, the oldest first, as in Telegraf.
func TestOutputsToReceivers(t *testing.T) {
	refusing, hanging := newWeb(t, "refusing", false), newWeb(t, "hanging", true)
	unavailable, deaf := newOTLP(t, "unavailable", false), newOTLP(t, "deaf", true)
	queue := newQueue(t)
	rs := map[string]struct {
		receiver
		*taken
	}{
		"http::refusing": {refusing, &refusing.taken}, "http::hanging": {hanging, &hanging.taken}, "opentelemetry::unavailable": {unavailable, &unavailable.taken},
		"opentelemetry::deaf": {deaf, &deaf.taken}, "kafka": {queue, &queue.taken},
	}
	var all []receiver
	for _, r := range rs {
		all = append(all, r.receiver)
	}
	b := newBench(t, all...)
	fail := func(yes bool) {
		for _, r := range all {
			r.fail(yes)
		}
	}
	b.feed(2 * outBatch)
	for name, r := range rs {
		b.has(name, r.taken, 1, 2*outBatch)
	}
	fail(true)
	b.feed(4 * outBatch)
	b.UntilHealth("these outputs cannot write")
	b.Until("all five are named", func(x rig.Told) bool {
		return x.Health != nil && !slices.ContainsFunc(slices.Collect(maps.Keys(rs)), func(name string) bool { return !strings.Contains(*x.Health, name+":") })
	})
	fail(false)
	for name, r := range rs {
		b.has(name, r.taken, 1, b.last)
	}
	b.UntilHealth("")

	fail(true)
	from := b.last
	b.feed(4 * outBuffer)
	fail(false)
	for name, r := range rs {
		b.has(name, r.taken, b.last-outBuffer+1, b.last)
		old := 0
		for n := range r.values() {
			if n > from && n <= b.last-outBuffer {
				old++
			}
		}
		// The batch that was under way when the buffer was full may still arrive.
		if old > outBatch {
			t.Errorf("%s: %d metrics arrived that were older than the %d which its buffer keeps", name, old, outBuffer)
		}
	}
	b.until("all were aggregated", func() bool {
		sum := 0
		for _, m := range regexp.MustCompile(`(?m)^firebreak_reading_stats,.* celsius_count=(\d+)`).FindAllStringSubmatch(b.file(), -1) {
			n, _ := strconv.Atoi(m[1])
			sum += n
		}
		return sum == b.last
	})
	ended(t, b.Rig)
}
