package app

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"firebreak/agent/config"
	"firebreak/agent/consumer"
	"firebreak/agent/hub"
	"firebreak/agent/journal"
	"firebreak/agent/journal/faultfs"
	"firebreak/plugins"
)

// alarmOf is an active alarm of the agent, by name.
func alarmOf(r Running, name string) (cause string, active bool) {
	all := r.Board.Status().Alarms
	i := slices.IndexFunc(all, func(a plugins.AlarmState) bool { return a.Name == name && a.Active })
	if i < 0 {
		return "", false
	}
	return all[i].Cause, true
}

// Where what waits for brokers cannot be kept, an alarm says so and the agent runs on; a life before which could
// keep it is read by the next.
func TestOutboxOfTheAgent(t *testing.T) {
	dir := t.TempDir()
	h, err := hub.Start(filepath.Join(dir, "hub"))
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	trusted := keys(t, dir, [2]string{"agent", "pangyo/b3-rack1"})
	brokers := func(url string) (*config.Config, []byte) {
		return room(t, append(in(dir), `"mqtts://127.0.0.1:4"`, `"`+url+`"`, `"mqtts://127.0.0.1:5"`, `"mqtt://127.0.0.1:1"`,
			`ca     = "/etc/firebreak/ca.pem"`, ``, `cert   = "/etc/firebreak/client.pem"`, ``, `key    = "/etc/firebreak/client.key"`, ``,
			"/etc/firebreak/agent.key", filepath.Join(dir, "b3-rack1.key"))...)
	}
	var late atomic.Int64
	k, err := consumer.New(consumer.Config{Name: "noc", Brokers: []consumer.Broker{{Name: "hub", URL: h.URL()}}, Trusted: trusted, Heard: func(n consumer.Note) {
		if n.Past && n.Alarm != nil {
			late.Add(1)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- k.Run(t.Context()) }()
	t.Cleanup(func() { <-ended })
	until(t, "the consumer listens", func() bool { return len(k.Connected()) > 0 })
	c, text := brokers("mqtt://127.0.0.1:1")
	box := filepath.Join(dir, "journal", "outbox")
	life(t, c, text, func(r Running) {
		until(t, "what no broker takes is on the disk", func() bool {
			k := r.Uplink.Stats().Kept
			names, _ := os.ReadDir(box)
			return k != nil && k.Waiting > 0 && k.Error == "" && len(names) > 0
		})
		if cause, ill := alarmOf(r, "agent/outbox"); ill {
			t.Error(cause)
		}
	})
	c, text = brokers(h.URL())
	life(t, c, text, func(Running) {
		until(t, "a broker that comes back hears what the life before had kept", func() bool { return late.Load() > 0 })
	})
	if err := os.RemoveAll(box); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(box, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	life(t, c, text, func(r Running) {
		until(t, "the alarm", func() bool {
			cause, ill := alarmOf(r, "agent/outbox")
			return ill && strings.Contains(cause, "in memory only") && strings.Contains(cause, box)
		})
	})
}

// On a disk that is nearly full no new file is begun: the last of it is the journal's.
func TestOutboxLeavesRoom(t *testing.T) {
	room := int64(outboxReserve)
	fs := faultfs.New()
	fs.Put("old", []byte("x"))
	s := &sparing{fs, func() (int64, error) { return room, nil }}
	if _, err := s.Open("a", true); err != nil {
		t.Error(err)
	}
	room--
	if _, err := s.Open("b", true); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "left to the journal") {
		t.Errorf("%v", err)
	}
	if _, err := s.Open("old", false); err != nil {
		t.Errorf("what is there cannot be read: %v", err)
	}
	var _ journal.FS = s
}
