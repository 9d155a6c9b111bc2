package main

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
)

// served runs `firebreak sim` until the test ends, and gives where it answers and what types into it.
func served(t *testing.T, args ...string) (where string, typed io.Writer, said func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	in, typed := io.Pipe()
	var out lockedBuffer
	var errs bytes.Buffer
	ready := make(chan string, 1)
	ended := make(chan int, 1)
	go func() { ended <- serveSim(ctx, args, in, &out, &errs, func(s string) { ready <- s }) }()
	t.Cleanup(func() {
		cancel()
		in.Close()
		if code := <-ended; code != 0 {
			t.Errorf("sim: exit %d, %s", code, errs.String())
		}
	})
	select {
	case where = <-ready:
	case code := <-ended:
		ended <- code
		t.Fatalf("sim ended: %d, %s", code, errs.String())
	}
	return where, typed, out.String
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Each built-in Modbus profile is served, and read back by the agent's own poller: the identity is right, no point
// is missing, and none is out of its range.
func TestSimServesEveryProfile(t *testing.T) {
	n := 0
	for _, name := range profile.List(configs.Profiles()) {
		p, err := profile.Load(configs.Profiles(), name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Bus != profile.Modbus {
			if code, _, errs := firebreak("sim", name); code != 1 || !strings.Contains(errs, "not on Modbus") {
				t.Errorf("%s: exit %d, %q", name, code, errs)
			}
			continue
		}
		if p.Template != "" {
			if code, _, errs := firebreak("sim", name); code != 1 || !strings.Contains(errs, "is a template") {
				t.Errorf("%s: exit %d, %q", name, code, errs)
			}
			continue
		}
		n++
		unit := byte(9)
		if p.Read.ReplyUnit != 0 {
			unit = 129 // the first that it may have
		}
		where, _, _ := served(t, name, "--unit", strconv.Itoa(int(unit)), "--listen", "127.0.0.1:0")
		l := modbus.NewTCP(strings.TrimPrefix(where, "tcp://"), modbus.TCPOptions{})
		points := p.Expand(sensors.Device{Name: "d"}, patience)
		d, err := modbus.New(l, unit, p, points)
		if err != nil {
			t.Fatal(err)
		}
		rs, err := d.Poll(context.Background(), func() sensors.Mono { return 1 }, nil)
		if err != nil || len(rs) != len(p.Channels) {
			t.Errorf("%s: %d readings, %v", name, len(rs), err)
		}
		for i, r := range rs {
			// A point that is another gas than the unit says is bad by its gate, as in life.
			if gated := len(p.Channels[i].Gates) > 1 && r.Quality.Reason() == sensors.Identity; !gated && r.Quality != sensors.GoodQuality {
				t.Errorf("%s: %s reads %v, %s", name, p.Channels[i].Name, r.Value, r.Quality)
			}
		}
		l.Close()
	}
	if n < 10 {
		t.Errorf("only %d Modbus profiles: the search is broken", n)
	}
}

// What is typed shows in the next reading, on a line too, and a scan finds the device.
func TestSimOnALine(t *testing.T) {
	t.Parallel() // it waits more than it works
	where, typed, said := served(t, "xy-md02", "--line", "--set", "temperature=-20.5")
	look := func(want string) {
		t.Helper()
		code, out, errs := firebreak("scan", "modbus", where, "--units", "1", "--baud", "9600", "--parity", "none")
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, want %q: %s\n%s", code, want, errs, out)
		}
	}
	look("temperature -20.5 C, humidity 45 %RH")
	enter := func(s, answer string) {
		t.Helper()
		if _, err := io.WriteString(typed, s+"\n"); err != nil {
			t.Fatal(err)
		}
		for !strings.Contains(said(), answer) { // it answers each line
			if _, err := io.WriteString(typed, "\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	enter("temperature=66", "ok temperature=66")
	look("temperature 66 C")
	enter("temperature=none", "no register value that means")
	enter("warmth=3", "xy-md02 has temperature, humidity")
	enter("silent", "ok silent")
	if code, out, _ := firebreak("scan", "modbus", where, "--units", "1", "--baud", "9600", "--parity", "none", "--timeout", "50ms"); code != 1 || !strings.Contains(out, "0 units answer") {
		t.Errorf("silent: exit %d\n%s", code, out)
	}
	enter("answers", "ok answers")
	look("temperature 66 C")
}
