package app

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/sensors"
)

// snmpSource is the configuration of docs/configuration.md, added to the annotated example.
func snmpSource(t *testing.T, change ...string) (*config.Config, []config.Fault) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "[[bus]]\nname     = \"ups-card\""
	_, rest, ok := strings.Cut(string(doc), "```toml\n"+head)
	shown, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatal("docs/configuration.md shows no bus named ups-card")
	}
	for i := 0; i+1 < len(change); i += 2 {
		if !strings.Contains(head+shown, change[i]) {
			t.Fatalf("the shown bus has no %q", change[i])
		}
	}
	shown = strings.NewReplacer(change...).Replace(head + shown)
	_, text := room(t)
	all := string(text)
	at := strings.Index(all, "\n[[detector]]\n") + 1
	return config.Parse("test.toml", []byte(all[:at]+shown+"\n\n"+all[at:]), Kinds())
}

// plainly are the changes that make the shown bus one of version 2c, with its community in a file.
func plainly(file string) []string {
	return []string{"version  = \"3\"\n", "version  = \"2c\"\n", "user     = \"firebreak\"\n", "", "auth     = \"sha256\"\n", "", "auth_key = \"credential:ups-card-auth\"\n",
		"community = \"" + file + "\"\n", "priv     = \"aes\"\n", "", "priv_key = \"credential:ups-card-priv\"\n", ""}
}

// TestSNMPSource: the shown bus is one without a fault; check warns of what whoever is on the way could change, and of what
// nobody has confirmed; and a device of it is read, with its community from a file.
func TestSNMPSource(t *testing.T) {
	report := func(c *config.Config) string {
		var b bytes.Buffer
		if err := config.Report(&b, c); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const unsigned, weak = "WARNING: bus ups-card reads its SNMP agent unsigned", "WARNING: bus ups-card protects what it reads of its SNMP agent"
	c, faults := snmpSource(t)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	want := config.SNMP{Version: "3", User: "firebreak", Auth: "sha256", AuthKey: "credential:ups-card-auth", Priv: "aes", PrivKey: "credential:ups-card-priv"}
	if b := c.Buses[len(c.Buses)-1]; b.Address != "10.0.3.31:161" || b.SNMP != want {
		t.Errorf("bus %+v", b)
	}
	out := report(c)
	if strings.Contains(out, unsigned) || strings.Contains(out, weak) || !strings.Contains(out, "profile ups-mib is unverified in part") {
		t.Errorf("the report says\n%s", out)
	}
	for change, says := range map[string]string{"sha256": "md5", "\"aes\"": "\"des\""} {
		if c, faults = snmpSource(t, change, says); len(faults) > 0 || !strings.Contains(report(c), weak) {
			t.Errorf("%s is not warned of: %v", says, faults)
		}
	}
	file := filepath.Join(t.TempDir(), "community")
	if err := os.WriteFile(file, []byte("a reader\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, faults = snmpSource(t, plainly(file)...); len(faults) > 0 || !strings.Contains(report(c), unsigned) {
		t.Errorf("version 2c is not warned of: %v", faults)
	}
	c, faults = snmpSource(t, append(plainly(file), "10.0.3.31", oneAgent(t), `"5s"`, `"20ms"`)...)
	if len(faults) > 0 || strings.Contains(report(c), unsigned) {
		t.Fatalf("%v, or warned of loopback", faults)
	}
	seen := readOnce(t, c, "ups-c.battery.temperature")
	if r := seen["ups-c.battery.temperature"]; r.Value != 33 || r.Quality != sensors.GoodQuality {
		t.Errorf("temperature %+v", r)
	}
	if r := seen["ups-c.alarm.on-battery"]; r.Quality != sensors.BadQuality(sensors.Comm) {
		t.Errorf("an alarm that was not answered: %+v", r)
	}
}

// readOnce runs the last bus of c until it has told a point.
func readOnce(t *testing.T, c *config.Config, point string) map[string]sensors.Reading {
	t.Helper()
	buses, err := buildBuses(c, sensors.NewClock(), sensors.Real, openAdapter, 0, &busLoads{}, time.Now, discard())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	seen := map[string]sensors.Reading{}
	if err := buses[len(buses)-1].Run(ctx, func(b sensors.Batch) {
		for _, r := range b.Readings {
			seen[c.Rules.Hazard.Points[r.Point].Name] = r
		}
		if seen[point].Quality.Usable() {
			stop()
		}
	}); err != nil {
		t.Fatal(err)
	}
	return seen
}

// oneAgent answers GET with 33 for every object, and nothing else, to whoever knows the community. It is no
// more than bytes: the answer is the question with other values.
func oneAgent(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	wg.Go(func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if b := thirtyThree(buf[:n]); b != nil {
				_, _ = conn.WriteToUDP(b, from)
			}
		}
	})
	return conn.LocalAddr().String()
}

