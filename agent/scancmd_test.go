package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"
	"firebreak/sensors/sim"
	"firebreak/sensors/sim/pty"
	"firebreak/sensors/sim/slave"
)

// xymd02 is an XY-MD02 as its seller's manual has it: 25.7 C, 54.6 %RH, and nothing else.
func xymd02() *slave.Bank {
	b := slave.NewBank()
	b.Set(slave.Inputs, 1, 257, 546)
	return b
}

// audit keeps what a unit was asked for.
type audit struct {
	mu   sync.Mutex
	seen []slave.Request
}

func (a *audit) take(r slave.Request) slave.Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, r)
	return slave.Fault{}
}

// knocks counts the requests for register 0 alone.
func (a *audit) knocks(unit byte) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.seen {
		if r.Unit == unit && r.Start == 0 && r.Count == 1 {
			n++
		}
	}
	return n
}

func (a *audit) functions() map[byte]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[byte]int{}
	for _, r := range a.seen {
		out[r.Function]++
	}
	return out
}

func serveTCP(t *testing.T, units map[byte]*slave.Bank) *slave.TCP {
	t.Helper()
	s, err := slave.ListenTCP("127.0.0.1:0", units)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func serveLine(t *testing.T, units map[byte]*slave.Bank) (*slave.RTU, string) {
	t.Helper()
	p, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	s := slave.ServeRTU(p, units)
	t.Cleanup(func() { s.Close() })
	return s, p.Path()
}

// room serves the simulated room, whose registers are typed from the makers' maps and not from the profiles.
func room(t *testing.T) *sim.Served {
	t.Helper()
	sc, err := sim.Find("quiet")
	if err != nil {
		t.Fatal(err)
	}
	w, err := sim.New(sc, sensors.NewScaledClock(0, 1), configs.Profiles())
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Serve(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Units behind a gateway are found by number, each with the profile that fits it first: by its identity where it
// has one. Nothing but functions 1 to 4, and 43 for the identification, is sent, and the plan comes first.
func TestScanTCP(t *testing.T) {
	r := room(t)
	var a audit
	r.Power.SetFault(a.take)
	code, out, errs := firebreak("scan", "modbus", "tcp://"+r.Power.Addr(), "--units", "1-3", "--pace", "1ms", "--toml")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d, %s\n%s", code, errs, out)
	}
	for _, want := range []string{
		"plan: ask 3 units", "nothing is written\n",
		"unit 1 answers at tcp://" + r.Power.Addr() + "\n  apc-smart-ups: APC Smart-UPS SMT, SMX, SRT; ", "points usable; its identity matches\n",
		"unit 2 answers at tcp://" + r.Power.Addr() + "\n  soltaro-c: Soltaro rack BMS, version C; ", "POSSIBLE", "voltage 25",
		"2 units answer",
		"kind   = \"modbus-tcp\"\naddress = \"" + r.Power.Addr(), "profile = \"apc-smart-ups\"\nbus     = \"bus-1\"\nunit    = 1\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the scan does not say %q:\n%s", want, out)
		}
	}
	for f, n := range a.functions() {
		if (f < 1 || f > 4) && f != 43 {
			t.Errorf("%d requests of function %d were sent", n, f)
		}
	}
	for _, unit := range []byte{2, 3} { // one answer, or one word of the gateway, is enough
		if n := a.knocks(unit); n != 1 {
			t.Errorf("unit %d was asked %d times whether it is there", unit, n)
		}
	}
	if strings.Contains(out, "unit 3 answers") {
		t.Errorf("a unit that is not there was found:\n%s", out)
	}
	a.seen = nil
	if code, out, _ := firebreak("scan", "modbus", "tcp://"+r.Power.Addr(), "--plan"); code != 0 || len(a.seen) != 0 {
		t.Errorf("--plan: exit %d, %d requests were sent\n%s", code, len(a.seen), out)
	}
}

