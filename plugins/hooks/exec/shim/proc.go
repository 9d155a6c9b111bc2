package shim

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

// Proc is one process as /proc/PID/stat tells it. PID and Start together are never used twice in
// one boot.
type Proc struct {
	PID, PPID, Group, Session int
	State                     byte
	Start                     uint64 // clock ticks since boot
}

// Dead tells whether it has ended.
func (p Proc) Dead() bool { return p.State == 'Z' || p.State == 'X' }

// errGone: there is no such process. Any other error says nothing about it.
var errGone = errors.New("the process is gone")

// ReadProc reads one process; that there is none is an error too.
func ReadProc(pid int) (Proc, error) {
	b, err := readFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return Proc{}, errGone
	}
	if err != nil {
		return Proc{}, err
	}
	return parseStat(pid, b)
}

// parseStat reads proc(5) stat. The second field is the name in parentheses, which may itself
// hold blanks and parentheses: the last one ends it.
func parseStat(pid int, b []byte) (Proc, error) {
	i := bytes.LastIndexByte(b, ')')
	if i < 0 {
		return Proc{}, fmt.Errorf("stat of process %d holds no name", pid)
	}
	f := strings.Fields(string(b[i+1:]))
	if len(f) < 20 || len(f[0]) != 1 {
		return Proc{}, fmt.Errorf("stat of process %d is short", pid)
	}
	ppid, err1 := strconv.Atoi(f[1])
	group, err2 := strconv.Atoi(f[2])
	session, err3 := strconv.Atoi(f[3])
	start, err4 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return Proc{}, fmt.Errorf("stat of process %d: %w", pid, err)
	}
	return Proc{PID: pid, PPID: ppid, Group: group, Session: session, State: f[0][0], Start: start}, nil
}

// allProcs lists the processes that live now, zombies left out.
func allProcs() ([]Proc, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var ps []Proc
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		p, err := ReadProc(pid)
		if err != nil && !errors.Is(err, errGone) {
			return nil, err
		}
		if err == nil && !p.Dead() {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

// Descendants lists the children of root, their children, and so on.
func Descendants(root int) ([]Proc, error) {
	ps, err := allProcs()
	if err != nil {
		return nil, err
	}
	children := make(map[int][]Proc, len(ps))
	for _, p := range ps {
		children[p.PPID] = append(children[p.PPID], p)
	}
	todo, found := children[root], []Proc(nil)
	for len(todo) > 0 && len(found) <= len(ps) { // a list read while pids are reused might hold a ring
		p := todo[0]
		found = append(found, p)
		todo = append(todo[1:], children[p.PID]...)
	}
	return found, nil
}

// Cookie is the variable in the environment of everything that is started under a key, which tells its run.
const Cookie = "FIREBREAK_RUN"

// Survivors lists what lives on of a call whose shim is dead: what carries the cookie, and what
// is in the recorded process group. A number may have been given to somebody else since. As long
// as a group has a member the kernel gives its number to nobody, so: a leader of another age, or
// another session, is another group.
func Survivors(m Marker, cookie string) ([]Proc, error) {
	ps, err := allProcs()
	if err != nil {
		return nil, err
	}
	mark := []byte(Cookie + "=" + cookie)
	ours := false
	if m.Group > 1 {
		leader, err := ReadProc(m.Group)
		ours = errors.Is(err, errGone) || err == nil && leader.Start == m.StartAt
	}
	var found []Proc
	for _, p := range ps {
		if p.PID == os.Getpid() {
			continue
		}
		inGroup := ours && p.Group == m.Group && p.Session == m.Session && p.Start >= m.StartAt
		marked, err := hasEnv(p.PID, mark)
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
	b, err := readFile("/proc/" + strconv.Itoa(pid) + "/environ")
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
func (p Proc) signal(sig unix.Signal) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	now, readErr := ReadProc(p.PID)
	if readErr != nil || now.Start != p.Start {
		return
	}
	if err == nil {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0) // a refusal shows as a survivor
		return
	}
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.3
		_ = unix.Kill(p.PID, sig)
	}
}

// KillAll kills what list finds until it finds nothing twice in a row, since a process may fork
// while the list is read. It gives what is left at the bound.
func KillAll(list func() ([]Proc, error), bound time.Duration) ([]Proc, error) {
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

// Pids names processes for a person.
func Pids(ps []Proc) string {
	if len(ps) == 0 {
		return "no process known"
	}
	s := make([]string, 0, len(ps))
	for _, p := range ps[:min(len(ps), 20)] {
		s = append(s, fmt.Sprint(p.PID))
	}
	return "pid " + strings.Join(s, " ")
}
