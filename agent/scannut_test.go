package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"firebreak/agent/app"
	"firebreak/agent/config"
)

// upsd answers as one with two UPSes, of which one has no driver, and keeps what it was asked.
func upsd(t *testing.T, upses string) (addr string, asked func() string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				for in := bufio.NewScanner(c); in.Scan(); {
					mu.Lock()
					seen = append(seen, in.Text())
					mu.Unlock()
					switch in.Text() {
					case "LIST UPS":
						fmt.Fprintf(c, "BEGIN LIST UPS\n%sEND LIST UPS\n", upses)
					case "LIST VAR rack-1":
						fmt.Fprint(c, "BEGIN LIST VAR rack-1\nVAR rack-1 ups.status \"OL CHRG\"\nVAR rack-1 ups.model \"Smart-UPS 1500\"\nVAR rack-1 ups.serial \"AS1234\"\nVAR rack-1 battery.temperature \"warm\"\nVAR rack-1 battery.charge \"97\"\nEND LIST VAR rack-1\n")
					default:
						fmt.Fprint(c, "ERR DRIVER-NOT-CONNECTED\n")
					}
				}
			})
		}
	})
	t.Cleanup(func() { stop(); ln.Close(); wg.Wait() })
	return ln.Addr().String(), func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(seen, "; ")
	}
}

// The UPSes behind an upsd are listed with what they say of themselves and how much of the profile they have; one without a driver
// costs itself alone. What is printed for the configuration is one.
func TestScanNUT(t *testing.T) {
	addr, asked := upsd(t, "UPS rack-1 \"the one on the left\"\nUPS rack-2 \"\"\n")
	code, out, errs := firebreak("scan", "nut", "nut://"+addr, "--toml")
	if code != 0 || errs != "" {
		t.Fatalf("exit %d, %s\n%s", code, errs, out)
	}
	for _, want := range []string{"plan: ask upsd at " + addr, "UPS rack-1  the one on the left", "ups.model Smart-UPS 1500, ups.serial AS1234, ups.status OL CHRG",
		"nut-ups: UPS behind an upsd", "UPS rack-2", "its variables cannot be read: upsd answers ERR DRIVER-NOT-CONNECTED", "kind    = \"nut\"", "ups     = \"rack-2\""} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if got := asked(); got != "LIST UPS; LIST VAR rack-1; LIST VAR rack-2" {
		t.Errorf("it was asked %s", got)
	}
	_, tables, _ := strings.Cut(out, "\n[[bus]]")
	_, faults := config.Parse("f", []byte("site = \"s\"\nzone = \"z\"\nagent = \"a\"\njournal = \"/j\"\nstands = { zone = \"x\", feed = \"C\" }\n[[bus]]"+tables), app.Kinds())
	for _, f := range faults {
		if !strings.Contains(f.Text, "plan") && !strings.Contains(f.Text, "vote") && !strings.Contains(f.Text, "stage") {
			t.Errorf("%v", f)
		}
	}
	if code, _, errs := firebreak("scan", "nut://"+addr); code != 0 || errs != "" {
		t.Errorf("the short form: exit %d, %s", code, errs)
	}
	empty, _ := upsd(t, "")
	if code, _, errs := firebreak("scan", "nut", empty); code != 1 || !strings.Contains(errs, "has no UPS: see ups.conf") {
		t.Errorf("an upsd without UPSes: exit %d, %s", code, errs)
	}
	if code, _, errs := firebreak("scan", "nut", "nut://h/x"); code != 2 || !strings.Contains(errs, "write nut://HOST") {
		t.Errorf("no target: exit %d, %s", code, errs)
	}
	if code, _, errs := firebreak("scan", "nut", "127.0.0.1:1"); code != 1 || !strings.Contains(errs, "upsd at 127.0.0.1:1") {
		t.Errorf("nobody there: exit %d, %s", code, errs)
	}
}

// A list may name UPSes behind an upsd; what goes with no upsd is a fault.
func TestImportNUT(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ups.csv")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const head = "name,profile,bus,kind,endpoint,unit,ups\n"
	write(head + "ups-a,nut-ups,host-1,nut,10.0.3.30:3493,,rack-1\nups-b,nut-ups,host-1,,,,rack-2\nair,xy-md02,gw,modbus-tcp,h:502,1,\n")
	code, out, errs := firebreak("import", file)
	if code != 0 || errs != "" || !strings.Contains(out, "kind    = \"nut\"\naddress = \"10.0.3.30:3493\"") || !strings.Contains(out, "bus     = \"host-1\"\nups     = \"rack-2\"\n") || strings.Count(out, "unit    =") != 1 {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	for text, says := range map[string]string{
		"u,nut-ups,b,modbus-tcp,h:1,1,\n":                            ":2: profile: nut-ups is of a device on nut, and bus b is modbus-tcp",
		"u,xy-md02,b,nut,h:1,,rack-1\n":                              ":2: profile: xy-md02 is of a device on modbus",
		"u,nut-ups,b,nut,h:1,3,rack-1\n":                             ":2: ups: ",
		"u,nut-ups,b,nut,h:1,,a b\n":                                 ":2: ups: ",
		"u,xy-md02,b,modbus-tcp,h:1,1,rack-1\n":                      ":2: ups: \"rack-1\": bus b is modbus-tcp",
		"u,nut-ups,b,nut,h:1,,rack-1\nv,nut-ups,b,nut,h:1,,rack-1\n": ":3: unit: the same as in line 2",
	} {
		write(head + text)
		if code, out, errs := firebreak("import", file); code != 1 || out != "" || !strings.Contains(errs, file+says) {
			t.Errorf("%q: exit %d, %q, %q, want %q", text, code, out, errs, says)
		}
	}
}

// Modbus ASCII on a line, from the simulated device to the scan that finds it, with the settings that such a line has.
func TestScanASCII(t *testing.T) {
	t.Parallel() // it waits more than it works
	where, _, _ := served(t, "xy-md02", "--unit", "3", "--ascii")
	if !strings.HasPrefix(where, "ascii:///dev/") {
		t.Fatalf("it answers at %s", where)
	}
	code, out, errs := firebreak("scan", "modbus", where, "--units", "2-4", "--baud", "9600", "--parity", "even", "--timeout", "200ms", "--pace", "5ms", "--toml")
	if code != 0 || errs != "" || strings.Count(out, " answers at ") != 1 || !strings.Contains(out, "unit 3 answers at "+where+", 9600 baud, parity even") ||
		!strings.Contains(out, "xy-md02: XY-MD02 temperature and humidity probe; 2 of 2 points usable") || !strings.Contains(out, "kind   = \"modbus-ascii\"") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	rtu := strings.Replace(where, "ascii://", "rtu://", 1)
	if code, out, _ := firebreak("scan", "modbus", rtu, "--units", "3", "--baud", "9600", "--parity", "none", "--timeout", "100ms", "--pace", "5ms"); code != 1 || strings.Contains(out, "unit 3 answers") {
		t.Errorf("as RTU: exit %d\n%s", code, out)
	}
}
