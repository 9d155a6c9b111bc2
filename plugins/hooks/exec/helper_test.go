package exec

import (
	"context"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"
)

// The helper is killed while a command runs: the command goes on, the call that waits gets its
// outcome from the next helper, and nothing is started twice.
func TestHelperKilledInTheMiddle(t *testing.T) {
	b := viaHelper.bench(t, `echo start >>$W/starts; echo up >$W/up; read x <$W/gate; echo out`)
	b.fifo("up")
	b.fifo("gate")
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	b.read("up")
	b.helper.stop(syscall.SIGKILL)
	if m := b.marked(call("x")); syscall.Kill(m.Group, 0) != nil {
		t.Fatal("the command ended with the helper")
	}
	b.helper.start()
	b.open("gate")
	o := <-out
	want(t, o, plugins.Done, true, "done")
	if o.Output != "out\n" || b.lines("starts") != 1 {
		t.Errorf("output %q, %d starts", o.Output, b.lines("starts"))
	}
}

// The helper is killed at any instant around the start: the same call gets the work done once.
func TestHelperKilledAroundTheStart(t *testing.T) {
	b := viaHelper.bench(t, `echo $FIREBREAK_STEP >>$W/starts`)
	const rounds = 15
	for i := range rounds {
		out := make(chan plugins.Outcome)
		go func() { out <- b.hook.Do(context.Background(), call(fmt.Sprintf("s%d", i)), nil) }()
		<-time.After(time.Duration(i) * 500 * time.Microsecond)
		b.helper.stop(syscall.SIGKILL)
		b.helper.start()
		if o := <-out; o.Result != plugins.Done {
			t.Errorf("round %d: %+v", i, o)
		}
	}
	s, err := os.ReadFile(b.path("starts"))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(s))
	slices.Sort(f)
	if n := len(f); n != rounds || len(slices.Compact(f)) != rounds {
		t.Errorf("%d starts for %d calls: %v", n, rounds, f)
	}
}

// Both die, and both come back.
func TestHelperAndAgentKilled(t *testing.T) {
	b := viaHelper.bench(t, `echo start >>$W/starts; echo up >$W/up; read x <$W/gate; echo out`)
	b.fifo("up")
	b.fifo("gate")
	agent, _ := b.agent(call("x"), 1)
	b.read("up")
	b.helper.stop(syscall.SIGKILL)
	if err := agent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = agent.Wait()
	b.helper.start()
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	b.open("gate")
	want(t, <-out, plugins.Done, true, "done")
	if n := b.lines("starts"); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// A helper that is not there is tried until the time-out. Then the end is not known: an earlier
// agent may have started the key.
func TestHelperNotThere(t *testing.T) {
	b := viaHelper.bench(t, `echo start >>$W/starts`)
	b.helper.stop(syscall.SIGTERM)
	c := call("x")
	c.Timeout = 200 * time.Millisecond
	o := b.do(c)
	want(t, o, plugins.Unknown, false, "could not be asked until the time-out")
	if o.Elapsed > 2*time.Second {
		t.Errorf("it took %v, with a time-out of %v", o.Elapsed, c.Timeout)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	want(t, b.hook.Do(ctx, c, nil), plugins.Unknown, false, "the agent is stopping")
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("y"), nil) }()
	b.helper.start()
	want(t, <-out, plugins.Done, false, "done")
	if n := b.lines("starts"); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// One that has taken the call and says nothing costs that call its time and no other.
func TestHungCallChangesNoOther(t *testing.T) {
	b := viaHelper.bench(t, `echo up >>$W/starts; case $FIREBREAK_STEP in hung) echo up >$W/up; read x <$W/gate;; esac`)
	b.fifo("up")
	b.fifo("gate")
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("hung"), nil) }()
	b.read("up")
	for i := range 5 {
		if o := b.do(call(fmt.Sprintf("s%d", i))); o.Result != plugins.Done || o.Elapsed > 5*time.Second {
			t.Errorf("%+v", o)
		}
	}
	b.open("gate")
	want(t, <-out, plugins.Done, false, "done")
}

