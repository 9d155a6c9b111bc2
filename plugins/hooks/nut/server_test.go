package nut

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
)

// TestCommands: every command of the protocol, and what is refused.
func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		c := r.pipe("10.0.0.5")
		c.want(
			"VER", "Firebreak, a server of the protocol of the Network UPS Tools",
			"NETVER", "1.3", "PROTVER", "1.3", "netver\r", "1.3",
			"LIST UPS", `BEGIN LIST UPS|UPS rack12 "Rack \"12\""|UPS rack13 "Unavailable"|END LIST UPS`,
			"LIST RW rack12", "BEGIN LIST RW rack12|END LIST RW rack12",
			"LIST CMD RACK12", "BEGIN LIST CMD rack12|END LIST CMD rack12",
			"LIST ENUM rack12 ups.status", "BEGIN LIST ENUM rack12 ups.status|END LIST ENUM rack12 ups.status",
			"LIST RANGE rack12 ups.status", "BEGIN LIST RANGE rack12 ups.status|END LIST RANGE rack12 ups.status",
			"LIST ENUM rack12 x.y", "ERR VAR-NOT-SUPPORTED",
			"LIST CLIENT rack12", "BEGIN LIST CLIENT rack12|END LIST CLIENT rack12",
			"LIST VAR nobody", "ERR UNKNOWN-UPS", "LIST", "ERR INVALID-ARGUMENT", "LIST DUST rack12", "ERR INVALID-ARGUMENT", "LIST VAR", "ERR INVALID-ARGUMENT",
			"GET VAR rack12 ups.status", `VAR rack12 ups.status "OL"`,
			"GET VAR rack12 battery.temperature", "ERR VAR-NOT-SUPPORTED",
			"GET VAR rack12", "ERR INVALID-ARGUMENT", "GET VAR rack99 ups.status", "ERR UNKNOWN-UPS", "GET", "ERR INVALID-ARGUMENT", "GET DUST x", "ERR INVALID-ARGUMENT",
			"GET UPSDESC rack12", `UPSDESC rack12 "Rack \"12\""`, "GET NUMLOGINS rack12", "NUMLOGINS rack12 0",
			"GET DESC rack12 ups.mfr", `DESC rack12 ups.mfr "Unavailable"`,
			"GET DESC rack12 experimental.firebreak.mode", `DESC rack12 experimental.firebreak.mode "Mode of the plan: observe or armed"`,
			`GET DESC rack12 "a b"`, "ERR VAR-NOT-SUPPORTED",
			"GET CMDDESC rack12 load.off", `CMDDESC rack12 load.off "Unavailable"`,
			"GET TYPE rack12 ups.status", "TYPE rack12 ups.status STRING:255", "GET TYPE rack12 ambient.count", "TYPE rack12 ambient.count NUMBER",
			"GET TYPE rack12 x.y", "ERR VAR-NOT-SUPPORTED", "GET TRACKING", "OFF", "GET TRACKING 1-2", "ERR FEATURE-NOT-CONFIGURED",
			"LOGIN rack12", "ERR USERNAME-REQUIRED", "FSD rack12", "ERR USERNAME-REQUIRED", "SET VAR rack12 ups.id x", "ERR USERNAME-REQUIRED",
			"USERNAME", "ERR INVALID-ARGUMENT", `USERNAME ""`, "ERR INVALID-USERNAME", "USERNAME host", "OK", "USERNAME host", "ERR ALREADY-SET-USERNAME",
			"LOGIN rack12", "ERR PASSWORD-REQUIRED", `PASSWORD "pass word"`, "OK", "PASSWORD x", "ERR ALREADY-SET-PASSWORD",
			"PRIMARY rack12", "ERR ACCESS-DENIED", "LOGIN rack13", "ERR ACCESS-DENIED", "LOGIN rack99", "ERR UNKNOWN-UPS", "LOGIN", "ERR INVALID-ARGUMENT",
			"LOGIN rack12", "OK", "LOGIN rack12", "ERR ALREADY-LOGGED-IN", "GET NUMLOGINS rack12", "NUMLOGINS rack12 1",
			"LIST CLIENT rack12", "BEGIN LIST CLIENT rack12|CLIENT rack12 10.0.0.5|END LIST CLIENT rack12",
			"SET VAR rack12 ups.status OFF", "ERR READONLY", "SET VAR rack12 ups.id x", "ERR VAR-NOT-SUPPORTED", "SET VAR rack12", "ERR INVALID-ARGUMENT",
			"SET TRACKING ON", "ERR FEATURE-NOT-CONFIGURED", "INSTCMD rack12 load.off", "ERR CMD-NOT-SUPPORTED", "INSTCMD rack12", "ERR INVALID-ARGUMENT",
			"STARTTLS", "ERR FEATURE-NOT-CONFIGURED", "DANCE", "ERR UNKNOWN-COMMAND", "", "ERR UNKNOWN-COMMAND", `GET VAR "`, "ERR INVALID-ARGUMENT",
			"a\x01", "ERR INVALID-ARGUMENT")
		if s := c.ask("HELP"); !strings.HasPrefix(s, "Commands: ") {
			t.Errorf("HELP: %s", s)
		}
		if got := r.Clients(); len(got) != 1 || got[0].UPS != "rack12" || got[0].User != "host" || !got[0].LoggedIn || got[0].Addr.String() != "10.0.0.5" {
			t.Errorf("clients %+v", got)
		}
		c.want("LOGOUT", "OK Goodbye", "VER", "closed")
	})
}

