package guard

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"firebreak/agent/journal/faultfs"
)

// blow is what strikes, and at which operation of the disk.
type blow struct {
	kind   string
	at     int
	second int // further operations after the restart, until the machine is struck again; 0: never
}

var blows = []string{"kill", "power", "kill, bit flipped", "power, bit flipped", "full", "full, kill", "full, power",
	"EIO", "EIO for long, kill", "EIO for long, power", "hang", "hang, kill", "hang, power"}

func (b blow) String() string {
	return fmt.Sprintf("%s at operation %d, again after %d", b.kind, b.at, b.second)
}

// strike is asked before each operation of the disk.
func (s *story) strike(n int, op faultfs.Op, _ string) error {
	kind, then, _ := strings.Cut(s.blow.kind, ", ")
	s.mu.Lock()
	first := kind != "" && s.struck == 0 && n >= s.blow.at
	if first {
		s.struck = n
	}
	second := s.fellAt != 0 && s.blow.second > 0 && !s.again && n >= s.fellAt+s.blow.second
	s.again = s.again || second
	s.mu.Unlock()
	switch {
	case second:
		return s.fell([]string{"kill", "power"}[s.blow.second%2], "")
	case first && (kind == "kill" || kind == "power"):
		return s.fell(kind, then)
	case first:
		s.begin(kind)
		if then != "" {
			wait := time.Duration(1+s.rnd.IntN(15000)) * time.Millisecond
			s.wg.Go(func() { <-time.After(wait); _ = s.fell(then, "") })
		}
	}
	return s.fail(kind, op, first)
}

// begin is the trouble of a disk that does not die of it. It lasts 20 s, or is over at once.
func (s *story) begin(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = true
	if kind != "full" && kind != "EIO for long" {
		return
	}
	s.until = time.Now().Add(20 * time.Second)
	if kind == "full" {
		s.disk.present().Space(int64(s.rnd.IntN(300)))
		s.wg.Go(func() { <-time.After(20 * time.Second); s.disk.present().Space(-1) })
	}
}

// troubled: the trouble lasts.
func (s *story) troubled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.until)
}

func (s *story) fail(kind string, op faultfs.Op, first bool) error {
	reads := op == faultfs.List || op == faultfs.Open || op == faultfs.Read
	switch {
	case kind == "hang" && first:
		s.bite()
		<-time.After(30 * time.Second)
	case kind == "EIO" && first, kind == "EIO for long" && !reads && s.troubled():
		s.bite()
		return syscall.EIO
	case kind == "full" && op == faultfs.Write && s.troubled():
		s.bite() // faultfs cuts the write where the space ends
	}
	return nil
}

func (s *story) bite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bites++
}

// fell ends the process, or the power, now. What its goroutines still do reaches nobody.
func (s *story) fell(how, then string) error {
	s.out.die(s.out.present())
	s.mu.Lock()
	s.fellAt = s.disk.count()
	s.mu.Unlock()
	fs := s.disk.present().Kill()
	if how == "power" {
		before := content(fs)
		fs = fs.Crash(s.rnd.IntN)
		if content(fs) != before {
			s.bite()
		}
		s.reboot()
	} else if then == "" {
		s.bite()
	}
	if then != "" {
		s.flip(fs)
	}
	if strings.HasPrefix(s.blow.kind, "full") && s.troubled() {
		fs.Space(0)
	}
	s.disk.use(fs)
	s.cut <- struct{}{}
	return faultfs.ErrCrashed
}

func content(fs *faultfs.FS) string {
	var b strings.Builder
	for _, name := range fs.Names() {
		fmt.Fprintf(&b, "%s %x\n", name, fs.Get(name))
	}
	return b.String()
}

// flip inverts one bit somewhere on the disk.
func (s *story) flip(fs *faultfs.FS) {
	names := slices.DeleteFunc(fs.Names(), func(n string) bool { return len(fs.Get(n)) == 0 })
	if len(names) == 0 {
		return
	}
	name := names[s.rnd.IntN(len(names))]
	fs.Flip(name, s.rnd.IntN(len(fs.Get(name))), 1<<s.rnd.IntN(8))
	s.bite()
	s.mu.Lock()
	s.broken = true
	s.mu.Unlock()
}
