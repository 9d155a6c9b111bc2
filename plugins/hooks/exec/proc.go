package exec

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proc is one process as /proc/PID/stat tells it. pid and start together are never used twice in
// one boot.
type proc struct {
	pid, ppid, group, session int
	state                     byte
	start                     uint64 // clock ticks since boot
}

func (p proc) dead() bool { return p.state == 'Z' || p.state == 'X' }

// errGone: there is no such process. Any other error says nothing about it.
var errGone = errors.New("the process is gone")

func readProc(pid int) (proc, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return proc{}, errGone
	}
	if err != nil {
		return proc{}, err
	}
	return parseStat(pid, b)
}

// parseStat reads proc(5) stat. The second field is the name in parentheses, which may itself
// hold blanks and parentheses: the last one ends it.
func parseStat(pid int, b []byte) (proc, error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return proc{}, fmt.Errorf("stat of process %d holds no name", pid)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return proc{}, fmt.Errorf("stat of process %d is short", pid)
	}
	ppid, err1 := strconv.Atoi(f[1])
	group, err2 := strconv.Atoi(f[2])
	session, err3 := strconv.Atoi(f[3])
	start, err4 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return proc{}, fmt.Errorf("stat of process %d: %w", pid, err)
	}
	return proc{pid: pid, ppid: ppid, group: group, session: session, state: f[0][0], start: start}, nil
}

// allProcs lists the processes that live now, zombies left out.
func allProcs() ([]proc, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var ps []proc
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		p, err := readProc(pid)
		if err != nil && !errors.Is(err, errGone) {
			return nil, err
		}
		if err == nil && !p.dead() {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

// descendants lists the children of root, their children, and so on.
func descendants(root int) ([]proc, error) {
	ps, err := allProcs()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]proc, len(ps))
	for _, p := range ps {
		children[p.ppid] = append(children[p.ppid], p)
	}
	todo, found := children[root], []proc(nil)
	for len(todo) > 0 && len(found) <= len(ps) { // a list read while pids are reused might hold a ring
		p := todo[0]
		found = append(found, p)
		todo = append(todo[1:], children[p.pid]...)
	}
	return found, nil
}

// survivors lists what lives on of a call whose shim is dead: what carries the cookie, and what
// is in the recorded process group. A number may have been given to somebody else since. As long
// as a group has a member the kernel gives its number to nobody, so: a leader of another age, or
// another session, is another group.
func survivors(m marker, cookie string) ([]proc, error) {
	ps, err := allProcs()
	if err != nil {
		return nil, err
	}
	mark := []byte(envCookie + "=" + cookie)
	ours := false
	if m.Group > 1 {
		leader, err := readProc(m.Group)
		ours = errors.Is(err, errGone) || err == nil && leader.start == m.StartAt
	}
	var found []proc
	for _, p := range ps {
		if p.pid == os.Getpid() {
			continue
		}
		inGroup := ours && p.group == m.Group && p.session == m.Session && p.start >= m.StartAt
		marked, err := hasEnv(p.pid, mark)
		if err != nil {
			return nil, err
		}
		if inGroup || marked {
			found = append(found, p)
		}
	}
	return found, nil
}

func hasEnv(pid int, mark []byte) (bool, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrPermission) {
		return false, nil // gone, or another user's: the package comment states that limit
	}
	if err != nil {
		return false, err
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		if bytes.Equal(v, mark) {
			return true, nil
		}
	}
	return false, nil
}

// signal sends sig to this very process: the pidfd is opened before the age is looked at again,
// so that a number that was given away is never hit.
func (p proc) signal(sig unix.Signal) {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	now, readErr := readProc(p.pid)
	if readErr != nil || now.start != p.start {
		return
	}
	if err == nil {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0) // a refusal shows as a survivor
		return
	}
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.3
		_ = unix.Kill(p.pid, sig)
	}
}

// killAll kills what list finds until it finds nothing twice in a row, since a process may fork
// while the list is read. It gives what is left at the bound.
func killAll(list func() ([]proc, error), bound time.Duration) ([]proc, error) {
	end := time.Now().Add(bound)
	for none := 0; ; {
		ps, err := list()
		if err != nil {
			return nil, fmt.Errorf("list the processes: %w", err)
		}
		if len(ps) == 0 {
			if none++; none == 2 {
				return nil, nil
			}
			continue
		}
		none = 0
		if time.Now().After(end) {
			return ps, nil
		}
		for _, p := range ps {
			p.signal(unix.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond) // nothing tells of the end of a process that is not our child
	}
}
