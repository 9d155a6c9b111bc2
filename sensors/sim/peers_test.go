//go:build peers

package sim

import (
	"context"
	"net"
	"os/exec"
	"regexp"
	"testing"
	"time"
)

// mbpoll (Debian package mbpoll, on libmodbus) reads the simulated devices: a client that we did
// not write finds what we serve.
func TestMbpollReadsTheDevices(t *testing.T) {
	s := serve(t, "quiet", 1)
	poll := func(what, want string, args ...string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, "mbpoll", args...).CombinedOutput()
		if err != nil || !regexp.MustCompile(want).Match(out) {
			t.Errorf("%s: mbpoll %v: %v, want %s in:\n%s", what, args, err, want, out)
		}
	}
	tcp := func(addr, unit, table, first, count string) []string {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		return []string{"-m", "tcp", "-p", port, "-a", unit, "-0", "-t", table, "-r", first, "-c", count, "-1", "-q", host}
	}
	poll("UPS self-test", `\[2054\]:\s+4660\s`, tcp(s.Power.Addr(), "1", "4", "2054", "2")...)
	poll("UPS battery temperature", `\[135\]:\s+3[12]\d\d\s`, tcp(s.Power.Addr(), "1", "4", "135", "1")...)
	poll("BMS rack voltage", `\[8448\]:\s+25[5-7]\d\s`, tcp(s.Power.Addr(), "2", "4", "8448", "21")...)
	poll("FAAST mode", `\[6\]:\s+3\s`, tcp(s.Smoke.Addr(), "1", "4", "6", "1")...)
	poll("load", `\[0\]:\s+1200\s`, tcp(s.Loads.Addr(), "1", "4", "0", "8")...)
	poll("Calectro", `(?s)\[0\]:\s+1\s.*\[2\]:\s+0\s`, "-m", "rtu", "-b", "9600", "-P", "none", "-a", "1", "-0", "-t", "1", "-r", "0", "-c", "4", "-1", "-q", s.path)
}
