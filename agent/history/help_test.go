package history

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/plugins"
	"firebreak/sensors"
)

// room has some devices of some points each.
func room(devices, points int) (ds []sensors.Device, ps []sensors.Point) {
	for d := range devices {
		ds = append(ds, sensors.Device{ID: sensors.DeviceID(d), Name: fmt.Sprintf("dev-%d", d)})
		for p := range points {
			ps = append(ps, sensors.Point{ID: sensors.PointID(len(ps)), Device: sensors.DeviceID(d), Name: fmt.Sprintf("dev-%d.p%d", d, p), Unit: sensors.Celsius})
		}
	}
	return ds, ps
}

// tape is a running history on a directory in memory, in a bubble of fake time.
type tape struct {
	t      testing.TB
	h      *History
	fs     *faultfs.FS
	o      Options
	points int
	cancel context.CancelFunc
	ended  chan error
	seq    uint64
	log    *lines
}

// small is a ring of a tenth of the least size, so that a test fills it fast.
const smallBytes = MinBytes / 10

func small(o *Options) { o.MaxBytes = smallBytes }

type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func begin(t testing.TB, fs *faultfs.FS, change func(*Options)) *tape {
	t.Helper()
	tp := &tape{t: t, fs: fs, points: 20, ended: make(chan error, 1), log: &lines{}}
	ds, ps := room(5, tp.points)
	tp.o = Options{Open: func() (journal.FS, func() error, error) { return fs, func() error { return nil }, nil },
		Info:    Info{Site: "s", Zone: "z", Agent: "a", Version: "v1", Instance: fmt.Sprint("i", time.Now().UnixNano()), Boot: "boot", Epoch: 1},
		Devices: ds, Points: ps, Clock: sensors.NewScaledClock(sensors.Mono(time.Now().UnixNano()), 1), Synced: func() bool { return true },
		MaxBytes: MinBytes, MaxAge: 7 * 24 * time.Hour, Log: slog.New(slog.NewTextHandler(io.MultiWriter(tp.log), nil))}
	if change != nil {
		change(&tp.o)
	}
	var err error
	o := tp.o
	o.MaxBytes = max(o.MaxBytes, MinBytes)
	if tp.h, err = New(o); err != nil {
		t.Fatal(err)
	}
	if tp.o.MaxBytes == smallBytes {
		tp.h.o.MaxBytes = smallBytes
	}
	ctx, cancel := context.WithCancel(context.Background())
	tp.cancel = cancel
	go func() { tp.ended <- tp.h.Run(ctx) }()
	return tp
}

// poll offers one poll of a device with all its points.
func (tp *tape) poll(dev int) {
	tp.seq++
	now := tp.o.Clock.Now()
	b := &sensors.Batch{Device: sensors.DeviceID(dev), Seq: tp.seq, Wall: time.Now()}
	for p := range tp.points {
		b.Readings = append(b.Readings, sensors.Reading{Point: sensors.PointID(dev*tp.points + p), Value: float64(tp.seq) + float64(p)/10, Quality: sensors.GoodQuality, At: now})
	}
	tp.h.Offer(plugins.Update{Wall: time.Now(), State: b})
}

func (tp *tape) plan(episode uint64, stage string) {
	tp.h.Offer(plugins.Update{Wall: time.Now(), Plan: &plugins.PlanState{Plan: "evacuate", Zone: "z", Episode: episode, Stage: stage, Origin: "real"}})
}

func (tp *tape) event(kind string) {
	tp.h.Offer(plugins.Update{Wall: time.Now(), Event: &plugins.Event{Type: kind}})
}

func (tp *tape) stop() error {
	tp.cancel()
	return <-tp.ended
}

func (tp *tape) end() {
	tp.t.Helper()
	if err := tp.stop(); err != nil {
		tp.t.Errorf("end: %v", err)
	}
}

// pass lets fake time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// readBack collects what a directory holds: the seqs of polls, the types of events, episodes told.
type readBack struct {
	seqs     []uint64
	readings int
	events   []string
	plans    []uint64
	gaps     []Gap
	begins   int
	rep      *Report
}

func read(t testing.TB, fs journal.FS) readBack {
	t.Helper()
	var out readBack
	rep, err := Walk(fs, func(r *Record) error {
		switch {
		case r.Poll != nil:
			out.seqs = append(out.seqs, r.Poll.Seq)
			out.readings += len(r.Poll.Readings)
			for i, rd := range r.Poll.Readings {
				if want := float64(r.Poll.Seq) + float64(i)/10; rd.Value != want || rd.Quality != sensors.GoodQuality {
					t.Fatalf("poll %d, reading %d: %v %v, want %v", r.Poll.Seq, i, rd.Value, rd.Quality, want)
				}
				if name := r.Points[rd.Point].Name; name != fmt.Sprintf("dev-%d.p%d", r.Poll.Device, i) {
					t.Fatalf("device %d, reading %d is named %s", r.Poll.Device, i, name)
				}
			}
		case r.Event != nil:
			out.events = append(out.events, r.Event.Type)
		case r.Plan != nil:
			out.plans = append(out.plans, r.Plan.Episode)
		case r.Gap != nil:
			out.gaps = append(out.gaps, *r.Gap)
		case r.Begins:
			out.begins++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out.rep = rep
	return out
}

func (r readBack) clean(t testing.TB) {
	t.Helper()
	if len(r.rep.Damage)+len(r.rep.Holes)+len(r.rep.Missing)+len(r.gaps) > 0 {
		t.Errorf("damage %v, holes %v, missing %v, gaps %v; want none", r.rep.Damage, r.rep.Holes, r.rep.Missing, r.gaps)
	}
}

// whole checks that the polls from to to are there, each once and in order.
func (r readBack) whole(t testing.TB, from, to uint64) {
	t.Helper()
	if n := uint64(len(r.seqs)); n != to-from+1 {
		t.Fatalf("%d polls, want %d to %d", n, from, to)
	}
	for i, s := range r.seqs {
		if s != from+uint64(i) {
			t.Fatalf("poll %d stands at %d, want %d", s, i, from+uint64(i))
		}
	}
}
