package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/agent/wire"
)

// A key from its making over the time in which two are trusted to the end of the old one.
func TestKeys(t *testing.T) {
	dir := t.TempDir()
	file, ring := filepath.Join(dir, "agent.key"), filepath.Join(dir, "trusted")
	do := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(append([]string{"key"}, args...), &out, &errs); code != want {
			t.Fatalf("key %v: %d, want %d: %s%s", args, code, want, &out, &errs)
		}
		return out.String() + errs.String()
	}
	line := func(out string) []string {
		lines := strings.Split(strings.TrimSpace(out), "\n")
		return strings.Fields(lines[len(lines)-1])
	}
	trusts := func(s *wire.Signer) bool {
		r, err := wire.ReadRing(ring)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Verify("t", s.Sign("t", []byte("{}")))
		return err == nil
	}
	read := func(path string) *wire.Signer {
		t.Helper()
		s, err := wire.ReadSigner(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := line(do(0, "new", file, "--as", "agent", "--name", "pangyo/b3-rack1"))
	do(1, "new", file)
	old := read(file)
	if shown := line(do(0, "show", "--as", "agent", "--name", "pangyo/b3-rack1", file)); strings.Join(shown, " ") != strings.Join(first, " ") {
		t.Errorf("shown %v, made %v", shown, first)
	}
	if _, err := wire.ParseRing(strings.NewReader(do(0, "show", file, "--as", "agent", "--name", "pangyo/b3-rack1"))); err != nil {
		t.Errorf("what key show prints is no file of trusted keys: %v", err)
	}
	if out := do(0, append([]string{"trust", ring}, first...)...); !strings.Contains(out, "is trusted now") || !trusts(old) {
		t.Error(out)
	}
	if out := do(0, append([]string{"trust", ring}, first...)...); !strings.Contains(out, "already") {
		t.Error(out)
	}
	do(1, "trust", ring, "agent", "b3-rack1", first[2])
	do(1, "trust", ring, "person", "kim", first[2]) // one key, two names

	second := line(do(0, "rotate", file, "--as", "agent", "--name", "pangyo/b3-rack1"))
	if again := line(do(0, "rotate", file, "--as", "agent", "--name", "pangyo/b3-rack1")); again[2] != second[2] {
		t.Error("a rotation that was asked for twice made two keys")
	}
	next := read(file + ".next")
	do(0, append([]string{"trust", ring}, second...)...)
	if !trusts(old) || !trusts(next) || read(file).KeyID() != old.KeyID() {
		t.Error("two keys are not good during the rotation")
	}
	do(0, "rotate", file, "--finish")
	if read(file).KeyID() != next.KeyID() || read(file+".old").KeyID() != old.KeyID() {
		t.Error("the next key is not in place")
	}
	do(1, "rotate", file, "--finish")
	do(0, append(append([]string{"trust", ring}, first...), "--remove")...)
	if trusts(old) || !trusts(next) {
		t.Error("the old key is still good, or the new one is not")
	}
	if out := do(0, append(append([]string{"trust", ring}, first...), "--remove")...); !strings.Contains(out, "was not trusted") {
		t.Error(out)
	}
	if fi, err := os.Stat(file); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	do(2)
	do(2, "new")
	do(2, "show", file, "--nonsense")
	do(1, "show", filepath.Join(dir, "none"))
}

// An access list names whoever is trusted, and each session of an agent.
func TestACL(t *testing.T) {
	dir := t.TempDir()
	file, ring := filepath.Join(dir, "agent.key"), filepath.Join(dir, "trusted")
	var out, errs bytes.Buffer
	if code := run([]string{"acl", "mosquitto", "--trusted", ring}, &out, &errs); code != 1 {
		t.Errorf("no file: %d", code)
	}
	if !strings.Contains(errs.String(), "firebreak key trust makes one") {
		t.Errorf("no file: %s", &errs)
	}
	run([]string{"key", "new", file, "--as", "agent", "--name", "pangyo/b3-rack1"}, &out, &errs)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	run(append([]string{"key", "trust", ring}, strings.Fields(lines[len(lines)-1])...), &out, &errs)
	for engine, want := range map[string][]string{
		"mosquitto": {"\nuser b3-rack1\n", "\nuser b3-rack1:t\n", "topic write firebreak/1/alarm/pangyo/+/b3-rack1/#", "topic read firebreak/1/cmd/pangyo/+/b3-rack1/#"},
		"nats":      {`user: "CN=b3-rack1:t"`, `"firebreak.1.alarm.pangyo.*.b3-rack1", "firebreak.1.alarm.pangyo.*.b3-rack1.>"`},
	} {
		out.Reset()
		if code := run([]string{"acl", engine, "--trusted", ring}, &out, &errs); code != 0 {
			t.Errorf("%s: %d: %s", engine, code, &errs)
		}
		for _, w := range want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: no %q in %s", engine, w, &out)
			}
		}
	}
	for _, args := range [][]string{{"acl"}, {"acl", "--trusted", ring}, {"acl", "mosquitto", "x"}} {
		if code := run(args, &out, &errs); code != 2 {
			t.Errorf("%v: %d", args, code)
		}
	}
	if code := run([]string{"acl", "emqx", "--trusted", ring}, &out, &errs); code != 1 {
		t.Error("another engine is taken")
	}
}
