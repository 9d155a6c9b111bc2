// Package rig is what tests of the Telegraf companion share: fake companions, each wrong in one way, and a Rig that runs
// one under the agent's side and waits for what it brings about. It is linked into no program.
//
// Concurrency: a Rig belongs to the goroutine of its test. Failure: what does not come fails the test, with what came.
package rig

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"firebreak/plugins/telegraf/companion"
	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"
)

// Variable of the environment that says which fake a process is to be.
const Variable = "FIREBREAK_FAKE"

// QuitVariable names the file that a fake leaves when it has heard that it shall quit.
const QuitVariable = "FIREBREAK_FAKE_QUIT"

// Main makes a test binary what the agent would start: itself first, and then a fake. It does not return then.
func Main() {
	if len(os.Args) > 1 && os.Args[1] == companion.StartCommand {
		if strings.HasSuffix(os.Getenv(Variable), "-privileged") {
			os.Exit(privileged(os.Args[2:]))
		}
		os.Exit(companion.StartMain(os.Args[2:]))
	}
	switch how := os.Getenv(Variable); how {
	case "":
	case "agent", "agent-still":
		os.Exit(agent("silent", how == "agent-still"))
	case "agent-privileged":
		os.Exit(agent("silent-privileged", true))
	case "work":
		work(30 * time.Millisecond)
		os.Exit(0)
	default:
		os.Exit(fake(how))
	}
}

// work takes so much of a processor.
func work(d time.Duration) {
	var u syscall.Rusage
	for time.Duration(u.Utime.Nano()+u.Stime.Nano()) < d {
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	}
}

// privileged becomes the companion as one that has capabilities of its own: the kernel does not end it with the agent any more.
func privileged(args []string) int {
	runtime.LockOSThread()
	if _, _, err := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, 0, 0); err != 0 {
		return 2
	}
	_ = syscall.Exec(args[0], args, os.Environ())
	return 2
}

// agent is one with a companion that hangs, or also stands still, whose process it names.
func agent(how string, still bool) int {
	self, err := os.Executable()
	if err != nil {
		return 2
	}
	var c *companion.Companion
	c, err = companion.New(companion.Config{Path: self, Self: self, Env: []string{Variable + "=" + how}, Take: func(pipe.Metrics) {}, Gathered: func(pipe.Gathered) {},
		Still: time.Hour, Hold: time.Hour,
		Health: func(context.Context, error) {
			if still {
				c.StandStill()
			}
			if pids, err := children(); err == nil && len(pids) > 0 {
				fmt.Println(pids[0])
			}
		}})
	if err != nil {
		return 2
	}
	_ = c.Run(context.Background())
	return 0
}

