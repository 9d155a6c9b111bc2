//go:build peers

package modbus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/sensors/profile"
)

// peer runs a server that we did not write until the test ends, and returns its stdin.
func peer(t testing.TB, name string, args ...string) (in io.Writer, out *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: .ci/run says which packages the peer tests need", err)
	}
	t.Cleanup(func() { // it ends with its stdin
		stdin.Close()
		kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Wait()
	})
	r := bufio.NewReader(stdout)
	if line, err := r.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%s says %q, %v", name, line, err)
	}
	return stdin, r
}

// libmodbus builds the server of testdata with the C library.
func libmodbus(t testing.TB) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "libmodbus_server")
	out, err := exec.Command("gcc", "-O2", "-Wall", "-Werror", "-I/usr/include/modbus", "-o", bin, "testdata/libmodbus_server.c", "-lmodbus").CombinedOutput()
	if err != nil {
		t.Fatalf("gcc: %v: .ci/run says which packages the peer tests need\n%s", err, out)
	}
	return bin
}

func freeAddress(t testing.TB) (address, port string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return ln.Addr().String(), port
}

// crossed joins two pseudo terminals into a line whose two ends open like ttys.
func crossed(t testing.TB) (agent, device string) {
	t.Helper()
	a, agent := openPTY(t)
	b, device := openPTY(t)
	var wg sync.WaitGroup
	wg.Go(func() { io.Copy(a, b) })
	wg.Go(func() { io.Copy(b, a) })
	t.Cleanup(func() { a.Close(); b.Close(); wg.Wait() })
	return agent, device
}

// readAll reads each function over the whole span of a request's sizes; every value is its register's own.
func readAll(t *testing.T, l Link, unit byte) {
	t.Helper()
	for _, f := range []profile.Function{profile.Coil, profile.Discrete, profile.Holding, profile.Input} {
		sizes := []uint16{1, 2, 7, 60, 125}
		if f.Bits() {
			sizes = append(sizes, 8, 9, 2000)
		}
		for _, n := range sizes {
			for _, a := range []uint16{0, 1, 999, 2096} {
				r := Request{Unit: unit, Func: f, Address: a, Quantity: n, Timeout: 5 * time.Second, Turnaround: 100 * time.Millisecond}
				mustRead(t, l, r)
			}
		}
	}
	r := Request{Unit: unit, Func: profile.Holding, Address: 4095, Quantity: 2, Timeout: 5 * time.Second}
	if _, err := l.Read(context.Background(), r); !errors.Is(err, ErrIllegalAddress) {
		t.Errorf("beyond the last register: %v", err)
	}
	mustRead(t, l, Request{Unit: unit, Func: profile.Holding, Address: 4095, Quantity: 1, Timeout: 5 * time.Second})
}

func TestPeerLibmodbusTCP(t *testing.T) {
	address, port := freeAddress(t)
	peer(t, libmodbus(t), "tcp", port)
	l := newTCP(t, address)
	readAll(t, l, 17)
	var rs []Request
	for i := range 100 {
		rs = append(rs, holding(uint16(10*i), uint16(1+i)))
	}
	for i, reply := range l.ReadAll(context.Background(), rs, 8) { // it takes requests that wait in its socket
		if reply.Err != nil || wrongData(rs[i], reply.Data) {
			t.Fatalf("%s: % x, %v", rs[i], reply.Data, reply.Err)
		}
	}
	w := p16(t, 200, 4711)
	if err := l.Write(context.Background(), Request{Unit: 17, Timeout: long}, w); err != nil {
		t.Error(err)
	}
	if data, err := l.Read(context.Background(), holding(200, 1)); err != nil || wordAt(profile.Holding, data, 0) != 4711 {
		t.Errorf("written 4711, read % x, %v", data, err)
	}
}

// p16 is a command that writes one register.
func p16(t testing.TB, address int, value uint16) *profile.Command {
	t.Helper()
	return &profile.Command{Name: "x", Func: profile.Holding, Address: uint16(address), Values: []uint16{value}}
}

func TestPeerLibmodbusRTU(t *testing.T) {
	agent, device := crossed(t)
	peer(t, libmodbus(t), "rtu", device, "17")
	l, err := NewSerial(SerialOptions{Path: agent, Baud: 115200})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	readAll(t, l, 17)
}

// pymodbus is filled as the other one is.
func pymodbus(t testing.TB, kind, where string) {
	t.Helper()
	in, out := peer(t, "/usr/bin/python3", "../../agent/e2e/testdata/pymodbus_server.py", kind, where, "17")
	for f := profile.Coil; f <= profile.Input; f++ {
		var b strings.Builder
		fmt.Fprintf(&b, "set %d 0", f)
		for a := range 4096 {
			if f.Bits() {
				fmt.Fprintf(&b, " %d", bitOf(f, a))
			} else {
				fmt.Fprintf(&b, " %d", wordOf(f, a))
			}
		}
		fmt.Fprintln(in, b.String())
		if line, err := out.ReadString('\n'); err != nil || line != "ok\n" {
			t.Fatalf("pymodbus says %q, %v", line, err)
		}
	}
}

func TestPeerPymodbus(t *testing.T) {
	t.Run("TCP", func(t *testing.T) {
		address, port := freeAddress(t)
		pymodbus(t, "tcp", port)
		l := newTCP(t, address)
		readAll(t, l, 17)
		readNames(t, l)
	})
	t.Run("RTU over TCP", func(t *testing.T) {
		address, port := freeAddress(t)
		pymodbus(t, "rtu-over-tcp", port)
		l, err := NewSerial(SerialOptions{Address: address, Baud: 115200})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		readAll(t, l, 17)
		readNames(t, l)
	})
	for kind, ascii := range map[string]bool{"rtu": false, "ascii": true} {
		t.Run(kind, func(t *testing.T) {
			agent, device := crossed(t)
			pymodbus(t, kind, device)
			l, err := NewSerial(SerialOptions{Path: agent, Baud: 9600, ASCII: ascii, DataBits: 8})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			readAll(t, l, 17)
			readNames(t, l)
		})
	}
}

// readNames reads what pymodbus calls itself, by function 43: a list in one reply, and one that needs more.
func readNames(t *testing.T, l Link) {
	t.Helper()
	r := identify(0x0100)
	r.Unit = 17
	objects, err := Identify(context.Background(), l, r, []byte{0, 1, 2})
	if err != nil || string(objects[0]) != "pymodbus" || string(objects[1]) != "PM" || string(objects[2]) != "3.0" {
		t.Errorf("it calls itself %q, %v", objects, err)
	}
	r.Address = 0x0380
	objects, err = Identify(context.Background(), l, r, []byte{0x80, 0x81, 0x82})
	if err != nil || string(objects[0x80]) != strings.Repeat("a", 200) || string(objects[0x81]) != strings.Repeat("b", 200) || string(objects[0x82]) != "1=UPS2000;2=V1" {
		t.Errorf("its own objects are %q, %v", objects, err)
	}
	r.Address = 0x0387 // it has none there
	if objects, err = Identify(context.Background(), l, r, []byte{0x87}); objects[0x87] != nil {
		t.Errorf("object 0x87 is %q, %v", objects[0x87], err)
	}
	mustRead(t, l, Request{Unit: 17, Func: profile.Holding, Address: 7, Quantity: 3, Timeout: 5 * time.Second})
}
