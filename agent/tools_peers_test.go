//go:build peers

package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// mbpoll, on libmodbus, reads what firebreak sim serves: the registers of the maker's manual.
func TestPeerMbpollReadsSim(t *testing.T) {
	poll := func(want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "mbpoll", append([]string{"-0", "-1", "-q"}, args...)...).CombinedOutput()
		if err != nil || !regexp.MustCompile(want).Match(out) {
			t.Errorf("mbpoll %v: %v, want %s in:\n%s", args, err, want, out)
		}
	}
	where, _, _ := served(t, "soltaro-c", "--unit", "2", "--listen", "127.0.0.1:0", "--set", "cell.temperature.max=47.5", "--set", "module.3.temperature=-1")
	host, port, _ := net.SplitHostPort(strings.TrimPrefix(where, "tcp://"))
	poll(`\[8458\]:\s+475\s`, "-m", "tcp", "-p", port, "-a", "2", "-t", "4", "-r", "8458", "-c", "1", host)
	poll(`\[11266\]:\s+65526\s`, "-m", "tcp", "-p", port, "-a", "2", "-t", "4", "-r", "11266", "-c", "1", host)
	where, _, _ = served(t, "xy-md02", "--line", "--set", "temperature=85")
	poll(`\[1\]:\s+850\s`, "-m", "rtu", "-b", "9600", "-P", "none", "-a", "1", "-t", "3", "-r", "1", "-c", "2", strings.TrimPrefix(where, "rtu://"))
}

// A scan and a probe of pymodbus, which holds the registers of a rack BMS as OpenEMS has them.
func TestPeerScanPymodbus(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	cmd := exec.Command("/usr/bin/python3", "e2e/testdata/pymodbus_server.py", "tcp", port, "17")
	in, err := cmd.StdinPipe()
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
		in.Close()
		kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Wait()
	})
	out := bufio.NewReader(stdout)
	say := func(line, want string) {
		t.Helper()
		if line != "" {
			fmt.Fprintln(in, line)
		}
		if got, err := out.ReadString('\n'); err != nil || got != want+"\n" {
			t.Fatalf("pymodbus says %q, %v", got, err)
		}
	}
	say("", "ready")
	// Input registers 1 and 2 of an XY-MD02: 25.7 C, 54.6 %RH.
	say("set 4 1 257 546", "ok")
	code, text, errs := firebreak("scan", "modbus", "tcp://127.0.0.1:"+port, "--units", "16-17", "--profile", "xy-md02,soltaro-c", "--pace", "1ms")
	if code != 0 || !strings.Contains(text, "unit 17 answers") || !strings.Contains(text, "xy-md02: ") || !strings.Contains(text, "temperature 25.7 C, humidity 54.6 %RH") {
		t.Errorf("scan: exit %d, %s\n%s", code, errs, text)
	}
	code, text, errs = firebreak("probe", "tcp://127.0.0.1:"+port, "--unit", "17", "--table", "input", "--at", "1", "--count", "2")
	if code != 0 || !strings.Contains(text, "0101") || !strings.Contains(text, "C x 0.1") {
		t.Errorf("probe: exit %d, %s\n%s", code, errs, text)
	}
}
