//go:build peers

package bus_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/bus"
	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
	"firebreak/sensors/sim/pty"
)

const (
	tableTime = 90 * time.Second // for all tables: whatever hangs ends then
	maxFaults = 20               // of a table: the rest would say the same
	patience  = 20 * time.Second // for a reply: how long a device may take is held elsewhere
)

// What the documents say of registers, typed by somebody who had not seen the profiles, stands in servers that
// we did not write; each row is read over Modbus TCP and over a serial line by bus, transport and profile.
func TestTablesPymodbus(t *testing.T) {
	t.Parallel()
	// Debian's own interpreter: the first in PATH may have no pymodbus.
	readTables(t, nil, "/usr/bin/python3", "testdata/tables_pymodbus.py")
}

// libmodbus knows no function 43: the UPS that names itself by it is read from pymodbus alone.
func TestTablesLibmodbus(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "tables_libmodbus")
	build := exec.Command("gcc", "-O2", "-Wall", "-Werror", "-I/usr/include/modbus", "-o", bin, "testdata/tables_libmodbus.c", "-lmodbus")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: .ci/run says which packages the peer tests need\n%s", build, err, out)
	}
	readTables(t, []string{"huawei-ups2000"}, bin)
}

// readTables starts a server with one unit for each table, and reads them all at once.
func readTables(t *testing.T, without []string, command ...string) {
	ctx, cancel := context.WithTimeout(t.Context(), tableTime)
	t.Cleanup(cancel)
	tables := allTables(t, without)
	ttys := map[byte]string{}
	for unit := range tables {
		var device string
		ttys[unit], device = serialPair(t)
		command = append(command, fmt.Sprintf("%d=%s", unit, device))
	}
	s := startStore(ctx, t, command)
	var wg sync.WaitGroup
	for unit, tb := range tables {
		serial, err := modbus.NewSerial(modbus.SerialOptions{Path: ttys[unit], Baud: 115200, Parity: "none", DataBits: 8, StopBits: 1})
		if err != nil {
			t.Fatal(err)
		}
		ways := map[string]*reader{"TCP": nil, "serial": nil}
		links := map[string]modbus.Link{"TCP": modbus.NewTCP("127.0.0.1:"+s.port, modbus.TCPOptions{}), "serial": serial}
		for way, link := range links {
			ways[way] = newReader(ctx, t, link, unit, tb.name)
		}
		wg.Go(func() { s.play(ctx, t, tb, unit, ways) })
	}
	wg.Wait()
}

// serialPair joins two pseudo terminals into a line with two ends that open like ttys.
func serialPair(t *testing.T) (agent, device string) {
	t.Helper()
	var ends [2]*pty.Pair
	for i := range ends {
		p, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = p
	}
	var wg sync.WaitGroup
	for i := range ends {
		wg.Go(func() { _, _ = io.Copy(ends[i].File, ends[1-i].File) })
	}
	t.Cleanup(func() {
		_, _ = ends[0].Close(), ends[1].Close()
		wg.Wait()
	})
	return ends[0].Path(), ends[1].Path()
}

// store is a server of registers.
type store struct {
	mu   sync.Mutex // one line and its answer at a time
	in   io.Writer
	out  *bufio.Reader
	port string
}

func startStore(ctx context.Context, t *testing.T, command []string) *store {
	t.Helper()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: .ci/run says which packages the peer tests need", err)
	}
	t.Cleanup(func() { _, _ = in.Close(), cmd.Wait() }) // it ends with its stdin, and with ctx
	s := &store{in: in, out: bufio.NewReader(out)}
	line, err := s.out.ReadString('\n')
	if _, e := fmt.Sscanf(line, "ready %s", &s.port); err != nil || e != nil {
		t.Fatalf("%s says %q, %v", command[0], line, err)
	}
	return s
}

// set returns once the registers stand.
func (s *store) set(unit byte, g registers) error {
	line := fmt.Sprintf("set %d %d %d", unit, g.f, g.at)
	if g.f == profile.Identification {
		line = fmt.Sprintf("identify %d", g.at)
	}
	line += " " + strings.Trim(fmt.Sprint(g.words), "[]") + "\n"
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := io.WriteString(s.in, line); err != nil {
		return err
	}
	if got, err := s.out.ReadString('\n'); err != nil || got != "ok\n" {
		return fmt.Errorf("the server answers %q with %q, %v", line, got, err)
	}
	return nil
}

