package guard

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/plugins/hooks/exec"
	"firebreak/sensors"
)

// BenchmarkDecisionToHookStart measures from the reading that is put into the inbox to the start of
// the hook that it leads to: judged, decided, journaled with fsync, started. Of exec hooks the
// start is the first thing that the command itself does, behind its shim.
func BenchmarkDecisionToHookStart(b *testing.B) {
	for _, c := range []struct {
		name       string
		disk, exec bool
	}{{"guard", false, false}, {"journal", true, false}, {"exec", false, true}, {"journal+exec", true, true}} {
		b.Run(c.name, func(b *testing.B) { benchStart(b, c.disk, c.exec) })
	}
}

func benchStart(b *testing.B, onDisk, commands bool) {
	begun := make(chan time.Time, 1)
	fallen := make(chan struct{}, 1)
	pub := &fakePub{offer: func(u plugins.Update) {
		if u.Event != nil && u.Event.Type == "stage.fallen" {
			fallen <- struct{}{}
		}
	}}
	var hook plugins.Hook = &fakeHook{do: func(context.Context, plugins.Call, func(plugins.Evidence)) plugins.Outcome {
		begun <- time.Now()
		return plugins.Outcome{Result: plugins.Done}
	}}
	if commands {
		hook = benchExec(b, begun)
	}
	// Stage 1 falls by itself: each fire is an episode of its own.
	r := rules(response.Step{Name: "tell", Stage: plugins.Notify})
	st := r.Response.Plans[0].Stages
	st[1].When, st[2].When = 3, 3
	w := begin(b, r, nil, func(c *Config) {
		c.Clock, c.Publishers, c.Hooks = sensors.NewClock(), []plugins.Publisher{pub}, []plugins.Hook{hook}
		if onDisk {
			c.Journal = benchJournal(b)
		}
	})
	w.read(heat, 20)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		w.read(smoke, 5)
		took = append(took, (<-begun).Sub(start))
		w.read(smoke, 0)
		<-fallen
	}
	w.end()
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(ms(took[len(took)-1]), "max-ms")
	b.ReportMetric(0, "ns/op") // of a whole episode: says nothing
}

func benchJournal(b *testing.B) *journal.Journal {
	disk, err := journal.OS(filepath.Join(b.TempDir(), "journal"))
	if err != nil {
		b.Fatal(err)
	}
	j, _, err := journal.Open(context.Background(), disk, journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		abandon(j)
		_ = disk.Close()
	})
	return j
}

// benchExec is a hook whose command writes to a FIFO first.
func benchExec(b *testing.B, begun chan<- time.Time) plugins.Hook {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("/dev/shm", "firebreak-bench-")
	if err != nil {
		dir = b.TempDir()
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	h, err := exec.New("hook", exec.Config{Command: []string{"sh", "-c", "echo >" + fifo}, RunDir: filepath.Join(dir, "run")}, self, nil)
	if err != nil {
		b.Fatal(err)
	}
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		for buf := make([]byte, 1); ; {
			if _, err := f.Read(buf); err != nil {
				return
			}
			begun <- time.Now()
		}
	}()
	b.Cleanup(func() {
		_ = f.Close()
		<-reader
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			b.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return h
}
