//go:build peers

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	osexec "os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/agent/config"
	"firebreak/agent/wire"
	"firebreak/plugins"
	"firebreak/sensors/sim/slave"
)

// pageOf runs a console as a process of its own.
func pageOf(t *testing.T, file string) (url string, kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(self, "console", "-c", file, "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asMain+"=1")
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	at, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		for sc := bufio.NewScanner(errs); sc.Scan(); {
			if m := regexp.MustCompile(`url=(\S+)`).FindStringSubmatch(sc.Text()); m != nil {
				at <- m[1]
			}
		}
	}()
	kill = func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			<-read
			_ = cmd.Wait()
		}
	}
	t.Cleanup(kill)
	select {
	case url = <-at:
	case <-time.After(patience):
		t.Fatal("the console does not serve")
	}
	return url, kill
}

const live = `document.body.className === ""`

// A browser sees a value move and an alarm rise, is told at once when the agent is killed and when the console is, and shows nothing old
// as live.
func TestPeerChromium(t *testing.T) {
	b := newBox(t)
	agent := b.agent(t)
	url, kill := pageOf(t, b.file)
	p := browse(t)
	p.screen(1024, 768)
	p.call("Page.navigate", map[string]any{"url": url}, nil)
	p.sees(live)
	p.says("who", "Agent rack1, site lab, zone b3; evacuate armed, maintain armed")
	p.says("words", "Firebreak is not a fire alarm")
	row := func(name, value string) string {
		return `[...document.querySelectorAll("#points .row")].some(r => r.querySelector(".name").textContent === "` + name + `" && r.querySelector(".value").textContent.trim() === "` + value + `" && r.querySelector("polyline"))`
	}
	p.sees(row("duct-1.relay", "0"))
	b.bank.Set(slave.Discretes, 3, 1)
	p.sees(row("duct-1.relay", "1"))
	b.smoke(1)
	b.hook(t, "freeze")
	p.says("worst", "PLAN evacuate IS AT STAGE 2a (prepare); P1 smoke: ")
	p.says("alarms", "ACTIVE, NOT ACKNOWLEDGED")
	p.says("alarms", "firebreak ack smoke -c "+b.file+" --by YOU")
	p.says("plans", "freezedone")
	if code, _, errs := firebreak("ack", "smoke", "-c", b.file, "--by", "anna"); code != 0 {
		t.Fatal(errs)
	}
	p.says("alarms", "active, acknowledged")
	if code, _, errs := firebreak("shelve", "smoke", "--for", "1h", "-c", b.file, "--by", "anna"); code != 0 {
		t.Fatal(errs)
	}
	p.says("aside-count", "1 shelved")
	p.says("more", "1 put aside that stand all the same")

	_ = agent.Process.Kill()
	_ = agent.Wait()
	p.says("worst", "NO ANSWER from the agent since ")
	p.says("more", "All below is OLD, as of ")
	p.says("more", "Heard last: PLAN evacuate IS AT STAGE 2a")
	p.sees(`document.body.className === "old" && document.title.startsWith("NO ANSWER")`)
	if line := p.eval(`getComputedStyle(document.querySelector("#points .value")).textDecorationLine`); line != "line-through" {
		t.Errorf("an old figure is shown with text-decoration %q", line)
	}
	b.agent(t)
	p.sees(live)
	p.says("worst", "PLAN evacuate IS AT STAGE 2a")

	p.unfaulted("")
	kill()
	p.says("worst", "THIS PAGE GETS NO ANSWER since ")
	p.sees(`document.body.className === "old" && document.getElementById("points").textContent.includes("duct-1.relay")`)
	p.unfaulted("ERR_CONNECTION_REFUSED")
}

// What the agent says is text, whoever has named it: no element, no script and no load comes of it, and on a telephone it runs
// out of nothing.
func TestPeerChromiumShowsText(t *testing.T) {
	const evil = `<script>window.owned=1</script><img src=x onerror=window.owned=1>'"&{{WORDS}}`
	b := newBox(t)
	c, _ := config.Load(b.file, app.Kinds())
	left := 7
	status := app.Answer{Status: &app.Status{
		Plans: []plugins.PlanState{{Plan: evil, Mode: evil, Stage: "3", Episode: 7, Cause: evil, Asking: evil, TrippedBy: evil, HeldBy: evil, HoldS: 9, ActByS: &left, Countdown: map[string]int{evil: 8},
			Steps: []plugins.StepState{{Step: evil, Stage: evil, State: evil, Detail: evil}}, Peer: &plugins.PeerState{Agent: evil}, Outstanding: []plugins.Outstanding{{Step: evil}}}},
		Alarms: []plugins.AlarmState{{Name: evil, State: "unacknowledged", Active: true, Priority: 1, Cause: evil, Basis: evil, Origin: evil},
			{Name: evil, State: evil, Cause: evil}, {Name: evil, State: "__proto__"}, {Name: evil, State: "shelved", Cause: evil, SuppressedBy: evil}},
		Buses: map[string]wire.BusLoad{evil: {Silent: 2}}}}
	status.Status.Telling.LastError = evil
	points := app.Answer{Points: []app.PointState{{Name: evil, Unit: evil, Quality: evil, Usable: true, Value: 7}, {Name: "__proto__.x", Quality: "bad:comm"}}}
	answering(t, c.Control, func(r app.Request, w io.Writer) {
		a := status
		if r.Order == "points" {
			a = points
		}
		_ = json.NewEncoder(w).Encode(a)
	})
	url, _ := pageOf(t, b.file)
	p := browse(t)
	p.screen(390, 844)
	p.call("Page.navigate", map[string]any{"url": url}, nil)
	p.sees(live)
	for _, id := range []string{"worst", "plans", "alarms", "aside-list", "buses", "points"} {
		p.sees(`document.getElementById("` + id + `").textContent.includes("<script>window.owned=1</script><img src=x onerror=window.owned=1>'")`)
	}
	p.says("alarms", `firebreak ack '`+strings.ReplaceAll(evil, `'`, `'\''`)[:6]) // quoted for the shell
	if n := p.eval(`document.scripts.length + " " + document.images.length + " " + window.owned`); n != "1 0 undefined" {
		t.Errorf("scripts, images and what a script of theirs would have left: %s", n)
	}
	if w := p.eval(`document.documentElement.scrollWidth`); w != "390" {
		t.Errorf("on a screen of 390 pixels the page is %s wide", w)
	}
	p.eval(`(() => { const f = document.getElementById("filter"); f.value = "PROTO"; f.dispatchEvent(new Event("input")); })()`)
	p.sees(`document.querySelectorAll("#points .row").length === 1`)
	p.says("points", "bad: comm")
	p.unfaulted("")
}