// play writes the rows one by one and holds what is read of each against the table.
func (s *store) play(ctx context.Context, t *testing.T, tb *table, unit byte, ways map[string]*reader) {
	for _, g := range tb.base {
		if err := s.set(unit, g); err != nil {
			t.Errorf("%s: %v", tb.name, err)
			return
		}
	}
	rows := append([]tableRow{{text: "healthy"}}, tb.rows...)
	faults := 0
	for i, row := range rows {
		if faults > maxFaults {
			t.Errorf("%s: it is left here, before: %s", tb.name, row.text)
			return
		}
		last := rows[max(i-1, 0)]
		for _, g := range []registers{tb.healthy(last.set), row.set} {
			if len(g.words) == 0 {
				continue
			}
			if err := s.set(unit, g); err != nil {
				t.Errorf("%s: %s: %v", tb.name, row.text, err)
				return
			}
		}
		for _, r := range ways {
			r.ask <- row.wrong || last.wrong // a poller looks at the identity once, and then for long no more
		}
		for way, r := range ways {
			select {
			case b := <-r.got:
				for _, fault := range r.against(tb, row, b) {
					faults++
					t.Errorf("%s over %s: %s: %s", tb.name, way, row.text, fault)
				}
			case <-ctx.Done():
				t.Errorf("%s over %s: %s: nothing is read: %v", tb.name, way, row.text, ctx.Err())
				return
			}
		}
	}
}

// healthy is what stands in the place of g in a healthy device.
func (tb *table) healthy(g registers) registers {
	if i := slices.IndexFunc(tb.base, func(b registers) bool { return b.f == profile.Identification && b.f == g.f && b.at == g.at }); i >= 0 {
		return tb.base[i]
	}
	g.words = make([]uint16, len(g.words))
	for _, b := range tb.base {
		for i, w := range b.words {
			if k := b.at + i - g.at; b.f == g.f && k >= 0 && k < len(g.words) {
				g.words[k] = w
			}
		}
	}
	return g
}

// reader is the poller of a device on a bus. It polls when it is asked to, so that what comes was asked for
// after the registers stood.
type reader struct {
	points []sensors.Point
	fresh  func() (*modbus.Poller, error)
	poller *modbus.Poller
	ask    chan bool // true: by a new poller
	got    chan sensors.Batch
	clock  *sensors.Clock
}

func newReader(ctx context.Context, t *testing.T, link modbus.Link, unit byte, name string) *reader {
	t.Helper()
	p, err := profile.Load(configs.Profiles(), name)
	if err != nil {
		t.Fatal(err)
	}
	p.Read.Timeout = patience
	dev := sensors.Device{Name: name, Poll: bus.MinPeriod}
	r := &reader{points: p.Expand(dev, time.Minute), ask: make(chan bool, 1), got: make(chan sensors.Batch, 1), clock: sensors.NewClock()}
	for i := range r.points {
		r.points[i].ID = sensors.PointID(i)
		r.points[i].MaxRate = 0 // the rows jump, which no sensor does
	}
	r.fresh = func() (*modbus.Poller, error) { return modbus.New(link, unit, p, r.points) }
	if r.poller, err = r.fresh(); err != nil {
		t.Fatal(err)
	}
	d := bus.Device{Dev: dev, Part: bus.Part{Points: r.points, Poller: r}, Timeout: 2 * patience, Probe: 2 * patience}
	b, err := bus.New(name, r.clock, []bus.Device{d}, bus.Options{Close: func() { link.Close() }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, func(b sensors.Batch) { r.got <- b }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *reader) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) (_ []sensors.Reading, err error) {
	select {
	case other := <-r.ask:
		if other {
			r.poller, err = r.fresh()
		}
		if err != nil {
			return out, err
		}
		return r.poller.Poll(ctx, now, out)
	default:
		return out, nil // nothing new
	}
}

// against tells what of a batch is not as the table has it.
func (r *reader) against(tb *table, row tableRow, b sensors.Batch) (faults []string) {
	if len(b.Readings) != len(r.points) {
		return []string{fmt.Sprintf("%d readings of %d points", len(b.Readings), len(r.points))}
	}
	for _, got := range b.Readings {
		p := r.points[got.Point]
		_, name, _ := strings.Cut(p.Name, ".")
		want, known := tb.want[name]
		if moved, moves := row.reads[name]; moves {
			moved.unit = want.unit
			want = moved
		}
		if row.wrong {
			want = read{bad: true, reason: "identity", unit: want.unit}
		}
		usable := got.Quality.Usable()
		switch {
		case tb.beyond[name] && known:
			faults = append(faults, name+" has a line `want` and is said to be beyond the documents")
		case tb.beyond[name]:
		case !known:
			faults = append(faults, name+" is not in the table")
		case want.unit != string(p.Unit):
			faults = append(faults, fmt.Sprintf("%s is in %q, want %q", name, p.Unit, want.unit))
		case want.any:
		case want.bad && (usable || want.reason != "" && want.reason != got.Quality.Reason().String()),
			!want.bad && (!usable || math.Abs(got.Value-want.value) > 1e-9*max(1, math.Abs(want.value))):
			faults = append(faults, fmt.Sprintf("%s is %v (%s), want %v", name, got.Value, got.Quality, want))
		}
	}
	return faults
}