// What the list does not allow is not started, and the answer is a known failure.
func TestHelperRefuses(t *testing.T) {
	mine, others := filepath.Join(t.TempDir(), "mine"), filepath.Join(t.TempDir(), "others")
	for f, mode := range map[string]os.FileMode{mine: 0o700, others: 0o777} {
		if err := os.WriteFile(f, []byte("#!/bin/sh\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(f, mode); err != nil {
			t.Fatal(err)
		}
	}
	user := fmt.Sprint(os.Geteuid())
	act := func(program string) string {
		return fmt.Sprintf("[[action]]\nname = \"act\"\nprogram = %q\nuser = %q\nmax_timeout = \"1s\"\n", program, user)
	}
	for name, tc := range map[string]struct {
		list   string
		mode   os.FileMode
		result plugins.Result
		detail string
	}{
		"good":             {act(mine), 0o600, plugins.Done, "done"},
		"another action":   {strings.Replace(act(mine), "act\"", "other\"", 1), 0o600, plugins.Failed, `"act" is not in the helper's list`},
		"list of others":   {act(mine), 0o666, plugins.Failed, "can be written by others"},
		"list of a group":  {act(mine), 0o660, plugins.Failed, "can be written by others"},
		"faulty list":      {act("mine"), 0o600, plugins.Failed, "actions.toml:3:11: program \"mine\""},
		"program missing":  {act("/nowhere/at-all"), 0o600, plugins.Failed, "no such file"},
		"program of all":   {act(others), 0o600, plugins.Failed, "can be written by others"},
		"program no file":  {act("/usr/bin"), 0o600, plugins.Failed, "no regular file"},
		"program not exec": {act("/etc/passwd"), 0o600, plugins.Failed, "cannot be run"},
		"unknown user":     {strings.Replace(act(mine), fmt.Sprintf("%q", user), `"no-such-user"`, 1), 0o600, plugins.Failed, `user "no-such-user" is not known`},
	} {
		t.Run(name, func(t *testing.T) {
			b := viaHelper.bench(t, "")
			b.helper.stop(syscall.SIGTERM)
			b.helper.write(tc.list)
			if err := os.Chmod(b.helper.list, tc.mode|0o400); err != nil {
				t.Fatal(err)
			}
			if os.Geteuid() == 0 && tc.mode == 0o660 { // the group root is no other
				if err := os.Chown(b.helper.list, -1, 65534); err != nil {
					t.Fatal(err)
				}
			}
			if tc.list == act("/etc/passwd") && os.Geteuid() != 0 {
				tc.detail = "" // any refusal will do: it cannot be run by anybody
			}
			b.helper.start()
			want(t, b.do(call("x")), tc.result, false, tc.detail)
			if b.dir(call("x")).Exists(shim.StartedFile) != (tc.result == plugins.Done) {
				t.Error("the marker of a start does not fit the outcome")
			}
			probe := b.hook.Probe(t.Context())
			if (probe == nil) != (tc.result == plugins.Done) {
				t.Errorf("the probe says %v", probe)
			}
		})
	}
}

// The time-out of the list holds where it is the shorter one.
func TestMaxTimeoutOfTheList(t *testing.T) {
	b := viaHelper.bench(t, `while :; do sleep 1000; done`)
	b.helper.stop(syscall.SIGTERM)
	text, err := os.ReadFile(b.helper.list)
	if err != nil {
		t.Fatal(err)
	}
	b.helper.write(strings.Replace(string(text), `max_timeout = "1m"`, `max_timeout = "150ms"`, 1))
	b.helper.start()
	want(t, b.do(call("x")), plugins.Failed, false, "ended at the time-out of 150ms")
}

func TestHelperProbe(t *testing.T) {
	b := viaHelper.bench(t, "true")
	if err := b.hook.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	for name, tc := range map[string]struct {
		change func(*Config)
		detail string
	}{
		"unknown action": {func(c *Config) { c.Action = "other" }, "not in the helper's list"},
		"drill":          {func(c *Config) { c.Drill = "native" }, "not in the helper's list: drills"},
		"nobody there":   {func(c *Config) { c.Helper = "/nowhere/helper.sock" }, "start firebreak-helper.socket"},
	} {
		cfg := b.hook.cfg
		tc.change(&cfg)
		h, err := New("hook", cfg, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), tc.detail) {
			t.Errorf("%s: %v, want %q", name, err, tc.detail)
		}
	}
}

