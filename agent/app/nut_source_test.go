package app

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/sensors"
)

// nutSource is the configuration of docs/configuration.md, added to the annotated example.
func nutSource(t *testing.T, change ...string) (*config.Config, []config.Fault) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(doc), "```toml\n[[bus]]\nname     = \"ups-host\"")
	shown, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatal("docs/configuration.md shows no bus named ups-host")
	}
	shown = strings.NewReplacer(change...).Replace("[[bus]]\nname     = \"ups-host\"" + shown)
	_, text := room(t)
	all := string(text) // the battery temperature votes: the pack takes that of any device
	at := strings.Index(all, "\n[[detector]]\n") + 1
	return config.Parse("test.toml", []byte(all[:at]+shown+"\n\n"+all[at:]), Kinds())
}

// TestNUTSource: the shown bus is one without a fault, check warns of it in plain text beyond this machine, and
// a UPS of it is read.
func TestNUTSource(t *testing.T) {
	warned := func(c *config.Config) bool {
		var b bytes.Buffer
		if err := config.Report(&b, c); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(b.String(), "WARNING: bus ups-host reads its upsd in plain text")
	}
	c, faults := nutSource(t)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if b := c.Buses[len(c.Buses)-1]; b.Address != "10.0.3.30:3493" || !b.StartTLS || b.CA != "/etc/firebreak/upsd-ca.pem" || warned(c) {
		t.Errorf("bus %+v, warned %v", b, warned(c))
	}
	plain := []string{"starttls = true\n", "", "ca       = \"/etc/firebreak/upsd-ca.pem\"\n", ""}
	if c, faults = nutSource(t, plain...); len(faults) > 0 || !warned(c) {
		t.Errorf("plain text over the network: %v, warned %v", faults, len(faults) == 0 && warned(c))
	}
	addr := oneUPS(t)
	c, faults = nutSource(t, append(plain, "10.0.3.30", addr, `"2s"`, `"20ms"`)...)
	if len(faults) > 0 || warned(c) {
		t.Fatalf("%v, warned of loopback", faults)
	}
	buses, err := buildBuses(c, sensors.NewClock(), sensors.Real, openAdapter, 0, &busLoads{}, time.Now, discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	got := make(chan sensors.Batch, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() {
		_ = buses[len(buses)-1].Run(ctx, func(b sensors.Batch) {
			select {
			case got <- b:
			default:
			}
		})
	})
	seen := map[string]sensors.Reading{}
	for _, r := range (<-got).Readings {
		seen[c.Rules.Hazard.Points[r.Point].Name] = r
	}
	if r := seen["ups-b.battery.temperature"]; r.Value != 33.5 || r.Quality != sensors.GoodQuality {
		t.Errorf("temperature %+v", r)
	}
	if r := seen["ups-b.status.on-battery"]; r.Value != 1 || r.Quality != sensors.GoodQuality {
		t.Errorf("on battery %+v", r)
	}
}

// oneUPS is an upsd with the UPS "myups".
func oneUPS(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	wg.Go(func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for in := bufio.NewScanner(c); in.Scan(); {
			if in.Text() != "LIST VAR myups" {
				t.Errorf("asked %q", in.Text())
			}
			fmt.Fprint(c, "BEGIN LIST VAR myups\nVAR myups ups.status \"OB DISCHRG\"\nVAR myups battery.temperature \"33.5\"\nEND LIST VAR myups\n")
		}
	})
	return ln.Addr().String()
}

// TestNUTSourceFaults: each at its place, in words that say what to do.
func TestNUTSourceFaults(t *testing.T) {
	twice := "\n[[device]]\nname = \"ups-c\"\nprofile = \"nut-ups\"\nbus = \"ups-host\"\nups = \"MYUPS\"\n\n[[detector]]\nname     = \"ups-b-hot\""
	for want, change := range map[string][]string{
		"ca has no effect":            {"starttls = true\n", ""},
		"is no name of a UPS":         {`"myups"`, `"my@ups"`},
		`"ups"`:                       {"ups     = \"myups\"", ""},
		"one UPS is one device":       {"\n[[detector]]\nname     = \"ups-b-hot\"", twice},
		"is for devices on modbus":    {`"nut-ups"`, `"faast"`},
		"is not host:port":            {"10.0.3.30", "10.0.3.30:x"},
		"a UPS and an SNMP agent are": {`poll    = "2s"`, "poll = \"2s\"\ngroup = [{ points = [\"load\"], poll = \"5s\" }]"},
	} {
		_, faults := nutSource(t, change...)
		found := false
		for _, f := range faults {
			found = found || strings.Contains(f.Text, want)
		}
		if !found {
			t.Errorf("no fault %q: %v", want, faults)
		}
	}
}
