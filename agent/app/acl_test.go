package app

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/plugins"
)

// A NATS server under the printed access list grants an agent what it needs, each session its own, and a
// stranger nothing.
func TestACLOfNATS(t *testing.T) {
	dir := t.TempDir()
	ring, err := wire.ReadRing(keys(t, dir, [2]string{"agent", "pangyo/b3-rack1"}, [2]string{"agent", "pangyo/b3-rack2"}, [2]string{"consumer", "noc"}, [2]string{"person", "kim"}))
	if err != nil {
		t.Fatal(err)
	}
	var acl bytes.Buffer
	if err := ACL(&acl, "nats", ring); err != nil {
		t.Fatal(err)
	}
	// Names and passwords in place of certificates: the permissions are the same.
	text := strings.ReplaceAll(acl.String(), `{ user: "CN=`, `{ password: "p", user: "`)
	if err := os.WriteFile(filepath.Join(dir, "acl.conf"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(conf, []byte(fmt.Sprintf("server_name: hub\nlisten: \"127.0.0.1:-1\"\njetstream { store_dir: %q }\nmqtt { host: \"127.0.0.1\", port: -1 }\ninclude \"acl.conf\"\n", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	url := fmt.Sprintf("mqtt://127.0.0.1:%d", opts.MQTT.Port)
	for _, f := range []struct{ name, text string }{{"user", "b3-rack1"}, {"pass", "p"}} {
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u, err := uplink.New(uplink.Config{Site: "pangyo", Zone: "b3", Agent: "b3-rack1", Epoch: 1, Instance: "i", Consumers: []string{"noc"},
		Brokers: []uplink.Broker{{Name: "hub", URL: url, UsernameFile: filepath.Join(dir, "user"), PasswordFile: filepath.Join(dir, "pass")}}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- u.Run(t.Context()) }()
	t.Cleanup(func() { <-done })
	u.Offer(plugins.Update{Alarm: &plugins.AlarmState{Name: "smoke", Active: true, Priority: 1, Origin: "real"}})
	until(t, "all is granted", func() bool {
		b := u.Stats().Brokers[0]
		if b.Refused != "" {
			t.Fatal(b.Refused)
		}
		return b.Granted && b.Queued == 0
	})
	client := func(user string) *session.Session {
		c, err := session.Connect(t.Context(), session.Config{URL: url, ClientID: "test-" + strings.ReplaceAll(user, ":", "-"), Username: user, Password: "p"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Abort(nil); c.Wait() })
		return c
	}
	for _, c := range []struct {
		user, filter string
		ok           bool
	}{
		{"noc", "firebreak/1/alarm/#", true}, {"noc", "firebreak/1/cmd/#", false}, {"kim", "firebreak/1/plan/#", true},
		{"b3-rack2", "firebreak/1/hello/pangyo/+/b3-rack1", true}, {"b3-rack2", "firebreak/1/cmd/pangyo/+/b3-rack1", false},
		{"b3-rack2:t", "firebreak/1/alarm/pangyo/#", false},
	} {
		err := client(c.user).Subscribe(t.Context(), c.filter, 1, func(string, []byte, bool) {})
		if (err == nil) != c.ok {
			t.Errorf("%s reads %s: %v", c.user, c.filter, err)
		}
	}
	if err := ACL(&acl, "emqx", ring); err == nil {
		t.Error("another engine is taken")
	}
	if err := ACL(&acl, "nats", wire.NewRing()); err == nil {
		t.Error("nobody is granted anything, and that is no fault")
	}
}