// TestNoClientSetsFSD: a primary may log in as one, and may not shut down the zone.
func TestNoClientSetsFSD(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		c := r.pipe("10.0.0.5")
		c.want("USERNAME admin", "OK", "PASSWORD s3cret", "OK", "LOGIN rack12", "OK", "MASTER rack12", "OK MASTER-GRANTED", "PRIMARY rack12", "OK PRIMARY-GRANTED",
			"PRIMARY rack13", "OK PRIMARY-GRANTED", "FSD rack12", "ERR ACCESS-DENIED", "FSD rack99", "ERR UNKNOWN-UPS", "GET VAR rack12 ups.status", `VAR rack12 ups.status "OL"`)
		if !r.log.has("a client asks for FSD and is refused") {
			t.Error("the refusal is not told")
		}
	})
}

// TestUsers: read anew for each connection; the last good ones count when the file is broken, or open
// to everybody; wrong passwords are slowed down by address.
func TestUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		r := newRig(t, cfg).inBubble()
		try := func(addr, user, pass, want string) {
			t.Helper()
			c := r.pipe(addr)
			c.want("USERNAME "+user, "OK", "PASSWORD "+pass, "OK", "LOGIN rack12", want)
			_ = c.nc.Close()
		}
		const ok, no = "OK", "ERR ACCESS-DENIED"
		try("10.0.0.1", "nas", "other", ok)
		try("10.0.0.1", "nobody", "other", no)
		try("10.0.0.1", "monuser", "secret", no)
		writeFile(t, cfg.UsersFile, "new pw secondary rack12\n", 0o640)
		try("10.0.0.1", "nas", "other", no)
		try("10.0.0.1", "new", "pw", ok)
		for text, mode := range map[string]uint32{"bad line\n": 0o600, "x pw2 secondary *\n": 0o644, "x \"": 0o600, "p secret primary *\n": 0o600,
			"a b secondary *\na c secondary *\n": 0o600, strings.Repeat("#", maxUsersFile+1): 0o600} {
			writeFile(t, cfg.UsersFile, text, 0o600)
			if mode == 0o644 {
				writeFile(t, cfg.UsersFile, text, 0o644)
			}
			if _, err := loadUsers(cfg.UsersFile); err == nil || strings.Contains(err.Error(), "pw2") {
				t.Errorf("%.20q with mode %o: %v", text, mode, err)
			}
			try("10.0.0.2", "new", "pw", ok)
		}
		for range maxWrong {
			try("10.0.0.3", "new", "guess", no)
		}
		try("10.0.0.3", "new", "pw", no)
		try("10.0.0.4", "new", "pw", ok)
		if s := r.pipe("10.0.0.3").status("rack12"); s != "OL" {
			t.Errorf("an address that is locked out sees %q: looking needs no login", s)
		}
		time.Sleep(wrongWindow)
		try("10.0.0.3", "new", "pw", ok)
		for i := range 2 * maxWatched {
			r.limit.fail(netip.MustParseAddr(fmt.Sprintf("10.1.%d.%d", i/250, i%250)))
		}
		if n := len(r.limit.seen); n > maxWatched {
			t.Errorf("%d addresses are remembered", n)
		}
	})
}

