package main

import (
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/sim/slave"
)

// canary stands in every file that holds a secret; an archive must never contain it.
const canary = "canary-5b1e9"

// polls notes when the detector was asked.
type polls struct {
	clock *sensors.Clock
	mu    sync.Mutex
	at    []sensors.Mono
}

func (p *polls) note(slave.Request) (f slave.Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = append(p.at, p.clock.Now())
	return f
}

func (p *polls) count() int { return p.between(0, math.MaxInt64) }

func (p *polls) between(from, to sensors.Mono) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, at := range p.at {
		if at >= from && at <= to {
			n++
		}
	}
	return n
}

// recordedBox is a box that is polled ten times a second and whose hook says something.
func recordedBox(t *testing.T) *box {
	t.Helper()
	b := newBox(t)
	b.polls = &polls{clock: sensors.NewClock()}
	b.srv.SetFault(b.polls.note)
	secret := filepath.Join(filepath.Dir(b.file), "password")
	if err := os.WriteFile(secret, []byte(canary), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	s := strings.NewReplacer(`poll    = "1s"`, `poll    = "100ms"`, `> \"$FIFO\""`, `> \"$FIFO\"; echo said by $FIREBREAK_STEP; exit 0"`).Replace(string(text)) + `
[[broker]]
name          = "b"
url           = "mqtts://127.0.0.1:1"
username_file = "` + secret + `"
password_file = "` + secret + `"
stands        = { zone = "b1", feed = "A" }
`
	if !strings.Contains(s, "said by") || !strings.Contains(s, `"100ms"`) {
		t.Fatal("the box is not what it was")
	}
	if err := os.WriteFile(b.file, []byte(s), 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

// archive makes a bundle, unpacks it with tar, and checks its sums with sha256sum.
func (b *box) archive(t *testing.T, args ...string) (dir, stderr string) {
	t.Helper()
	dir = t.TempDir()
	file := filepath.Join(dir, "a.tar.gz")
	code, out, errs := firebreak(append([]string{"bundle"}, append(args, "-c", b.file, "-o", file)...)...)
	if code != 0 || strings.TrimSpace(out) != file {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode() != 0o600 {
		t.Errorf("the archive: %v %v, want mode 0600", fi.Mode(), err)
	}
	for _, cmd := range [][]string{{"tar", "xzf", "a.tar.gz"}, {"sha256sum", "--quiet", "--strict", "-c", "SHA256SUMS"}} {
		c := osexec.Command(cmd[0], cmd[1:]...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	sums := unpacked(t, dir, "SHA256SUMS")
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == file {
			return err
		}
		files++
		name, _ := filepath.Rel(dir, path)
		if name != "SHA256SUMS" && !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("%s has no checksum", name)
		}
		if strings.Contains(unpacked(t, dir, name), canary) {
			t.Errorf("%s holds a secret", name)
		}
		return nil
	})
	if err != nil || files != strings.Count(sums, "\n")+1 {
		t.Errorf("%d files, %d sums: %v", files, strings.Count(sums, "\n"), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".firebreak-bundle-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return dir, errs
}

func unpacked(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func mustSay(t *testing.T, dir, name string, words ...string) {
	t.Helper()
	text := unpacked(t, dir, name)
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", name, w, text)
		}
	}
}

// An investigator gets one archive of an episode: while the agent runs, and from what a killed one
// has left; with every reading, and with what is missing named.
func TestBundle(t *testing.T) {
	b := recordedBox(t)
	cmd := b.agent(t)
	until(t, 0, "plan evacuate: armed, stage 0", "status", "-c", b.file)
	if code, _, errs := firebreak("bundle", "last", "-c", b.file); code != 1 || !strings.Contains(errs, "no episode last") {
		t.Errorf("without an episode: exit %d, %s", code, errs)
	}
	for quiet := b.polls.count() + 10; b.polls.count() < quiet; { // ten polls before
		until(t, 0, "stage 0", "status", "-c", b.file)
	}
	b.smoke(1)
	b.hook(t, "freeze")
	until(t, 0, "done", "status", "-c", b.file)
	b.until(t, "the end of the hook is in the history", func(dir string) bool {
		got := b.readings(t, dir)
		return strings.Contains(unpacked(t, dir, "events.jsonl"), "hook.ended") && len(got) >= 20 && got[len(got)-5][1] == "1"
	})
	dir, _ := b.archive(t, "last")
	b.whole(t, dir)
	mustSay(t, dir, "status.json", "evacuate")
	mustSay(t, dir, "gaps.txt", "The end of the episode is not in the history", "not 10m0s: the agent was not running before")

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	dir, _ = b.archive(t, "last")
	b.whole(t, dir)
	if _, err := os.Stat(filepath.Join(dir, "status.json")); err == nil {
		t.Error("a killed agent has told its status")
	}
	code, out, errs := firebreak("replay", filepath.Join(dir, "a.tar.gz")) // under the configuration in it
	if code != 0 || !strings.Contains(out, "STAGE 2a of evacuate opens") || !strings.Contains(out, "origin replay") {
		t.Errorf("the archive replayed: exit %d: %s%s", code, out, errs)
	}
	var v struct {
		Episode struct {
			Plan   string
			Number uint64
		}
	}
	if err := json.Unmarshal([]byte(unpacked(t, dir, "versions.json")), &v); err != nil || v.Episode.Plan != "evacuate" {
		t.Fatalf("versions.json: %v %+v", err, v)
	}
	number := strconv.FormatUint(v.Episode.Number, 10)
	journal := filepath.Join(filepath.Dir(b.file), "journal")
	dir, _ = b.archive(t, number, "--journal", journal) // of a copy of the disk, without a configuration
	b.whole(t, dir)
	dir, _ = b.archive(t, "evacuate/"+number, "--before", "500ms")
	if n := len(b.readings(t, dir)); n < 5 {
		t.Errorf("%d readings from half a second before", n)
	}
	if code, _, errs := firebreak("bundle", "evacuate/77", "-c", b.file); code != 1 || !strings.Contains(errs, "there are: evacuate/"+number) {
		t.Errorf("an episode that is not: exit %d, %s", code, errs)
	}
	b.damaged(t, journal)
}

// until repeats a bundle until it is as wanted: the history is written behind.
func (b *box) until(t *testing.T, what string, ok func(dir string) bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); ; {
		if dir, _ := b.archive(t, "last"); ok(dir) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("never: %s", what)
		}
	}
}

// readings are the lines of one point: its times by the monotonic clock, and its values.
func (b *box) readings(t *testing.T, dir string) (out [][2]string) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(unpacked(t, dir, "readings.csv"))).ReadAll()
	if err != nil || strings.Join(rows[0], ",") != "wall_time,mono_ns,device,point,value,unit,quality,reason,origin" {
		t.Fatalf("readings.csv: %v %v", err, rows[0])
	}
	for _, r := range rows[1:] {
		if _, err := time.Parse("2006-01-02T15:04:05.000Z", r[0]); err != nil {
			t.Fatal(err)
		}
		if r[3] == "duct-1.smoke.alarm" && r[2] == "duct-1" && r[6] == "good" && r[8] == "real" {
			out = append(out, [2]string{r[1], r[4]})
		}
	}
	return out
}

