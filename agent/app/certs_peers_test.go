//go:build peers

package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/hub"
	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/plugins"
)

// manyCerts makes certificates for b3-rack1 to b3-rackN by the script, and trusts their keys.
func manyCerts(t *testing.T, n int) (certs, trusted string) {
	t.Helper()
	dir := t.TempDir()
	certs = filepath.Join(dir, "certs")
	script := func(args ...string) {
		t.Helper()
		cmd := exec.Command("sh", append([]string{"../../configs/deploy/certs.sh", certs}, args...)...)
		cmd.Env = append(os.Environ(), "ALSO=hub.example mqtt.example")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	names := []string{"client"}
	who := [][2]string{{"consumer", "noc"}}
	for i := range n {
		names = append(names, fmt.Sprintf("b3-rack%d", i+1))
		who = append(who, [2]string{"agent", fmt.Sprintf("pangyo/b3-rack%d", i+1)})
	}
	script("broker", "127.0.0.1")
	script(append(names, "noc")...)
	if pair, err := tls.LoadX509KeyPair(certs+"/127.0.0.1.pem", certs+"/127.0.0.1.key"); err != nil || pair.Leaf.VerifyHostname("127.0.0.1") != nil || pair.Leaf.VerifyHostname("mqtt.example") != nil {
		t.Errorf("the broker's certificate lacks a name: %v", err)
	}
	before, err := os.ReadFile(filepath.Join(certs, "b3-rack1.pem"))
	if err != nil {
		t.Fatal(err)
	}
	script("client", "b3-rack1", "b3-rack2")
	if after, _ := os.ReadFile(filepath.Join(certs, "b3-rack1.pem")); !bytes.Equal(before, after) {
		t.Error("a second run has made a certificate anew")
	}
	all, _ := filepath.Glob(filepath.Join(certs, "b3-rack*.pem"))
	if len(all) != 2*n {
		t.Errorf("%d certificates, want two for each of %d", len(all), n)
	}
	return certs, keys(t, dir, who...)
}

// mosquitto takes the script's certificates, binds each session to its own, and lets each do what the
// printed access list says.
func TestCertificates(t *testing.T) {
	certs, trusted := manyCerts(t, 100)
	ring, err := wire.ReadRing(trusted)
	if err != nil {
		t.Fatal(err)
	}
	var acl bytes.Buffer
	if err := ACL(&acl, "mosquitto", ring); err != nil {
		t.Fatal(err)
	}
	m := newMosquitto(t, acl.String())
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous false\nuser root\nlog_dest none\nacl_file %s\ncafile %s/ca.pem\ncertfile %s/127.0.0.1.pem\nkeyfile %s/127.0.0.1.key\nrequire_certificate true\nuse_identity_as_username true\nuse_username_as_clientid true\n",
		m.port, filepath.Join(filepath.Dir(m.conf), "acl"), certs, certs, certs)
	if err := os.WriteFile(m.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	testCertificates(t, fmt.Sprintf("mqtts://127.0.0.1:%d", m.port), certs, "x")
}

// firebreak hub does the same of itself, by the same certificates and keys; there a client id must be that of
// the certificate.
func TestHubCertificates(t *testing.T) {
	certs, trusted := manyCerts(t, 3)
	addr := freePort(t)
	c := &config.Hub{Name: "hub", Listen: addr, Dir: t.TempDir(), Cert: certs + "/127.0.0.1.pem", Key: certs + "/127.0.0.1.key", CA: certs + "/ca.pem",
		Trusted: trusted, Control: filepath.Join(t.TempDir(), "sock"), HistoryAge: time.Hour}
	serve(t, c)
	testCertificates(t, "mqtts://"+addr, certs, "noc:watch")
}

// serve runs a hub until the test ends.
func serve(t *testing.T, c *config.Hub) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan *hub.Hub, 1), make(chan error, 1)
	go func() {
		ended <- RunHub(ctx, c, slog.New(slog.DiscardHandler), func(h *hub.Hub) { ready <- h })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
}

// testCertificates: a stolen name takes over nothing, a stranger and plain text get nowhere. id is one that the
// certificate of noc may use.
func testCertificates(t *testing.T, url, certs, id string) {
	file := func(name string) string { return filepath.Join(certs, name) }
	var agents []*uplink.Uplink
	for _, n := range []string{"b3-rack1", "b3-rack2"} {
		u, err := uplink.New(uplink.Config{Site: "pangyo", Zone: "b3", Agent: n, Epoch: 1, Instance: "i" + n, Consumers: []string{"noc"},
			Brokers: []uplink.Broker{{Name: "hub", URL: url, CAFile: file("ca.pem"), CertFile: file(n + ".pem"), KeyFile: file(n + ".key"),
				TelemetryCertFile: file(n + "-t.pem"), TelemetryKeyFile: file(n + "-t.key")}}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- u.Run(t.Context()) }()
		t.Cleanup(func() { <-done })
		u.Offer(plugins.Update{Alarm: &plugins.AlarmState{Name: "smoke", Active: true, Priority: 1, Origin: "real"}})
		agents = append(agents, u)
	}
	for _, u := range agents {
		until(t, "all is granted over TLS", func() bool {
			b := u.Stats().Brokers[0]
			if b.Refused != "" {
				t.Fatal(b.Refused)
			}
			return b.Granted && b.Queued == 0
		})
	}
	open := func(id, cert string) (*session.Session, error) {
		sc := session.Config{URL: url, ClientID: id}
		f := session.Files{CA: file("ca.pem")}
		if cert != "" {
			f.Cert, f.Key = file(cert+".pem"), file(cert+".key")
		}
		if err := f.Apply(&sc, time.Now); err != nil {
			t.Fatal(err)
		}
		return session.Connect(t.Context(), sc)
	}
	sessions := agents[0].Stats().Brokers[0].Sessions
	// mosquitto puts the name of the certificate in place of the id, the hub refuses.
	if thief, err := open("b3-rack1", "b3-rack3"); err == nil {
		defer func() { thief.Abort(nil); thief.Wait() }()
		if err := thief.Publish("firebreak/1/alarm/pangyo/b3/b3-rack1/smoke", 0, true, nil).Err(); err != nil {
			t.Log(err)
		}
	}
	noc, err := open(id, "noc")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { noc.Abort(nil); noc.Wait() }()
	got := make(chan string, 10)
	if err := noc.Subscribe(t.Context(), "firebreak/1/alarm/pangyo/+/b3-rack1/smoke", 1, func(_ string, b []byte, _ bool) { got <- string(b) }); err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-got:
		if !strings.Contains(b, `"active":true`) {
			t.Errorf("retained: %q", b)
		}
	case <-time.After(20 * time.Second):
		t.Error("the retained alarm is gone")
	}
	if s := agents[0].Stats(); s.Brokers[0].Sessions != sessions || !s.Brokers[0].Connected || s.Tampered > 0 {
		t.Errorf("a stolen client id: %+v", s)
	}
	if _, err := open("b3-rack1", ""); err == nil {
		t.Error("a client without a certificate is let in")
	}
	if _, err := session.Connect(t.Context(), session.Config{URL: strings.Replace(url, "mqtts", "mqtt", 1), ClientID: "x"}); err == nil {
		t.Error("plain text is let in")
	}
}
