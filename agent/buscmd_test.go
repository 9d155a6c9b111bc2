package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"firebreak/sensors/sim"
	"firebreak/sensors/sim/pty"
	"firebreak/sensors/sim/slave"
)

func doctorSays(t *testing.T, code int, want string, args ...string) {
	t.Helper()
	got, out, errs := firebreak(append([]string{"doctor", "bus"}, args...)...)
	if got != code || !strings.Contains(out, want) || errs != "" {
		t.Errorf("exit %d, want %d and %q in:\n%s%s", got, code, want, out, errs)
	}
	if code == 0 == strings.Contains(out, "FAULT") {
		t.Errorf("exit %d beside a verdict:\n%s", code, out)
	}
}

// Each fault of a line that reads can show is told apart from the others.
func TestDoctorLine(t *testing.T) {
	t.Parallel() // it waits more than it works
	world := room(t)
	bms := func(f slave.FaultFunc) []string {
		srv, path := serveLine(t, map[byte]*slave.Bank{2: world.Bank(sim.BMSName)})
		srv.SetFault(f)
		return []string{"rtu://" + path, "--unit", "2", "--profile", "soltaro-c", "--reads", "12", "--listen", "10ms", "--timeout", "200ms"}
	}
	doctorSays(t, 0, "nothing is wrong that reads can show\nwhether the unit is a soltaro-c, firebreak scan says", append(bms(nil), "--timeout", "20s")...)
	doctorSays(t, 1, "FAULT: nobody answers, not with one byte", append(bms(nil), "--unit", "3", "--reads", "2")...)
	doctorSays(t, 1, "long ones above all: the line itself", bms(func(r slave.Request) slave.Fault { return slave.Fault{BadCRC: r.Count > 8 && r.N%4 != 0} })...)
	doctorSays(t, 1, "short ones too\n  what to do: most often two units on one number", bms(func(r slave.Request) slave.Fault { return slave.Fault{BadCRC: r.N%3 == 0} })...)
	doctorSays(t, 1, "FAULT: something answers, and not one reply can be read", bms(func(slave.Request) slave.Fault { return slave.Fault{BadCRC: true} })...)
	doctorSays(t, 1, "FAULT: another unit answers than the one that was asked", bms(func(r slave.Request) slave.Fault { return slave.Fault{Unit: 9} })...)
	doctorSays(t, 1, "of 24 requests met silence", bms(func(r slave.Request) slave.Fault { return slave.Fault{Silent: r.N%4 == 0} })...)
	// A second and a half is what a busy machine may add.
	doctorSays(t, 1, "took more than half of the time-out", append(bms(func(r slave.Request) slave.Fault { return slave.Fault{Delay: 1600 * time.Millisecond} }), "--timeout", "3s", "--reads", "1")...)
}

// An adapter that hears what it sends is told as that, whether a unit answers or none does.
func TestDoctorHearsItself(t *testing.T) {
	p, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(p, p) })
	defer wg.Wait()
	defer p.Close()
	doctorSays(t, 1, "FAULT: the request itself comes back: the adapter hears what it sends", "rtu://"+p.Path(), "--unit", "2", "--reads", "2", "--timeout", "50ms", "--listen", "10ms")
}

// What others say while this one is silent: a second master, a line that floats, and one whose wires are swapped, where
// each request comes back as zeros.
func TestDoctorListens(t *testing.T) {
	p, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	say := func(b []byte) (stop func()) {
		done := make(chan struct{})
		wg.Go(func() {
			tick := time.NewTicker(40 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-done:
					return
				case <-tick.C:
					p.Write(b)
				}
			}
		})
		return func() { close(done); wg.Wait() }
	}
	args := []string{"rtu://" + p.Path(), "--unit", "2", "--reads", "1", "--timeout", "50ms", "--listen", "400ms"}
	stop := say([]byte{1, 3, 0, 0, 0, 1, 0x84, 0x0A}) // a request, from the specification of the checksum
	doctorSays(t, 1, "FAULT: a second master", args...)
	stop()
	stop = say([]byte{0x80, 0x00, 0xC0})
	doctorSays(t, 1, "FAULT: the line is not quiet", args...)
	stop()
	wg.Go(func() {
		for b := make([]byte, 64); ; {
			if _, err := p.Read(b); err != nil {
				return
			}
			p.Write([]byte{0, 0, 0xFF, 0})
		}
	})
	args[len(args)-1] = "10ms"
	doctorSays(t, 1, "A and B are swapped, or the line has no bias", args...)
	p.Close()
	wg.Wait()
}

