//go:build peers

package e2e

import (
	"bufio"
	"cmp"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"
)

// The benchmarks of load: firebreak, and beside it in the same run a plain loop of goburrow and paho, read
// the same devices of libmodbus and tell the same mosquitto.

const (
	loadDevices   = 20
	loadRegisters = 100
)

// loadLab is the devices, the broker and who counts what it was told.
type loadLab struct {
	*lab
	ports   []string
	devices *process
	broker  *process
	told    *feed // a line for each message
	plain   string
	stamp   string   // the hook's program
	target  string   // the URL of the hook, where that is no program
	pin     []string // what goes before the command of what is measured
	disk    string   // where the journal lies; empty: in memory with all else
	metrics string   // where firebreak serves them; empty: nowhere
}

// start starts what is measured.
func (l *loadLab) start(b *testing.B, command ...string) *process {
	b.Helper()
	command = append(l.pin, command...)
	return start(b, command[0], command[1:]...)
}

func newLoadLab(b *testing.B, devices int) *loadLab {
	b.Helper()
	l := &loadLab{lab: newLab(b, "", "", "")}
	server := filepath.Join(l.Dir, "libmodbus_server")
	run(b, "gcc", "-O2", "-I/usr/include/modbus", "-o", server, "../../sensors/modbus/testdata/libmodbus_server.c", "-lmodbus")
	l.plain = filepath.Join(l.Dir, "plain")
	run(b, "go", "build", "-o", l.plain, "./testdata/plain")
	l.stamp = filepath.Join(l.Dir, "stamp")
	run(b, "gcc", "-O2", "-static", "-o", l.stamp, "../app/testdata/stamp.c")
	l.ports = freePorts(b, devices)
	l.devices = start(b, server, append([]string{"tcp"}, l.ports...)...)
	l.devices.out.line(b, 0, "ready")
	l.set(b, 0, 1, "")

	port := freePort(b)
	conf := filepath.Join(l.Dir, "mosquitto.conf")
	write(b, conf, fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\nlog_dest stderr\nlog_type notice\nlog_type information\n", port))
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto"
	}
	l.broker = start(b, bin, "-c", conf)
	l.broker.errs.line(b, 0, "mosquitto version", "running")
	l.Broker = fmt.Sprintf("127.0.0.1:%d", port)
	l.told = start(b, "mosquitto_sub", "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-q", "1", "-t", "firebreak/1/state/#", "-t", "plain/#", "-F", "%t").out
	return l
}

// freePorts are different ones: they are held until all are known.
func freePorts(b *testing.B, n int) (ports []string) {
	b.Helper()
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer ln.Close()
		ports = append(ports, fmt.Sprint(ln.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

func run(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s: %v: .ci/run says which packages the benchmarks need\n%s", name, err, out)
	}
}

func write(b *testing.B, path, text string) {
	b.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

// set writes a register of a device, by its port, or of all that have one.
func (l *loadLab) set(b *testing.B, address, value int, port string) {
	b.Helper()
	n := l.devices.out.count()
	if _, err := fmt.Fprintf(l.devices.in, "set %d %d %s\n", address, value, port); err != nil {
		b.Fatal(err)
	}
	l.devices.out.await(b, "answer of the devices", func(all []line) bool { return len(all) > n })
}

// all is what came so far.
func (f *feed) all() []line {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lines)
}

func (f *feed) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.lines)
}

// starter starts one of the two programs at a poll interval.
type starter func(b *testing.B, l *loadLab, poll string) *process

func startFirebreak(b *testing.B, l *loadLab, poll string) *process {
	b.Helper()
	return l.start(b, binary, "run", "-c", l.configure(b, poll, ""))
}

// configure writes the configuration of an agent of its own, on its own Modbus or with a companion whose
// inputs.modbus reads the same.
func (l *loadLab) configure(b *testing.B, poll, companion string) (file string) {
	b.Helper()
	dir, err := os.MkdirTemp(l.Dir, "agent-")
	if err != nil {
		b.Fatal(err)
	}
	write(b, filepath.Join(dir, "profiles", "hundred.toml"), fmt.Sprintf("name = \"hundred\"\ntitle = \"a hundred registers\"\nbus = \"modbus\"\nsource = \"none\"\n"+
		"[[channel]]\nname = \"v.*\"\nfunction = \"holding\"\naddress = 0\ncount = %d\nnumber_from = 0\nunit = \"V\"\nrange = [0, 65535]\nphysics = \"electrical\"\nhazard = 1\n", loadRegisters))
	tmpl, err := template.ParseFiles("testdata/load.toml.tmpl")
	if err != nil {
		b.Fatal(err)
	}
	var text strings.Builder
	if err := tmpl.Execute(&text, map[string]any{"Companion": companion, "Registers": registers(), "Dir": dir, "Journal": filepath.Join(cmp.Or(l.disk, dir), "journal"), "Ports": l.ports, "Poll": poll, "Stamp": l.stamp, "Target": l.target, "FIFO": l.FIFO, "Broker": l.Broker, "Metrics": l.metrics}); err != nil {
		b.Fatal(err)
	}
	file = filepath.Join(dir, "firebreak.toml")
	write(b, file, text.String())
	return file
}