// whole checks an archive of the episode of recordedBox.
func (b *box) whole(t *testing.T, dir string) {
	t.Helper()
	got := b.readings(t, dir)
	if len(got) < 15 {
		t.Fatalf("%d readings of the smoke detector", len(got))
	}
	first, _ := strconv.ParseInt(got[0][0], 10, 64)
	last, _ := strconv.ParseInt(got[len(got)-1][0], 10, 64)
	// Of polls that follow each other faster than the agent's loop comes to them it takes the newest.
	if asked := b.polls.between(sensors.Mono(first), sensors.Mono(last)); len(got) < asked/2 || len(got) > asked+2 {
		t.Errorf("%d readings, and the detector was asked %d times meanwhile", len(got), asked)
	}
	flips := 0
	for i := 1; i < len(got); i++ {
		if got[i][1] != got[i-1][1] {
			flips++
		}
	}
	if got[0][1] != "0" || got[len(got)-1][1] != "1" || flips != 1 {
		t.Errorf("smoke from %s to %s with %d changes", got[0][1], got[len(got)-1][1], flips)
	}
	mustSay(t, dir, "README.txt", "Episode ", "sha256sum -c SHA256SUMS", "Site lab, zone b3, agent rack1")
	mustSay(t, dir, "alarms.jsonl", `"name":"smoke"`, `"since_start_s"`)
	mustSay(t, dir, "plan.jsonl", `"stage":"2a"`, `"step":"freeze"`)
	mustSay(t, dir, "events.jsonl", "stage.opened", "step.running", "step.done", "hook.ended")
	mustSay(t, dir, "journal.jsonl", `"kind":"open"`, `"name":"freeze"`)
	mustSay(t, dir, "config.toml", `name       = "evacuate"`)
	mustSay(t, dir, "versions.json", `"clock_synchronised_at_first"`, `"boot"`, `"go": "go`)
	mustSay(t, dir, "timeline.md", "**alarm smoke**", "**stage 2a of plan evacuate opens**", "duct-1.smoke.alarm = 1", "step freeze of plan evacuate, stage 2a, is done", "hook of step freeze ended after")
	hooks, err := filepath.Glob(filepath.Join(dir, "hooks", "evacuate.b3.2a.freeze.*.do.0.txt"))
	if err != nil || len(hooks) != 1 {
		t.Fatalf("hooks: %v %v", hooks, err)
	}
	mustSay(t, dir, "hooks/"+filepath.Base(hooks[0]), "said by freeze", "result     done", "exit code  0", "journaled  true")
}