// thirtyThree makes the answer: each NULL behind an object is the number 33.
func thirtyThree(q []byte) []byte {
	_, msg, _ := element(q)
	version, rest := msg[:3], msg[3:]
	_, community, pdu := element(rest)
	if string(community) != "a reader" || pdu[0] != 0xa0 {
		return nil
	}
	_, body, _ := element(pdu)
	idLen := 2 + int(body[1])
	_, list, _ := element(body[idLen+6:])
	var vars []byte
	for len(list) > 0 {
		var vb []byte
		if _, vb, list = element(list); len(vb) > 2 {
			vars = append(vars, tagged(0x30, append(bytes.Clone(vb[:len(vb)-2]), 2, 1, 33))...)
		}
	}
	answer := append(bytes.Clone(body[:idLen+6]), tagged(0x30, vars)...)
	return tagged(0x30, append(append(bytes.Clone(version), tagged(4, community)...), tagged(0xa2, answer)...))
}

// element reads one element of ASN.1: its tag, what is in it, and what is behind it.
func element(b []byte) (tag byte, in, rest []byte) {
	n, at := int(b[1]), 2
	for i := n & 0x7f; b[1] >= 0x80 && i > 0; i-- {
		if i == int(b[1]&0x7f) {
			n = 0
		}
		n = n<<8 | int(b[at])
		at++
	}
	return b[0], b[at : at+n], b[at+n:]
}

func tagged(tag byte, in []byte) []byte {
	return append([]byte{tag, 0x82, byte(len(in) >> 8), byte(len(in))}, in...)
}

// TestSNMPSourceFaults: each at its place, in words that say what to do.
func TestSNMPSourceFaults(t *testing.T) {
	for want, change := range map[string][]string{
		`"version" cannot be "4"`:             {`"3"`, `"4"`},
		`needs the key "community"`:           {"version  = \"3\"", "version  = \"1\"", "user     = \"firebreak\"\n", "", "auth     = \"sha256\"\nauth_key = \"credential:ups-card-auth\"\npriv     = \"aes\"\npriv_key = \"credential:ups-card-priv\"\n", ""},
		"user is for version 3":               {`"3"`, `"2c"`},
		"community is for version 1 and 2c":   {"user     =", "community = \"/c\"\nuser     ="},
		`needs the key "user"`:                {"user     = \"firebreak\"\n", ""},
		"auth and auth_key come together":     {"auth_key = \"credential:ups-card-auth\"\n", ""},
		"priv and priv_key come together":     {"priv     = \"aes\"\n", ""},
		"no encryption without a key to sign": {"auth     = \"sha256\"\nauth_key = \"credential:ups-card-auth\"\n", ""},
		"must be the absolute path of a file": {"credential:ups-card-priv", "secret words"},
		`"priv" cannot be "rot13"`:            {`"aes"`, `"rot13"`},
		"one agent and one profile are one":   {`"apc-uio"`, `"ups-mib"`},
		"is for devices on snmp":              {`bus     = "ups-card"`, `bus     = "upsnet"`},
		"an SNMP agent are read whole":        {"profile = \"ups-mib\"\nbus     = \"ups-card\"\n", "profile = \"ups-mib\"\nbus     = \"ups-card\"\ngroup = [{ points = [\"battery.charge\"], poll = \"9s\" }]\n"},
	} {
		_, faults := snmpSource(t, change...)
		found := false
		for _, f := range faults {
			found = found || strings.Contains(f.Text, want)
		}
		if !found {
			t.Errorf("no fault %q: %v", want, faults)
		}
	}
}