// TestAlias: what Synology needs, and nothing more, on a listener of its own.
func TestAlias(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		c := r.pipeTo("10.0.0.5", r.zone("rack12"))
		c.want("LIST UPS", `BEGIN LIST UPS|UPS ups "Rack \"12\""|END LIST UPS`, "GET VAR rack12 ups.status", "ERR UNKNOWN-UPS",
			"USERNAME monuser", "OK", "PASSWORD secret", "OK", "PRIMARY ups", "ERR ACCESS-DENIED", "LOGIN rack12", "ERR UNKNOWN-UPS", "LOGIN ups", "OK",
			"GET NUMLOGINS ups", "NUMLOGINS ups 1", "FSD ups", "ERR ACCESS-DENIED", "GET VAR ups ups.status", `VAR ups ups.status "OL"`)
		r.pipeTo("10.0.0.6", r.zone("rack12")).want("USERNAME admin", "OK", "PASSWORD s3cret", "OK", "LOGIN ups", "ERR ACCESS-DENIED")
		ch := r.do(call(key(41, 0), time.Minute))
		synctest.Wait()
		c.want("GET VAR ups ups.status", `VAR ups ups.status "FSD OL"`)
		wantOutcome(t, (<-ch).Outcome, plugins.Done, "10.0.0.5")
	})
}

