package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/consumer"
	"firebreak/agent/hub"
	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/plugins"
)

// What is not there any more is named by the life that told it.
func TestWatchNamesTheLifeOfAGap(t *testing.T) {
	n := consumer.Note{Kind: consumer.Gap, Site: "pangyo", Agent: "b3-rack1", Class: wire.Event, From: 3, To: 4}
	for text, want := range map[string]string{"": "GAP: event 3 to 4 have not come", "of epoch 100": "GAP: event 3 to 4 have not come of epoch 100"} {
		n.Text = text
		if got := watchLine(&n); !strings.HasSuffix(got, "pangyo/b3-rack1 "+want) {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// watch follows an agent: verified, as lines for a person and for a program.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	h, err := hub.Start(filepath.Join(dir, "hub"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	key, trusted := filepath.Join(dir, "agent.key"), filepath.Join(dir, "trusted")
	s, err := app.NewKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Trust(trusted, wire.TrustLine(wire.RoleAgent, "pangyo/b3-rack1", s.Public()), false); err != nil {
		t.Fatal(err)
	}
	u, err := uplink.New(uplink.Config{Site: "pangyo", Zone: "b3", Agent: "b3-rack1", Epoch: 7, Instance: "i1", HelloEvery: 100 * time.Millisecond, SigningKey: key,
		Brokers: []uplink.Broker{{Name: "hub", URL: h.URL()}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- u.Run(ctx) }()
	defer func() { cancel(); <-done }()
	u.Offer(plugins.Update{Alarm: &plugins.AlarmState{Name: "smoke", Occurrence: 1, State: "unacknowledged", Active: true, Priority: 2, Origin: "real", Cause: "two of three"}})
	for _, args := range [][]string{{}, {"--json"}} {
		cfg, asJSON, code := watchFlags(append([]string{"--broker", h.URL(), "--broker", "mqtt://127.0.0.1:1", "--trusted", trusted, "--site", "pangyo"}, args...), io.Discard)
		if code != 0 {
			t.Fatal(code)
		}
		out, in := io.Pipe()
		watching, stop := context.WithCancel(t.Context())
		code2 := make(chan int, 1)
		go func() { code2 <- follow(watching, cfg, asJSON, in, io.Discard); in.Close() }()
		late := time.AfterFunc(20*time.Second, stop)
		found := false
		var all bytes.Buffer
		for buf := make([]byte, 64<<10); !found; {
			n, err := out.Read(buf)
			if err != nil {
				t.Fatalf("%v: the alarm was not told: %s", err, &all)
			}
			all.Write(buf[:n])
			for _, l := range strings.Split(all.String(), "\n") {
				if !asJSON {
					found = found || strings.Contains(l, "pangyo/b3-rack1 P2 smoke: unacknowledged: two of three")
					continue
				}
				var v struct {
					Act   bool
					Type  string `json:"cloudevents_type"`
					Alarm struct{ Hazard string }
				}
				found = found || json.Unmarshal([]byte(l), &v) == nil && v.Act && v.Alarm.Hazard == "smoke" && v.Type == "dev.firebreak.alarm.p2"
			}
		}
		late.Stop()
		stop()
		go func() { _, _ = io.Copy(io.Discard, out) }()
		if c := <-code2; c != 0 {
			t.Errorf("it ends with %d", c)
		}
	}
	var errs bytes.Buffer
	if _, _, code := watchFlags(nil, &errs); code != 2 || !strings.Contains(errs.String(), "--broker") {
		t.Errorf("without a broker: %d %s", code, &errs)
	}
	if code := watch([]string{"--broker", h.URL()}, io.Discard, &errs); code != 2 || !strings.Contains(errs.String(), "no key is trusted") {
		t.Errorf("without keys: %d %s", code, &errs)
	}
}
