package companion

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StartCommand is the first argument of this program when it is to become the companion.
const StartCommand = "telegraf-start"

// StartMain takes the limits upon itself that need no watching, and becomes the companion: a child of the
// agent that is this program once more, so that a disk that hangs under the companion's binary holds up
// this process, and never a fork of the agent. It returns only when that fails.
func StartMain(args []string) int {
	if len(args) != 1 {
		fmt.Fprintln(os.Stderr, StartCommand+" is started by the agent only, with the path of the companion")
		return 2
	}
	runtime.LockOSThread() // the thread that executes is the one that stays, with its class, and with this, which is a thread's
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0)
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE, Nice: 19}, 0); err != nil {
		fmt.Fprintf(os.Stderr, "the companion does not get the idle scheduling class: %v\n", err)
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, 19)
	}
	if err := weigh(os.Getpid(), 19); err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(os.Stderr, "the companion counts as much as a command of a hook where both want a processor: %v\n", err)
	}
	if _, _, err := syscall.Syscall(syscall.SYS_IOPRIO_SET, ioprioProcess, 0, ioprioIdle); err != 0 {
		fmt.Fprintf(os.Stderr, "the companion does not get the idle class of the disk: %v\n", err)
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0); err != nil {
		fmt.Fprintf(os.Stderr, "the companion is not the first to go when memory is short: %v\n", err)
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}) // a panic writes no disk full
	err := syscall.Exec(args[0], args, os.Environ())
	fmt.Fprintf(os.Stderr, "%s cannot be run: %v\n", args[0], err)
	return 1
}

// Of ioprio_set(2): one process, and the class that is served when nobody else wants the disk.
const (
	ioprioProcess = 1
	ioprioIdle    = 3 << 13
)

// weigh sets what all that the session of a process does counts for, as a nice value. Linux shares the processors
// among sessions first (autogroup, where no cgroup of the CPU controller is in use), and the scheduling class counts only within
// one: an idle process in the agent's session weighs as much as the agent against each command of a hook, which has a
// session of its own. Without privileges the kernel takes one such order in 100 ms, from all of the machine. A kernel
// without autogroup has no such file.
func weigh(pid, nice int) (err error) {
	for range 5 {
		err = os.WriteFile("/proc/"+strconv.Itoa(pid)+"/autogroup", []byte(strconv.Itoa(nice)), 0)
		if !errors.Is(err, syscall.EAGAIN) {
			break
		}
		<-time.After(100*time.Millisecond + rand.N(20*time.Millisecond))
	}
	return err
}

// process is a companion that was started, with our ends of its pipes.
type process struct {
	of    *os.Process // signals by it meet this process, or none
	pid   int
	in    *os.File // its standard input
	out   *os.File // its frames
	err   *os.File // its standard output and error
	gone  chan struct{}
	state *os.ProcessState // once gone is closed

	closing sync.Once
}

// launch starts the companion in a session of its own, and with that in a process group.
func launch(c *Config) (*process, error) {
	if c.Self == "" {
		return nil, errors.New("the path of this program is not known")
	}
	var files []*os.File
	shut := func() {
		for _, f := range files {
			f.Close()
		}
	}
	pair := func() (r, w *os.File, err error) {
		if r, w, err = os.Pipe(); err == nil {
			files = append(files, r, w)
		}
		return r, w, err
	}
	inR, inW, err1 := pair()
	outR, outW, err2 := pair()
	errR, errW, err3 := pair()
	if err := errors.Join(err1, err2, err3); err != nil {
		shut()
		return nil, err
	}
	cmd := exec.Command(c.Self, StartCommand, c.Path)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = inR, errW, errW, []*os.File{outW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL} // one that hangs ends with the agent too
	cmd.Dir = "/"
	cmd.Env = append(environ(), "GOMEMLIMIT="+strconv.FormatInt(c.Memory/4*3, 10), "GOTRACEBACK=single", "GOMAXPROCS="+strconv.Itoa(processors()))
	cmd.Env = append(cmd.Env, c.Env...)
	gone, started := make(chan struct{}), make(chan error, 1)
	p := &process{in: inW, out: outR, err: errR, gone: gone}
	go func() { // ends with the process, which is killed; one that the kernel holds keeps it
		runtime.LockOSThread() // the kernel's parent of the process is this thread: it must live as long
		err := cmd.Start()
		if started <- err; err != nil {
			return
		}
		_ = cmd.Wait()
		p.state = cmd.ProcessState
		close(gone)
	}()
	if err := <-started; err != nil {
		shut()
		return nil, err
	}
	p.of, p.pid = cmd.Process, cmd.Process.Pid
	inR.Close()
	outW.Close()
	errW.Close()
	return p, nil
}

