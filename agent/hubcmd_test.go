package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/agent/wire/session"
)

// hub serves what its file says, and tells what it has heard.
func TestHubCommand(t *testing.T) {
	dir := t.TempDir()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	file := filepath.Join(dir, "hub.toml")
	text := fmt.Sprintf("site = \"pangyo\"\n[hub]\nname = \"hub\"\nlisten = %q\ndirectory = %q\ncontrol = %q\n", addr, filepath.Join(dir, "data"), filepath.Join(dir, "sock"))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := firebreak("hub", "history", "-c", file); code != 1 || !strings.Contains(errs, "no hub answers") || !strings.Contains(errs, "start it (systemctl start firebreak-hub)") {
		t.Errorf("before there is one: %d %s", code, errs)
	}
	c, faults := config.ParseHub(file, []byte(text), app.Kinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runHub(ctx, c, false, io.Discard) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	var s *session.Session
	tick, late := time.NewTicker(20*time.Millisecond), time.After(20*time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		if s == nil {
			if got, err := session.Connect(t.Context(), session.Config{URL: "mqtt://" + addr, ClientID: "rack1"}); err == nil {
				s = got
				defer func() { s.Abort(errors.New("over")); s.Wait() }()
			}
		} else {
			s.Publish("firebreak/1/alarm/pangyo/b3/rack1/_echo", 1, false, []byte(`{"echo":true}`)) // is kept, and not told
			s.Publish("firebreak/1/alarm/pangyo/b3/rack1/smoke", 1, true, fmt.Appendf(nil, `{"n":%d}`, n))
		}
		code, out, errs := firebreak("hub", "history", "--since", "1h", "-c", file)
		var r struct {
			Topic   string
			Message struct{ N *int }
		}
		first, _, _ := strings.Cut(out, "\n")
		if code == 0 && json.Unmarshal([]byte(first), &r) == nil && r.Topic == "firebreak/1/alarm/pangyo/b3/rack1/smoke" && r.Message.N != nil {
			break
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("the history has no alarm: %d %q %q", code, out, errs)
		}
	}
	if code, _, errs := firebreak("hub", "-c", file); code != 1 || !strings.Contains(errs, "another hub uses the directory") {
		t.Errorf("a second one at the same address: %d %s", code, errs)
	}
	for _, args := range [][]string{{"hub", "x"}, {"hub", "-c", "/nonexistent"}, {"hub", "history", "--since", "x"}} {
		if code, _, _ := firebreak(args...); code != 2 {
			t.Errorf("%v: exit %d, want 2", args, code)
		}
	}
	if code, _, errs := firebreak("hub", "-c", "../configs/firebreak.toml"); code != 1 || !strings.Contains(errs, "there is no [hub]") {
		t.Errorf("a file without one: %d %s", code, errs)
	}
}