// damaged: what is broken is passed over and named; without a history the journal is left, and
// without both there is nothing.
func (b *box) damaged(t *testing.T, journal string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(journal, "history", "*.hist"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("%v %v", segments, err)
	}
	data, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(segments[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	dir, errs := b.archive(t, "last")
	mustSay(t, dir, "gaps.txt", "does not read back", "polls, states or events are not there")
	if !strings.Contains(errs, "missing: ") {
		t.Errorf("the command does not say what is missing: %q", errs)
	}
	if err := os.RemoveAll(filepath.Join(journal, "history")); err != nil {
		t.Fatal(err)
	}
	dir, _ = b.archive(t, "last")
	mustSay(t, dir, "gaps.txt", "There is no history of readings", "its start and end are those of the journal")
	mustSay(t, dir, "journal.jsonl", `"kind":"open"`)
	if err := os.RemoveAll(journal); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := firebreak("bundle", "last", "-c", b.file); code != 1 || !strings.Contains(errs, "cannot be read") {
		t.Errorf("without a journal: exit %d, %s", code, errs)
	}
}

// A restart with SIGTERM in the middle of an episode is one process more, and loses nothing.
func TestBundleOverARestart(t *testing.T) {
	b := recordedBox(t)
	cmd := b.agent(t)
	until(t, 0, "plan evacuate: armed, stage 0", "status", "-c", b.file)
	b.smoke(1)
	b.hook(t, "freeze")
	until(t, 0, "done", "status", "-c", b.file)
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the agent ended with %v on SIGTERM, want 0", err)
		}
		cmd = b.agent(t)
		until(t, 0, "stage 2a", "status", "-c", b.file)
	}
	b.until(t, "the last process has written", func(dir string) bool {
		return strings.Count(unpacked(t, dir, "versions.json"), `"instance"`) == 3
	})
	dir, _ := b.archive(t, "last")
	mustSay(t, dir, "timeline.md", "the agent has started anew")
	text := unpacked(t, dir, "gaps.txt")
	for _, word := range []string{"Between", "does not read back", "dropped,"} {
		if strings.Contains(text, word) {
			t.Errorf("orderly restarts have lost something:\n%s", text)
		}
	}
}