// fake is a companion that misbehaves in one way.
func fake(how string) int {
	r, w := pipe.NewReader(os.Stdin), pipe.NewWriter(os.NewFile(3, "frames"))
	defer runtime.KeepAlive(w) // or the collector closes its file
	kind, body, err := r.Next()
	setup, bad := pipe.Decode[pipe.Setup](body)
	if kind != pipe.SetupKind || err != nil || bad != nil || setup.V != pipe.Version {
		fmt.Println("no setup", kind, err, bad)
		return 3
	}
	point := func(v float64) line.Metric {
		return line.Metric{Name: "m", Fields: []line.Field{{Key: "v", Value: v}}, Time: time.Now().UnixNano()}
	}
	switch how {
	case "garbage":
		fmt.Fprintln(os.NewFile(3, "frames"), "something else writes here, on and on")
		wait()
	case "version":
		_ = w.JSON(pipe.HelloKind, pipe.Hello{V: 99})
		wait()
	case "fatal":
		_ = w.JSON(pipe.FatalKind, pipe.Fatal{V: pipe.Version, Error: "inputs.upsd: no such plugin"})
		return 1
	}
	_ = w.JSON(pipe.HelloKind, pipe.Hello{V: pipe.Version, Version: "v0", Inputs: []string{"m"}, Tied: how != "loose" && companion.Tie()})
	switch strings.TrimSuffix(how, "-privileged") {
	case "block": // as the real one: it says which input hangs, and then that it ends itself
		for range 50 {
			_ = w.JSON(pipe.BeatKind, pipe.Beat{Hung: []string{"m"}})
			<-time.After(20 * time.Millisecond)
		}
		_ = w.JSON(pipe.FatalKind, pipe.Fatal{V: pipe.Version, Error: "m has not returned from a gather for 1s, and cannot be ended but with the companion"})
		return 1
	case "silent", "deaf":
		wait()
	case "held": // the kernel holds a thread of it, and the runtime is to do without
		runtime.GOMAXPROCS(2)
		debug.SetGCPercent(-1)
		go hang()
	case "stopped":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "panic":
		go func() { panic("a plugin") }()
		wait()
	case "leak": // 1 GiB, as fast as it can
		var kept [][]byte
		for {
			b := make([]byte, 16<<20)
			for i := range b {
				b[i] = 1
			}
			if kept = append(kept, b); len(kept) > 64 {
				wait()
			}
		}
	case "chatter":
		for w.JSON(pipe.GatheredKind, pipe.Gathered{Input: "m", Errors: []string{strings.Repeat("x", 100)}}) == nil {
		}
		return 1
	case "flood": // what the pipe does not take is made all the same
		ms := make([]line.Metric, pipe.MaxBatch)
		for i := range ms {
			ms[i] = point(1)
		}
		for range runtime.NumCPU() {
			go func() {
				for made := 0; ; made++ {
					thrown[made%len(thrown)].Store(&line.Metric{Name: "m", Fields: []line.Field{{Key: "v", Value: float64(made)}}, Time: time.Now().UnixNano()})
				}
			}()
		}
		for {
			if _, err := w.Metrics(ms); err != nil {
				return 1
			}
			_ = w.JSON(pipe.BeatKind, pipe.Beat{Hung: []string{"m"}}) // its gather does not return
		}
	}
	return obey(r, w, how)
}

// obey beats, sends back what it is fed, and quits when it is told to, but for "stubborn".
func obey(r *pipe.Reader, w *pipe.Writer, how string) int {
	fed := make(chan line.Metric, 100)
	go func() {
		for {
			kind, body, err := r.Next()
			switch {
			case err != nil:
				os.Exit(4)
			case kind == pipe.QuitKind && how != "stubborn":
				_ = os.WriteFile(os.Getenv(QuitVariable), nil, 0o600)
				fmt.Println("quit", strings.Repeat("long ", 1000))
				os.Exit(0)
			case kind == pipe.MetricsKind:
				m, _ := pipe.DecodeMetrics(body)
				_ = m.Each(func(m line.Metric) { fed <- m })
			}
		}
	}()
	for t := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case m := <-fed:
			_, _ = w.Metrics([]line.Metric{m})
		case <-t.C:
			b := pipe.Beat{}
			if how == "hung" {
				b.Hung = []string{"upsd"}
			}
			_, _ = w.Metrics([]line.Metric{{Name: "m", Fields: []line.Field{{Key: "v", Value: 1.0}}}})
			_ = w.JSON(pipe.GatheredKind, pipe.Gathered{Input: "m", Metrics: 1})
			_ = w.JSON(pipe.BeatKind, b)
		}
	}
}

// hang keeps one thread in the kernel, where no signal but the last one meets it, until its child ends, which does not: as a
// disk would that does not answer.
//
//go:norace
func hang() {
	runtime.LockOSThread()
	pid, _, _ := syscall.RawSyscall6(syscall.SYS_CLONE, syscall.CLONE_VFORK|uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	for pid == 0 {
		syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
}

// thrown is the queue of a flood, which drops its oldest.
var thrown [10000]atomic.Pointer[line.Metric]

// wait is for ever, without the runtime calling it a deadlock.
func wait() {
	for {
		<-time.After(time.Hour)
	}
}
