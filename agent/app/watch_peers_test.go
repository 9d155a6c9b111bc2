//go:build peers

package app

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/agent/uplink"
	"firebreak/plugins"
)

// The sample of a consumer in shell tells an alarm of an agent that lives, that a topic was wiped, and
// that an agent is silent.
func TestWatchScript(t *testing.T) {
	m := newMosquitto(t, "")
	m.start()
	cmd := exec.Command("sh", "../../configs/deploy/watch.sh", "pangyo", "-h", "127.0.0.1", "-p", fmt.Sprint(m.port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // with what it starts
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
	lines := make(chan string, 100)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	await := func(want string) {
		t.Helper()
		for late := time.After(40 * time.Second); ; {
			select {
			case l := <-lines:
				if strings.Contains(l, want) {
					return
				}
				t.Log(l)
			case <-late:
				t.Fatalf("%q was not told", want)
			}
		}
	}
	u, err := uplink.New(uplink.Config{Site: "pangyo", Zone: "b3", Agent: "b3-rack1", Epoch: 7, Instance: "i1", HelloEvery: 200 * time.Millisecond,
		Brokers: []uplink.Broker{{Name: "m", URL: fmt.Sprintf("mqtt://127.0.0.1:%d", m.port)}}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- u.Run(t.Context()) }()
	t.Cleanup(func() { <-done })
	u.Offer(plugins.Update{Alarm: &plugins.AlarmState{Name: "smoke", Occurrence: 1, State: "unacknowledged", Active: true, Priority: 1, Origin: "real", Cause: "two of three"}})
	await("b3-rack1 smoke P1 unacknowledged two of three ACT")
	if b, err := exec.Command("mosquitto_pub", "-h", "127.0.0.1", "-p", fmt.Sprint(m.port), "-r", "-n", "-t", "firebreak/1/alarm/pangyo/b3/b3-rack1/smoke").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	await("firebreak/1/alarm/pangyo/b3/b3-rack1/smoke WIPED")
	if b, err := exec.Command("mosquitto_pub", "-h", "127.0.0.1", "-p", fmt.Sprint(m.port), "-t", "firebreak/1/hello/pangyo/b3/b3-rack9", "-m", `{"agent":"b3-rack9","instance":"x","epoch":1,"seq":1}`).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	await("b3-rack9 SILENT")
}