// The helper answers the users of its -allow, and nobody else.
func TestWrongUserIsRefused(t *testing.T) {
	b := viaHelper.bench(t, `echo start >>$W/starts`)
	b.helper.stop(syscall.SIGTERM)
	b.helper.allow = "1"
	b.helper.start()
	c := call("x")
	c.Timeout = 100 * time.Millisecond
	want(t, b.do(c), plugins.Unknown, false, "may not ask")
	if err := b.hook.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "may not ask") {
		t.Errorf("probe: %v", err)
	}
	if n := b.lines("starts"); n != 0 {
		t.Errorf("%d starts", n)
	}
}

// Nothing is told to somebody else who listens in the helper's place.
func TestWrongHelperIsNotTold(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := "@firebreak-test-" + filepath.Base(t.TempDir()) + fmt.Sprint(os.Getpid())
	cmd := osexec.Command("/proc/self/fd/3", "test-listener", path)
	bin, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer bin.Close()
	cmd.ExtraFiles = []*os.File{bin}
	uid := uint32(os.Geteuid() + 1)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := said.Read(buf); err != nil || string(buf[:n]) != "up\n" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	h, err := New("hook", Config{Action: "act", Helper: "/x", HelperUID: uid}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	h.cfg.Helper = path
	c := call("x")
	c.Timeout = 50 * time.Millisecond
	want(t, h.Do(t.Context(), c, nil), plugins.Unknown, false, "nothing is told to it")
	in.Close()
	n, _ := said.Read(buf)
	if err := cmd.Wait(); err != nil || string(buf[:n]) != "told 0 bytes\n" {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

// listenerMain takes connections until standard input ends, and tells how much was told to it.
func listenerMain(path string) int {
	ln, err := net.Listen("unix", path)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("up")
	go func() { _, _ = os.Stdin.Read(make([]byte, 1)); ln.Close() }()
	got := 0
	for {
		c, err := ln.Accept()
		if err != nil {
			fmt.Printf("told %d bytes\n", got)
			return 0
		}
		n, _ := c.Read(make([]byte, 64))
		got += n
		c.Close()
	}
}

// The list changes while a key runs, and loses its action: what runs goes on, what has ended is
// told, and only a new key is refused. A faulty list never takes the place of a good one.
func TestListChangedUnderARunningKey(t *testing.T) {
	b := viaHelper.bench(t, `echo start >>$W/starts; echo up >$W/up; read x <$W/gate; echo out`)
	b.fifo("up")
	b.fifo("gate")
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	b.read("up")
	good, err := os.ReadFile(b.helper.list)
	if err != nil {
		t.Fatal(err)
	}
	b.helper.write("[[action]]\n")
	b.helper.reload("is refused")
	if err := b.hook.Probe(t.Context()); err != nil {
		t.Errorf("a faulty list took the place of the good one: %v", err)
	}
	b.helper.write(strings.Replace(string(good), `name = "act"`, `name = "other"`, 1))
	b.helper.reload("is read")
	want(t, b.do(call("y")), plugins.Failed, false, "not in the helper's list")
	b.open("gate")
	want(t, <-out, plugins.Done, false, "done")
	want(t, b.do(call("x")), plugins.Done, true, "done")
	if n := b.lines("starts"); n != 1 {
		t.Errorf("%d starts", n)
	}
}

// As root the helper gives its actions to other users, who keep their own standard streams.
func TestActionOfAnotherUser(t *testing.T) {
	b := viaHelper.bench(t, `id -u; id -G; cat /dev/stdin; echo err >/dev/stderr; echo "$HOME $USER $PWD"`)
	uid, dir := os.Geteuid(), "/"
	if uid == 0 {
		uid = 65534
		b.helper.stop(syscall.SIGTERM)
		text, err := os.ReadFile(b.helper.list)
		if err != nil {
			t.Fatal(err)
		}
		b.helper.write(strings.Replace(string(text), `user = "0"`, `user = "nobody"`, 1))
		b.helper.start()
	}
	o := b.do(call("x"))
	want(t, o, plugins.Done, false, "done")
	for _, w := range []string{fmt.Sprint(uid) + "\n", `"step":"x"`, "err\n", dir + "\n"} {
		if !strings.Contains(o.Output, w) {
			t.Errorf("no %q in %q", w, o.Output)
		}
	}
	if os.Geteuid() == 0 && !strings.Contains(o.Output, "65534\n65534\n") {
		t.Errorf("it keeps groups of root: %q", o.Output)
	}
	c := call("late") // root ends another user's command as well
	c.Timeout = 300 * time.Millisecond
	b.helper.stop(syscall.SIGTERM)
	text, err := os.ReadFile(b.helper.list)
	if err != nil {
		t.Fatal(err)
	}
	b.helper.write(strings.Replace(string(text), `id -u;`, `trap '' TERM; while :; do sleep 1000; done;`, 1))
	b.helper.start()
	want(t, b.do(c), plugins.Failed, false, "ended at the time-out")
}

// The agent tells which episodes are open; ended keys of the others go by the rule.
func TestTellOver(t *testing.T) {
	b := viaHelper.bench(t, "true")
	var cs []plugins.Call
	for e := uint64(1); e <= 3; e++ {
		c := call("x")
		c.Key.Episode = e
		want(t, b.do(c), plugins.Done, false, "")
		cs = append(cs, c)
	}
	b.settled()
	then := time.Now().Add(-2 * time.Hour)
	for _, c := range cs {
		if err := os.Chtimes(b.dir(c).Path(shim.OutcomeFile), then, then); err != nil {
			t.Fatal(err)
		}
	}
	if err := TellOver(t.Context(), b.hook.cfg.Helper, b.hook.cfg.HelperUID, map[string]uint64{"evacuate": 2}); err != nil {
		t.Fatal(err)
	}
	for i, stay := range []bool{false, true, true} { // 2 is open, 3 is the newest
		if _, err := os.Stat(string(b.dir(cs[i]))); (err == nil) != stay {
			t.Errorf("episode %d: %v, want it to stay: %v", i+1, err, stay)
		}
	}
}

// The helper is to be read and kept in mind: small, and of nothing but the standard library and
// system calls.
func TestHelperIsSmall(t *testing.T) {
	bin, err := helperBinary()
	if err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", fi.Size())
	if fi.Size() > 4<<20 {
		t.Errorf("the helper has %d bytes, at most 4 MiB", fi.Size())
	}
	out, err := osexec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./helper").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range strings.Fields(string(out)) {
		if m != "firebreak" && m != "golang.org/x/sys" {
			t.Errorf("the helper links %s", m)
		}
	}
}

// Root finds what another user's killed shim has left behind, by its environment.
func TestKilledShimOfAnotherUser(t *testing.T) {
	b := viaHelper.bench(t, `setsid sh -c 'echo up; exec sleep 1000' & sleep 1000`)
	if os.Geteuid() == 0 {
		b.helper.stop(syscall.SIGTERM)
		text, err := os.ReadFile(b.helper.list)
		if err != nil {
			t.Fatal(err)
		}
		b.helper.write(strings.Replace(string(text), `user = "0"`, `user = "nobody"`, 1))
		b.helper.start()
	}
	out := make(chan plugins.Outcome)
	go func() { out <- b.hook.Do(context.Background(), call("x"), nil) }()
	d := b.dir(call("x"))
	var m shim.Marker
	b.helper.until("two processes", func() bool {
		m = d.ReadMarker()
		if m.Session == 0 {
			return false
		}
		ps, err := shim.Descendants(m.Session)
		return err == nil && len(ps) >= 3
	})
	if err := syscall.Kill(m.Session, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want(t, <-out, plugins.Failed, true, "the shim died")
	if left, err := shim.Survivors(m, cookieOf(d)); err != nil || len(left) > 0 {
		t.Errorf("%v still live, %v", left, err)
	}
}