// environ is that of the agent, for the ${NAME} of a Telegraf configuration, without the way to the service
// manager.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		return strings.HasPrefix(s, "NOTIFY_SOCKET=") || strings.HasPrefix(s, "WATCHDOG_") || strings.HasPrefix(s, "GOMEMLIMIT=")
	})
}

// kill ends the process and all in its group; a stopped one too.
func (p *process) kill() { _ = syscall.Kill(-p.pid, syscall.SIGKILL) }

// hasten lets a killed process end without waiting for an idle moment: its session weighs as much as others, and it
// leaves the idle class where the rights of the agent are enough. It is for one that finds no such moment: to give back
// a leak's memory takes tens of milliseconds, which a hook may need.
func hasten(pid int) {
	dir := "/proc/" + strconv.Itoa(pid)
	_ = os.WriteFile(dir+"/autogroup", []byte("0"), 0)
	tasks, _ := os.ReadDir(dir + "/task")
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.SchedSetAttr(tid, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
		}
	}
}

func (p *process) close() {
	p.closing.Do(func() {
		p.in.Close()
		p.out.Close()
		p.err.Close()
	})
}

// Bounds of what is logged of a companion.
const (
	maxLogLine = 2 << 10
	linesASec  = 20
)

// log hands its standard output and error to the log, line by line, some a second at most.
func (p *process) log(ctx context.Context, log *slog.Logger) {
	r := bufio.NewReaderSize(p.err, maxLogLine)
	left, dropped, since := linesASec, 0, time.Now()
	for ctx.Err() == nil {
		b, more, err := r.ReadLine()
		if err != nil {
			return
		}
		text := strings.ToValidUTF8(strings.TrimSpace(string(b)), "")
		for more && err == nil { // the rest of a long line
			_, more, err = r.ReadLine()
		}
		if time.Since(since) > time.Second {
			left, since = linesASec, time.Now()
		}
		if left--; left < 0 {
			dropped++
			continue
		}
		if dropped > 0 {
			log.Warn("lines of the Telegraf companion were dropped", "lines", dropped)
			dropped = 0
		}
		if text != "" {
			log.Info("telegraf", "says", text)
		}
	}
}

// maxChildren bounds the walk through the children of a companion.
const maxChildren = 256

// resident is the memory that a process and its children hold, in bytes, as far as it can be read.
func resident(pid int) (sum int64) {
	queue := []int{pid}
	for n := 0; n < len(queue) && n < maxChildren; n++ {
		dir := "/proc/" + strconv.Itoa(queue[n])
		b, err := os.ReadFile(dir + "/statm")
		if err != nil {
			continue
		}
		if f := bytes.Fields(b); len(f) > 1 {
			if pages, err := strconv.ParseInt(string(f[1]), 10, 64); err == nil {
				sum += pages * int64(os.Getpagesize())
			}
		}
		lists, _ := filepath.Glob(dir + "/task/*/children")
		for _, l := range lists {
			b, _ := os.ReadFile(l)
			for _, f := range strings.Fields(string(b)) {
				if child, err := strconv.Atoi(f); err == nil {
					queue = append(queue, child)
				}
			}
		}
	}
	return sum
}

// processors are how many the companion may use at once: half of them, or one. Its class makes it yield where it stands, and
// what is started on a processor that idles need not even ask.
func processors() int { return max(1, runtime.NumCPU()/2) }