// On a line absent units are silent, and what is there is found by a register that its manual names; a unit that is
// silent about all others is found when its profile is named.
func TestScanLine(t *testing.T) {
	t.Parallel() // it waits more than it works
	srv, path := serveLine(t, map[byte]*slave.Bank{2: xymd02(), 4: xymd02()})
	srv.SetFault(func(r slave.Request) slave.Fault {
		return slave.Fault{Silent: r.Unit == 4 && (r.Function != 4 || r.Start != 1 || r.Count != 2)}
	})
	args := []string{"scan", "modbus", "rtu://" + path, "--units", "1-4", "--baud", "9600", "--parity", "none", "--timeout", "200ms", "--pace", "5ms"}
	code, out, errs := firebreak(args...)
	if code != 0 || errs != "" || strings.Count(out, " answers at ") != 1 || !strings.Contains(out, "unit 2 answers at rtu://"+path+", 9600 baud") ||
		!strings.Contains(out, "xy-md02: XY-MD02 temperature and humidity probe; 2 of 2 points usable; POSSIBLE") || !strings.Contains(out, "temperature 25.7 C, humidity 54.6 %RH") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	code, out, errs = firebreak(append(args, "--profile", "xy-md02")...)
	if code != 0 || errs != "" || !strings.Contains(out, "2 units answer") || !strings.Contains(out, "unit 4 answers") {
		t.Errorf("as the profile asks: exit %d, %s\n%s", code, errs, out)
	}
}

// A gateway that hangs up in place of an answer costs that unit alone; one that always does ends the scan.
func TestScanHangUps(t *testing.T) {
	srv := serveTCP(t, map[byte]*slave.Bank{9: xymd02()})
	srv.SetFault(func(r slave.Request) slave.Fault { return slave.Fault{Drop: r.Unit < 9 && r.Unit > 3} })
	args := []string{"scan", "modbus", "tcp://" + srv.Addr(), "--units", "1-9", "--pace", "1ms"}
	if code, out, errs := firebreak(args...); code != 0 || !strings.Contains(out, "unit 9 answers") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	srv.SetFault(func(slave.Request) slave.Fault { return slave.Fault{Drop: true} })
	if code, out, errs := firebreak(args...); code != 1 || !strings.Contains(errs, "link down") || !strings.Contains(out, "stopped after") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
}