// TestVars: readings as variables, in the registry's units, without what cannot be used.
func TestVars(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		c := r.pipe("10.0.0.5")
		const head = "BEGIN LIST VAR rack12|VAR rack12 ambient.1.contacts.2.config \"normal-opened\"|VAR rack12 ambient.1.contacts.2.name \"smoke-detector1\"|"
		const tail = `|VAR rack12 ups.mfr "Firebreak"|VAR rack12 ups.model "shutdown zone"|VAR rack12 ups.status "OL"|END LIST VAR rack12`
		const device = `VAR rack12 device.mfr "Firebreak"|VAR rack12 device.model "shutdown zone"|VAR rack12 device.type "ups"`
		list := strings.Split(c.ask("LIST VAR rack12"), "|")
		for _, want := range []string{`VAR rack12 experimental.firebreak.bad "` + "smoke-1.alarm ups-a.battery.charge ups-a.runtime ups-a.battery.temperature" + `"`} {
			if !strings.Contains(strings.Join(list, "|"), want) {
				t.Errorf("no %q in %q", want, list)
			}
		}
		r.read(sensors.Reading{Point: 1, Value: 298.4, Quality: sensors.GoodQuality},
			sensors.Reading{Point: 2, Value: 1e-7, Quality: sensors.MakeQuality(sensors.Uncertain, sensors.Fast, sensors.Real)},
			sensors.Reading{Point: 3, Value: 1, Quality: sensors.GoodQuality}, sensors.Reading{Point: 4, Value: 2.5, Quality: sensors.GoodQuality},
			sensors.Reading{Point: 77, Value: 1, Quality: sensors.GoodQuality})
		r.plan(41, "1", "observe")
		if got, want := c.ask("LIST VAR rack12"), head+`VAR rack12 ambient.1.contacts.2.status "active"|VAR rack12 ambient.count "1"|VAR rack12 battery.charge "0"|VAR rack12 battery.runtime "150"|VAR rack12 battery.temperature "25.25"|`+
			device+`|VAR rack12 experimental.firebreak.episode "41"|VAR rack12 experimental.firebreak.mode "observe"|VAR rack12 experimental.firebreak.plan "evacuate"|VAR rack12 experimental.firebreak.stage "1"`+tail; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		r.read(sensors.Reading{Point: 1, Quality: sensors.BadQuality(sensors.Comm)}, sensors.Reading{Point: 2, Value: 50, Quality: sensors.GoodQuality.WithOrigin(sensors.Injected)},
			sensors.Reading{Point: 3, Quality: sensors.GoodQuality})
		r.Offer(plugins.Update{Mark: plugins.MarkDrill, State: &sensors.Batch{Readings: []sensors.Reading{{Point: 4, Value: 9, Quality: sensors.GoodQuality}}}})
		c.want("GET VAR rack12 battery.temperature", "ERR VAR-NOT-SUPPORTED", "GET VAR rack12 battery.charge", "ERR VAR-NOT-SUPPORTED",
			"GET VAR rack12 battery.runtime", `VAR rack12 battery.runtime "150"`, "GET VAR rack12 ambient.1.contacts.2.status", `VAR rack12 ambient.1.contacts.2.status "inactive"`,
			"GET VAR rack12 ups.alarm", `VAR rack12 ups.alarm "no usable reading of ups-a.battery.charge ups-a.battery.temperature"`,
			"GET VAR rack12 ups.status", `VAR rack12 ups.status "OL"`) // loss of sensors is no reason to go
		r.read(sensors.Reading{Point: 1, Value: 300, Quality: sensors.GoodQuality})
		time.Sleep(11 * time.Second)
		c.want("GET VAR rack12 battery.temperature", "ERR VAR-NOT-SUPPORTED") // older than its stale time
	})
	for x, want := range map[float64]string{0: "0", -0.00001: "0", 25.60001: "25.6", 1e6: "1000000", 1e-9: "0", -12.5: "-12.5", 123456.78904: "123456.789"} {
		if got, ok := number(x); !ok || got != want {
			t.Errorf("%v is written %q, want %q", x, got, want)
		}
	}
	if s, ok := number(1e300); ok {
		t.Errorf("1e300 is written %q", s)
	}
}

// TestBounds: long lines, floods and crowds cost themselves.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(t)
		cfg.MaxClients, cfg.PerAddress = 4, 2
		r := newRig(t, cfg).inBubble()
		long := r.pipe("10.0.0.1")
		if got := long.ask(strings.Repeat("x", maxLine+10)); got != "ERR TOO-LONG" && got != "closed" {
			t.Errorf("a long line is answered %q", got)
		}
		if got := long.ask("VER"); got != "closed" {
			t.Errorf("after a long line: %q", got)
		}
		flood := r.pipe("10.0.0.1")
		begin := time.Now()
		for range maxRate {
			flood.ask("VER")
		}
		if d := time.Since(begin); d != 0 {
			t.Errorf("%d requests take %v", maxRate, d)
		}
		if flood.ask("VER"); time.Since(begin) != time.Second {
			t.Errorf("one more is answered after %v", time.Since(begin))
		}
		a, b := r.pipe("10.0.0.2").login("rack12"), r.pipe("10.0.0.2").login("rack12")
		if got := r.pipe("10.0.0.2").ask("VER"); got != "closed" {
			t.Errorf("a third connection of an address: %q", got)
		}
		r.pipe("10.0.0.3").login("rack12")
		time.Sleep(time.Second)
		r.pipe("10.0.0.4").login("rack12") // full: the one that only looks makes room
		if got := flood.ask("VER"); got != "closed" {
			t.Errorf("the idle one is answered %q", got)
		}
		if got := r.pipe("10.0.0.5").ask("VER"); got != "closed" {
			t.Errorf("with hosts alone there, one more: %q", got)
		}
		if a.status("rack12") != "OL" || b.status("rack12") != "OL" {
			t.Error("a host was thrown out")
		}
	})
}