func registers() (all []int) {
	for i := range loadRegisters {
		all = append(all, i)
	}
	return all
}

func startPlain(b *testing.B, l *loadLab, poll string) *process {
	b.Helper()
	return l.start(b, append([]string{l.plain, l.Broker, poll, "50000", l.FIFO, l.stamp}, l.ports...)...)
}

// cpu is the processor time of a process so far, by the scheduler's account of each of its threads, and its
// peak memory in MiB.
func (p *process) cpu(b *testing.B) (used time.Duration, peak float64) {
	b.Helper()
	return usage(b, p.cmd.Process.Pid)
}

func usage(b *testing.B, pid int) (used time.Duration, peak float64) {
	b.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	threads, err := filepath.Glob(proc + "task/*/schedstat")
	if err != nil || len(threads) == 0 {
		b.Fatalf("no threads below %s: %v", proc, err)
	}
	for _, file := range threads {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		ns, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		used += time.Duration(n)
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	return used, kib / 1024
}

// BenchmarkLoad is the processor time for a million points read, judged and told; the points that come
// through in a second; and the peak of memory. An iteration is a second.
func BenchmarkLoad(b *testing.B) {
	for _, of := range []struct {
		name  string
		start starter
	}{{"firebreak", startFirebreak}, {"plain", startPlain}} {
		for _, poll := range []string{"1s", "10ms"} {
			b.Run(of.name+"/"+poll, func(b *testing.B) {
				l := newLoadLab(b, loadDevices)
				p := of.start(b, l, poll)
				l.told.await(b, "second poll of each device", func(all []line) bool { return len(all) > 2*loadDevices })
				from, before := l.told.count(), time.Now()
				used, _ := p.cpu(b)
				b.ResetTimer()
				<-time.After(time.Duration(b.N) * time.Second)
				now, peak := p.cpu(b)
				points, took := float64((l.told.count()-from)*loadRegisters), time.Since(before)
				b.ReportMetric((now-used).Seconds()/points*1e6, "cpu-s/Mpoints")
				b.ReportMetric(points/took.Seconds(), "points/s")
				b.ReportMetric(peak, "peak-MiB")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkOneCore is how many points come through in a second when what reads them has one processor alone, and
// devices, broker and this program have another; and how many of its polls did not arrive. It is asked for 1,100,000
// points a second. What one processor would do is points/cpu-s. An iteration is a second.
func BenchmarkOneCore(b *testing.B) {
	const devices = 110
	self := strconv.Itoa(os.Getpid())
	mask, err := exec.Command("taskset", "-p", self).Output()
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(mask))
	run(b, "taskset", "-a", "-c", "-p", "1", self) // and all that it starts, but what is measured
	defer run(b, "taskset", "-a", "-p", fields[len(fields)-1], self)
	for _, of := range []struct {
		name  string
		start starter
	}{{"firebreak", startFirebreak}, {"plain", startPlain}} {
		b.Run(of.name, func(b *testing.B) {
			l := newLoadLab(b, devices)
			l.pin = []string{"taskset", "-c", "0"}
			l.metrics = "127.0.0.1:" + freePorts(b, 1)[0]
			p := of.start(b, l, "10ms")
			l.told.await(b, "second poll of each device", func(all []line) bool { return len(all) > 2*devices })
			polls := func() float64 { return 0 } // a loop that waits for each publish loses none
			if of.name == "firebreak" {
				polls = l.polls(b)
			}
			<-time.After(time.Second)
			from, before, polled := l.told.count(), time.Now(), polls()
			used, _ := p.cpu(b)
			b.ResetTimer()
			<-time.After(time.Duration(b.N) * time.Second)
			now, _ := p.cpu(b)
			told, took := float64(l.told.count()-from), time.Since(before)
			if polled > 0 {
				b.ReportMetric(100*(1-told/(polls()-polled)), "lost-%")
			}
			points := told * loadRegisters
			b.ReportMetric(points/took.Seconds(), "points/s")
			b.ReportMetric(100*(now-used).Seconds()/took.Seconds(), "%core")
			b.ReportMetric(points/(now-used).Seconds(), "points/cpu-s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// polls returns how many polls the agent says that it has begun.
func (l *loadLab) polls(b *testing.B) func() float64 {
	return func() (n float64) {
		resp, err := http.Get("http://" + l.metrics + "/metrics")
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			if name, value, ok := strings.Cut(sc.Text(), "} "); ok && strings.HasPrefix(name, "firebreak_bus_polls_total{") {
				v, _ := strconv.ParseFloat(value, 64)
				n += v
			}
		}
		return n
	}
}