// A unit is taken for nothing that it cannot be: not by registers that hold nothing, nor by values out of all range, nor
// where the identity is another.
func TestScanTakesNothingForAnything(t *testing.T) {
	empty, hot, other := slave.NewBank(), slave.NewBank(), slave.NewBank()
	for _, table := range []slave.Table{slave.Coils, slave.Discretes, slave.Holdings, slave.Inputs} {
		empty.Define(table, 0, 2000)
	}
	hot.Set(slave.Inputs, 1, 0x6FFF, 5000) // 2867 C, 500 %RH
	p, err := profile.Load(configs.Profiles(), "load-controller")
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint16(40) {
		other.Set(slave.Holdings, i, 1)
	}
	srv := serveTCP(t, map[byte]*slave.Bank{1: empty, 2: hot, 3: other})
	args := []string{"scan", "modbus", "tcp://" + srv.Addr(), "--units", "1-3", "--pace", "1ms"}
	if code, out, errs := firebreak(args...); code != 0 || !strings.Contains(out, "3 units answer") || strings.Contains(out, "xy-md02") || strings.Contains(out, p.Title) ||
		strings.Count(strings.SplitN(out, "unit 3", 2)[0], "no profile fits") != 2 {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	other.Set(slave.Holdings, p.Identity[0].First, p.Identity[0].Want...)
	if code, out, errs := firebreak(args...); code != 0 || !strings.Contains(out, p.Title) || !strings.Contains(out, "its identity matches") {
		t.Errorf("with its identity: exit %d, %s\n%s", code, errs, out)
	}
}

// Whoever stops a scan gets what it found until then; a way that is down ends it at the first request.
func TestScanEnds(t *testing.T) {
	srv := serveTCP(t, map[byte]*slave.Bank{1: xymd02(), 3: xymd02()})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	srv.SetFault(func(r slave.Request) slave.Fault {
		if r.Unit == 3 {
			cancel()
			return slave.Fault{Silent: true}
		}
		return slave.Fault{}
	})
	var out, errs bytes.Buffer
	code := scanModbus(ctx, []string{"tcp://" + srv.Addr(), "--timeout", "10s"}, &out, &errs)
	if code != 1 || !strings.Contains(out.String(), "unit 1 answers") || !strings.Contains(out.String(), "stopped after ") {
		t.Errorf("interrupted: exit %d, %s\n%s", code, errs.String(), out.String())
	}
	srv.Close()
	code, text, said := firebreak("scan", "modbus", "tcp://"+srv.Addr())
	if code != 1 || !strings.Contains(said, "refused") || !strings.Contains(text, "stopped after 1 requests") {
		t.Errorf("nobody listens: exit %d, %s\n%s", code, said, text)
	}
	for _, args := range [][]string{{"scan"}, {"scan", "modbus"}, {"scan", "modbus", "udp://x"}, {"scan", "modbus", "tcp://x", "--units", "9-3"}} {
		if code, _, errs := firebreak(args...); code != 2 || errs == "" {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
}

// Registers are shown under each type and order, with holes, what moved, and what they may be.
func TestProbe(t *testing.T) {
	b := slave.NewBank()
	b.Set(slave.Holdings, 0x2100, 257, 0x41C8, 0x0000, 0x0000, 0x41C8, 0xFFFF)
	b.Set(slave.Holdings, 0x2107, 0x4150, 2300, 0xFFFF, 0xFFFB, 0x0007)
	n := uint16(0)
	b.OnRead(func() { n++; b.Set(slave.Holdings, 0x2108, 2300+n) })
	srv := serveTCP(t, map[byte]*slave.Bank{7: b})
	code, out, errs := firebreak("probe", "tcp://"+srv.Addr(), "--unit", "7", "--at", "0x2100", "--count", "12", "--times", "2", "--every", "1ms")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d, %s\n%s", code, errs, out)
	}
	lines := map[string]string{}
	for _, l := range strings.Split(out, "\n") {
		if f := strings.Fields(l); len(f) > 1 {
			lines[f[0]] = strings.Join(f, " ")
		}
	}
	for at, want := range map[string][]string{
		"8448": {"0101 257 257", "C x 0.1"},
		"8449": {"41C8 16840 16840 A.", "1103626240", "f32 25"},
		"8451": {"f32 swapped 25"},
		"8453": {"FFFF 65535 -1", `often "no value"`},
		"8454": {"0x2106 not there"},
		"8455": {"AP", "text"},
		"8456": {"V of mains x 0.1", "MOVED"},
		"8457": {"i32 -5"},
	} {
		for _, w := range want {
			if !strings.Contains(lines[at], w) {
				t.Errorf("register %s lacks %q: %s", at, w, lines[at])
			}
		}
	}
	if strings.Contains(lines["8448"], "MOVED") || strings.Contains(lines["8451"], "; f32 25") {
		t.Errorf("hints that are not so:\n%s", out)
	}
	if code, out, _ := firebreak("probe", "tcp://"+srv.Addr(), "--unit", "7", "--table", "coil", "--count", "2"); code != 0 || strings.Count(out, "not there") != 2 {
		t.Errorf("no coils: exit %d\n%s", code, out)
	}
	if code, _, errs := firebreak("probe", "tcp://"+srv.Addr(), "--unit", "8"); code != 1 || !strings.Contains(errs, "gateway gets no reply") {
		t.Errorf("no such unit: exit %d, %q", code, errs)
	}
	if code, _, errs := firebreak("probe", "tcp://"+srv.Addr(), "--table", "ram"); code != 2 || !strings.Contains(errs, "holding") {
		t.Errorf("exit %d, %q", code, errs)
	}
}