// TestSlowReader: a client that does not take its answer is cut off, and holds up nobody.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, config(t)).inBubble()
		c := r.pipe("10.0.0.5")
		if _, err := io.WriteString(c.nc, "LIST VAR rack12\n"); err != nil {
			t.Fatal(err)
		}
		if s := r.pipe("10.0.0.6").status("rack12"); s != "OL" {
			t.Errorf("status %q", s)
		}
		time.Sleep(writeBound + time.Second)
		if n := len(r.Clients()); n != 1 {
			t.Errorf("%d clients, want the other one", n)
		}
	})
}

// TestServer: over real sockets, with a port that is taken at first, on two listeners.
func TestServer(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t)
	cfg.Alias = []Alias{{Listen: taken.Addr().String(), UPS: "rack13"}}
	r := newRig(t, cfg)
	go func() {
		r.until("the fault of the port is told", func() bool { return r.log.has("a port is not listened on") })
		if r.Bound(cfg.Alias[0].Listen) != "" {
			t.Error("a port that is taken counts as bound")
		}
		_ = taken.Close()
	}()
	r.run()
	c := r.dial().login("rack12")
	r.dialTo(cfg.Alias[0].Listen).want("USERNAME monuser", "OK", "PASSWORD secret", "OK", "LOGIN ups", "OK")
	if err := r.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	ch := r.do(call(key(41, 0), 20*time.Second))
	r.until("FSD is seen", func() bool { return c.status("rack12") == "FSD OL" })
	wantOutcome(t, (<-ch).Outcome, plugins.Done, "told and still there 127.0.0.1")
	_ = c.nc.Close()
	r.until("the host has gone", func() bool { return len(r.evidence(plugins.SeenLoggedOut)) == 1 })
	r.stop()
	if got := c.ask("VER"); got != "closed" {
		t.Errorf("after the end: %q", got)
	}
	if r.log.has("closed network connection") {
		t.Error("an orderly end is told as a fault")
	}
}

// cert writes a certificate for 127.0.0.1.
func cert(t testing.TB, dir string) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, certFile, string(text), 0o600)
	writeFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder})), 0o600)
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return certFile, keyFile, pool
}

