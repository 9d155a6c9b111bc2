package main

import (
	"os"
	"regexp"
	"testing"
	"time"

	"firebreak/sensors/sim/slave"
)

// The program that runs has all processors at its start, one once all has been quiet, and all again as soon as an
// alarm is told, as Go's scheduler itself tells of that process. On a machine of one processor there is nothing to shift.
func TestRunShiftsTheGear(t *testing.T) {
	t.Parallel() // it waits for ten quiet seconds of another process
	b := newBox(t)
	text, err := os.ReadFile(b.file)
	if err == nil { // an alarm that opens no plan: what is open would be seen at the next look too, up to 2 s later
		err = os.WriteFile(b.file, append(text, "\n[[detector]]\nname = \"relay\"\npoint = \"duct-1.relay\"\nis = true\npriority = 4\n"...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.env = []string{"GOMAXPROCS=", "GODEBUG=schedtrace=100"}
	trace := regexp.MustCompile(`^SCHED \d+ms: gomaxprocs=(\d+) `)
	shifts := make(chan string, 16) // only what differs from the one before
	last := ""
	b.heard = func(line string) {
		if m := trace.FindStringSubmatch(line); m != nil && m[1] != last {
			last = m[1]
			shifts <- last
		}
	}
	next := func(when string) string {
		t.Helper()
		select {
		case n := <-shifts:
			return n
		case <-time.After(4 * patience):
			t.Fatalf("%s: it shifts no more", when)
			return ""
		}
	}
	b.agent(t)
	all := next("at the start")
	if all == "1" {
		return
	}
	if n := next("all is quiet"); n != "1" {
		t.Fatalf("all is quiet: %s processors, want 1", n)
	}
	b.bank.Set(slave.Discretes, 3, 1)
	if n := next("an alarm"); n != all {
		t.Errorf("an alarm: %s processors, want %s", n, all)
	}
}
