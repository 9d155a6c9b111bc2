package shim

import (
	"bytes"
	"encoding/json"
	"hash/crc32"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A recorded group whose number belongs to somebody else now is nobody of ours.
func TestRecycledGroupIsSpared(t *testing.T) {
	cmd := osexec.Command("sh", "-c", "echo up; read x")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	outp, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := outp.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	p, err := ReadProc(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		m    Marker
		want int
	}{
		"same":            {Marker{Session: p.Session, Group: p.Group, StartAt: p.Start}, 1},
		"another age":     {Marker{Session: p.Session, Group: p.Group, StartAt: p.Start - 1}, 0},
		"another session": {Marker{Session: p.Session + 1, Group: p.Group, StartAt: p.Start}, 0},
		"no group":        {Marker{}, 0},
	} {
		if got, err := Survivors(tc.m, "no such cookie"); err != nil || len(got) != tc.want {
			t.Errorf("%s: %v, %v, want %d", name, got, err, tc.want)
		}
	}
	other := p
	other.Start--
	other.signal(unix.SIGKILL)
	if _, err := in.Write([]byte("go\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil { // it ended by itself, with 0
		t.Errorf("a process of another age was hit: %v", err)
	}
}

func TestParseStat(t *testing.T) {
	p, err := parseStat(7, []byte("7 (a) S (b) R 5 6 4 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99 1"))
	if err != nil || p != (Proc{PID: 7, PPID: 5, Group: 6, Session: 4, State: 'R', Start: 12345}) {
		t.Errorf("%+v, %v", p, err)
	}
	for _, s := range []string{"", "7 (a", "7 (a) R 1 2", "7 (a) R x 6 4 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 99"} {
		if _, err := parseStat(7, []byte(s)); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestDamagedOutcomeIsNeverBelieved(t *testing.T) {
	e := Ending{ID: "a/b/1/c/2/do/0", Result: "done", Detail: "done", ElapsedNs: 5, Output: []byte("out\nput")}
	whole := e.encode()
	got, err := decodeEnding(whole, e.ID)
	if a, _ := json.Marshal(got); err != nil || !bytes.Equal(got.Output, e.Output) || got.Result != "done" {
		t.Fatalf("%s, %v", a, err)
	}
	if _, err := decodeEnding(whole, "another"); err == nil {
		t.Error("the outcome of another call was taken")
	}
	for i := range whole {
		if _, err := decodeEnding(whole[:i], e.ID); err == nil {
			t.Errorf("cut at %d: taken", i)
		}
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		if g, err := decodeEnding(flipped, e.ID); err == nil {
			t.Errorf("flipped at %d: taken as %+v", i, g)
		}
	}
	if _, err := decodeEnding(append(bytes.Clone(whole), 0), e.ID); err == nil {
		t.Error("extended: taken")
	}
}

// The checksum of an outcome is CRC-32C for ever: what a shim of an earlier version has stored is read.
func TestSumOfAnOutcome(t *testing.T) {
	for _, text := range []string{"", "a", "123456789", strings.Repeat("firebreak", 5000)} {
		if got, want := sum32([]byte(text)), crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)); got != want {
			t.Errorf("%.20q: %08x, want %08x", text, got, want)
		}
	}
}

// What a command has said is not lost when the shim gets no processor until its time for reading is over.
func TestOutputOfABusyMachine(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString(strings.Repeat("said ", 4000)); err != nil {
		t.Fatal(err)
	}
	defer w.Close() // a process left behind holds it open
	s := &shim{pipe: int(r.Fd()), pidfd: -1, none: true, spec: Spec{OutputLimit: 12000}}
	if got := string(s.output(0)); got != strings.Repeat("said ", 2400) {
		t.Errorf("%d bytes: %.40q", len(got), got)
	}
}

// What the small program brings along is on the way of every action.
func TestWhatTheShimBringsAlong(t *testing.T) {
	out, err := osexec.Command("go", "list", "-deps", "./standalone").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, heavy := range []string{"net", "log", "log/slog", "flag", "os/exec", "regexp", "text/template", "crypto/sha256", "math/big"} {
		if slices.Contains(strings.Fields(string(out)), heavy) {
			t.Errorf("the shim links %s: its start takes longer for it", heavy)
		}
	}
}

// A lock that was taken on a directory which is then swept guards nothing: nobody may hold it
// beside the holder of the new one.
func TestSweepNeverSplitsALock(t *testing.T) {
	d := Dir(t.TempDir() + "/k-x")
	early, err := d.openLock()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(oldSpecFile, []byte(`{"v":1}`)); err != nil {
		t.Fatal(err)
	}
	if ok, err := d.Sweep(nil); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if f, err := d.takeLock(early); f != nil || err != nil {
		t.Errorf("a swept lock was taken: %v", err)
	}
	var holders atomic.Int32
	var lockers, sweeper sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		lockers.Go(func() {
			for range 300 {
				f, err := d.Lock()
				if err != nil {
					t.Error(err)
					return
				}
				if f == nil {
					continue
				}
				if n := holders.Add(1); n != 1 {
					t.Errorf("%d hold the lock at once", n)
				}
				_ = d.Write(oldSpecFile, []byte(`{"v":1}`))
				holders.Add(-1)
				f.Close()
			}
		})
	}
	swept := 0
	sweeper.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if ok, err := d.Sweep(nil); err != nil {
				t.Error(err)
			} else if ok {
				swept++
			}
		}
	})
	lockers.Wait()
	close(stop)
	sweeper.Wait()
	if swept == 0 {
		t.Error("nothing was swept: nothing is proved")
	}
}