// TestTLS: from 1.2 on; what came in clear is forgotten, what is sent ahead in clear is not believed,
// and a certificate that breaks leaves the last one in force.
func TestTLS(t *testing.T) {
	cfg := config(t)
	var pool *x509.CertPool
	cfg.CertFile, cfg.KeyFile, pool = cert(t, t.TempDir())
	r := newRig(t, cfg).run()
	conf := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	c := r.dial()
	c.want("USERNAME nas", "OK", "PASSWORD other", "OK")
	if err := c.startTLS(conf); err != nil {
		t.Fatal(err)
	}
	c.want("STARTTLS", "ERR ALREADY-SSL-MODE", "LOGIN rack12", "ERR USERNAME-REQUIRED", "USERNAME nas", "OK", "PASSWORD other", "OK", "LOGIN rack12", "OK")
	if got := r.Clients(); len(got) != 1 || !got[0].TLS {
		t.Errorf("clients %+v", got)
	}
	if err := r.dial().startTLS(&tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is taken")
	}
	ahead, begin := r.dial(), time.Now()
	if got := ahead.ask("STARTTLS\nUSERNAME nas"); got != "OK STARTTLS" {
		t.Errorf("STARTTLS: %q", got)
	}
	if got := ahead.answer(); got != "closed" || time.Since(begin) > tlsBound/2 {
		t.Errorf("after words ahead of TLS: %q after %v", got, time.Since(begin))
	}
	writeFile(t, cfg.KeyFile, "broken", 0o600)
	if err := r.dial().startTLS(conf); err != nil {
		t.Errorf("with a broken key the last one does not count: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	wantErr(t, r.Probe(ctx), "cert and key")
	late := r.dial()
	late.want("USERNAME nas", "OK", "PASSWORD other", "OK", "LOGIN rack12", "OK", "STARTTLS", "ERR FEATURE-NOT-CONFIGURED")
	none := newRig(t, cfg).run()
	none.dial().want("STARTTLS", "ERR FEATURE-NOT-CONFIGURED")
	_ = c.nc.Close()
}

// TestValidateTellsAll: each fault, all at once; and what plans are held to.
func TestValidateTellsAll(t *testing.T) {
	good := config(t)
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	if tr, err := good.Traits("rack12"); err != nil || !tr.Irreversible || tr.PowersOn || tr.Drill != "" {
		t.Errorf("traits %+v, %v", tr, err)
	}
	_, err := good.Traits("")
	wantErr(t, err, "use one of rack12, rack13")
	_, err = good.Traits("rack")
	wantErr(t, err, `no UPS "rack"`)
	one := Config{UPS: good.UPS[:1], Drill: "dry-run"}
	if tr, err := one.Traits(""); err != nil || tr.Drill != "dry-run" {
		t.Errorf("traits of the only one: %+v, %v", tr, err)
	}
	if p := good.Points(); len(p) != 4 || p[0] != "smoke-1.alarm" {
		t.Errorf("points %v", p)
	}
	if p := good.PlanNames(); len(p) != 1 || p[0] != "evacuate" {
		t.Errorf("plans %v", p)
	}
	bad := Config{Listen: []string{"x", "host:1", "127.0.0.1:1", "127.0.0.1:1"}, CertFile: "c", Drill: "native", MaxClients: -1,
		Alias: []Alias{{Listen: "127.0.0.1:1", UPS: "no"}},
		UPS: []UPS{{Name: "a b", Description: "x\ny", Plans: []string{"p"}, Zone: "z", Clients: []string{"h", "10.0.0.1", "10.0.0.1"}, MinClients: -1,
			Vars:     map[string]string{"ups.status": "p", "x": "p", "a.b": "", "experimental.firebreak.x": "p", "device.mfr": "p"},
			Contacts: []Contact{{N: 1, X: 1, Point: "p", Config: "open"}, {N: 1, X: 1}, {N: 0, X: 100, Point: "p"}}},
			{Name: "B"}, {Name: "b", Zone: "z"}}}
	wantErr(t, bad.Validate(), `listen "x"`, `listen "host:1"`, "listened on twice", "cert and key come together", `cert "c" must be`, "native", "max_clients -1",
		`no UPS "no"`, `ups "a b": it is no name`, "description", "either plans", `clients: "h"`, "stands there twice", "min_clients -1", `"ups.status" is set by the hook`,
		`"x" is no name`, `"a.b" names no point`, `"device.mfr" is set`, `config "open"`, "each pair once", "0.contacts.100", `"b": there is another one`)
	wantErr(t, Config{Drill: "odd"}.Validate(), "users_file is missing", "ups: give 1", `drill "odd"`)
	cfg := config(t)
	cfg.UPS[0].Vars["battery.voltage"] = "ups-a.battery.charge"
	cfg.UPS[0].Vars["input.voltage"] = "nowhere.x"
	cfg.UPS[0].Contacts[0].Point = "ups-a.battery.charge"
	_, err = New("h", cfg, Deps{Point: find, StateDirs: []string{"relative"}})
	wantErr(t, err, `hook "h"`, `battery.voltage is in "V"`, `no point "nowhere.x"`, "is no binary one", "not absolute")
}

// A part of the server that panics ends Run with an error, so that it is started again: a port that nobody
// serves any more would be found out by nobody (S22).
func TestRunOutlivesAPanic(t *testing.T) {
	cfg := config(t)
	r := newRig(t, cfg)
	ports := r.ports
	r.ports = nil // noting how the port stands panics
	if err := r.Run(t.Context(), r.seen); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("Run ends with %v", err)
	}
	r.ports = ports
	r.run()
	r.dial().login("rack12")
}