// single is a gateway that lets a new client cut off the one before.
func single(t *testing.T, to string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var before net.Conn
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if before != nil {
				before.Close()
			}
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", to)
			if err != nil {
				c.Close()
				continue
			}
			before = c
			wg.Go(func() { io.Copy(up, c); up.Close() })
			wg.Go(func() { io.Copy(c, up); c.Close() })
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

func TestDoctorTCP(t *testing.T) {
	srv := serveTCP(t, map[byte]*slave.Bank{1: xymd02()})
	args := func(addr string) []string {
		return []string{"tcp://" + addr, "--profile", "xy-md02", "--reads", "3", "--timeout", "5s"}
	}
	doctorSays(t, 0, "the first one then: answered, on its own connection", args(srv.Addr())...)
	doctorSays(t, 1, "FAULT: it takes one client at a time", args(single(t, srv.Addr()))...)
	doctorSays(t, 1, "the gateway answers, the unit behind it does not (3 of 3)", append(args(srv.Addr()), "--unit", "8")...)
	addr := srv.Addr()
	srv.Close()
	doctorSays(t, 1, "no answer: ", args(addr)...)
}

// A number is set where one unit is on the line, when the person has typed it, and read back; nothing is written to
// a detector, over TCP, or beside a second unit, and nothing without a word.
func TestSetAddress(t *testing.T) {
	t.Parallel() // it waits more than it works
	var written, number atomic.Int32
	var second atomic.Bool
	line := func(keeps bool) (path string) {
		number.Store(1)
		b := xymd02()
		b.OnWrite(func(tab slave.Table, address, value uint16) byte {
			written.Add(1)
			if tab != slave.Holdings || address != 0x0101 {
				return slave.IllegalAddress
			}
			if !keeps {
				number.Store(int32(value))
			}
			return 0
		})
		srv, path := serveLine(t, map[byte]*slave.Bank{1: b, 5: b, 7: b})
		srv.SetFault(func(r slave.Request) slave.Fault {
			return slave.Fault{Silent: int32(r.Unit) != number.Load() && (!second.Load() || r.Unit != 7)}
		})
		return path
	}
	set := func(typed string, path string, more ...string) (int, string) {
		t.Helper()
		var out, errs strings.Builder
		args := append([]string{"set-address", path, "--profile", "xy-md02", "--from", "1", "--to", "5", "--others", "6-8", "--timeout", "100ms", "--settle", "100ms"}, more...)
		code := busCmd(args, strings.NewReader(typed), &out, &errs)
		return code, out.String() + errs.String()
	}
	path := line(false)
	if code, out := set("yes\n", "rtu://"+path); code != 1 || !strings.Contains(out, "not confirmed: nothing was written") || written.Load() != 0 {
		t.Errorf("another word: exit %d, %d writes\n%s", code, written.Load(), out)
	}
	if code, out := set("", "rtu://"+path); code != 1 || written.Load() != 0 {
		t.Errorf("no word: exit %d, %d writes\n%s", code, written.Load(), out)
	}
	second.Store(true)
	if code, out := set("5\n", "rtu://"+path); code != 1 || !strings.Contains(out, "unit 7 answers too") || written.Load() != 0 {
		t.Errorf("beside another: exit %d, %d writes\n%s", code, written.Load(), out)
	}
	second.Store(false)
	if code, out := set("5\n", "rtu://"+path); code != 0 || !strings.Contains(out, "plan: on rtu") || !strings.Contains(out, "unit 5 is there, unit 1 no more") || written.Load() != 1 {
		t.Errorf("exit %d, %d writes\n%s", code, written.Load(), out)
	}
	if code, out := set("5\n", "rtu://"+path); code != 1 || !strings.Contains(out, "unit 1 does not answer as xy-md02") || written.Load() != 1 {
		t.Errorf("a second time: exit %d, %d writes\n%s", code, written.Load(), out)
	}
	path = line(true) // one that says yes, and keeps its number
	if code, out := set("5\n", "rtu://"+path); code != 1 || !strings.Contains(out, "unit 1 still has its number") {
		t.Errorf("one that keeps it: exit %d\n%s", code, out)
	}
	for _, c := range []struct{ profile, target, says string }{
		{"rs485-smoke", "rtu://" + path, "nothing is written to a detector"},
		{"faast", "rtu://" + path, "nothing is written to a detector"},
		{"soltaro-c", "rtu://" + path, "no document"},
		{"xy-md02", "tcp://127.0.0.1:1", "on the line itself"},
	} {
		if code, out := set("5\n", c.target, "--profile", c.profile); code != 1 || !strings.Contains(out, c.says) {
			t.Errorf("%s: exit %d\n%s", c.profile, code, out)
		}
	}
}

// A session that was recorded is a file of recorded cases that its profile passes and a wrong one does not; decoded
// again it shows what changed; and served again it reads as it did.
func TestRecordAndReplay(t *testing.T) {
	b := slave.NewBank()
	var polls atomic.Int32
	b.OnRead(func() { b.Set(slave.Inputs, 1, 200+uint16(10*polls.Add(1)), 546) })
	b.Set(slave.Inputs, 1, 200, 546)
	srv := serveTCP(t, map[byte]*slave.Bank{3: b})
	srv.SetFault(func(r slave.Request) slave.Fault {
		if r.N == 2 {
			return slave.Fault{Exception: slave.DeviceFailure}
		}
		return slave.Fault{}
	})
	file := filepath.Join(t.TempDir(), "session.txt")
	record := []string{"bus", "record", "tcp://" + srv.Addr(), "--unit", "3", "--profile", "xy-md02", "--every", "10ms", "--for", "35ms", "-o", file}
	code, out, errs := firebreak(record...)
	if code != 0 || !strings.Contains(out, "nothing is written") || !strings.Contains(out, "4 polls, 1 requests failed") {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	if code, _, errs := firebreak(record...); code != 2 || !strings.Contains(errs, "exists") {
		t.Errorf("over a session that is there: exit %d, %s", code, errs)
	}
	if code, out, errs := firebreak("profile", "test", "xy-md02", file); code != 0 || !strings.Contains(out, "4 recorded cases") {
		t.Errorf("as cases: exit %d, %s%s", code, out, errs)
	}
	code, out, errs = firebreak("bus", "replay", file, "--profile", "xy-md02")
	for _, want := range []string{"  temperature  21 C, good\n", "  humidity  54.6 %RH, good\n", "  temperature  22 C, good\n", "  temperature  bad:comm\n", "4 polls, 2 of 8 readings cannot be used"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, %s, want %q in:\n%s", code, errs, want, out)
		}
	}
	where, _, _ := served(t, "xy-md02", "--listen", "127.0.0.1:0", "--session", file, "--speed", "0.001")
	sees := func(want string) {
		t.Helper()
		if code, out, errs := firebreak("scan", "modbus", where, "--units", "1", "--profile", "xy-md02"); code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, %s, want %q in:\n%s", code, errs, want, out)
		}
	}
	sees("temperature 21 C, humidity 54.6 %RH")
	if err := os.WriteFile(file, []byte("holding 1 = 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := firebreak("bus", "replay", file, "--profile", "xy-md02"); code != 1 || !strings.Contains(errs, file+":1:") {
		t.Errorf("no session: exit %d, %s", code, errs)
	}
}
