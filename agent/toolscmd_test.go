package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every built-in profile is green; one whose scale is wrong is not, with the case that shows it.
func TestProfileTest(t *testing.T) {
	if code, out, errs := firebreak("profile", "test"); code != 0 || errs != "" || !strings.Contains(out, "soltaro-c: 80 points") {
		t.Errorf("all built-in profiles: exit %d, %s\n%s", code, errs, out)
	}
	dir := t.TempDir()
	text := readFile(t, "configs/profiles/xy-md02.toml")
	own := func(old, new string) {
		t.Helper()
		if !strings.Contains(text, old) {
			t.Fatalf("the profile has no %q", old)
		}
		if err := os.WriteFile(filepath.Join(dir, "xy-md02.toml"), []byte(strings.Replace(text, old, new, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := "../sensors/profile/testdata/xy-md02/air.txt"
	file := filepath.Join(dir, "xy-md02.toml")
	own(`name   = "xy-md02"`, `name   = "xy-md02"`)
	if code, out, errs := firebreak("profile", "test", file, cases); code != 0 || !strings.Contains(out, "5 recorded cases") {
		t.Errorf("a copy: exit %d, %s%s", code, out, errs)
	}
	if code, out, errs := firebreak("profile", "test", "xy-md02"); code != 0 || !strings.Contains(out, "5 recorded cases") {
		t.Errorf("by name: exit %d, %s%s", code, out, errs)
	}
	if code, _, errs := firebreak("profile", "test", file); code != 1 || !strings.Contains(errs, "no recorded case") {
		t.Errorf("without a case: exit %d, %q", code, errs)
	}
	own(`scale    = 0.1`, `scale    = 0.01`)
	if code, _, errs := firebreak("profile", "test", file, cases); code != 1 || !strings.Contains(errs, `air.txt case 1: temperature is "-2.05", want "-20.5"`) {
		t.Errorf("a wrong scale: exit %d, %q", code, errs)
	}
	if code, _, errs := firebreak("profile", "test", "xy-md02", "--profiles", dir); code != 1 || !strings.Contains(errs, "no recorded case") {
		t.Errorf("an own one wins over the built-in one: exit %d, %q", code, errs)
	}
	own(`type     = "i16"`, `type     = "i61"`)
	if code, _, errs := firebreak("profile", "show", file); code != 1 || !strings.Contains(errs, "i61") {
		t.Errorf("a fault: exit %d, %q", code, errs)
	}
}

func TestProfileListAndShow(t *testing.T) {
	code, out, errs := firebreak("profile", "list")
	if code != 0 || errs != "" || !strings.Contains(out, "xy-md02") || !strings.Contains(out, "tmp117") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	code, out, errs = firebreak("profile", "show", "soltaro-c")
	if code != 0 || errs != "" || !strings.Contains(out, "NOT CONFIRMED: no device tried") || !strings.Contains(out, "holding 8448+21 (0x2100)") {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
	for _, args := range [][]string{{"profile"}, {"profile", "show"}, {"profile", "burn"}} {
		if code, _, errs := firebreak(args...); code != 2 || !strings.Contains(errs, "usage:") {
			t.Errorf("%v: exit %d, %q", args, code, errs)
		}
	}
	if code, _, errs := firebreak("profile", "show", "no-such"); code != 1 || !strings.Contains(errs, "no-such") {
		t.Errorf("exit %d, %q", code, errs)
	}
}
