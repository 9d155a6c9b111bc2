package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"firebreak/sensors/sim/slave"

	"golang.org/x/sys/unix"
)

// synced is what the kernel says of its clock: without, the agent dates no proof.
func synced(t *testing.T) bool {
	t.Helper()
	var x unix.Timex
	state, err := unix.Adjtimex(&x)
	return err == nil && state != unix.TIME_ERROR && x.Status&unix.STA_UNSYNC == 0
}

// tester hears what commission says, and acts as the person who makes a point move.
type tester struct {
	lockedBuffer
	typed io.Writer
	acts  func()
}

func (p *tester) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "ready?") {
		go func() { _, _ = io.WriteString(p.typed, "\n") }() // the walk reads it, or the pipe is closed at the end
	}
	if strings.Contains(string(b), "NOW") {
		p.acts()
	}
	return p.lockedBuffer.Write(b)
}

// Beside a running agent whose plans observe: the smoke detector is tested, its point is proven and stands on the
// sheet. While a plan is armed nothing begins, and no sheet is left.
func TestCommission(t *testing.T) {
	b := newBox(t)
	sheet := filepath.Join(t.TempDir(), "sheet.md")
	commission := func(acts func()) (int, string) {
		t.Helper()
		in, typed := io.Pipe()
		defer in.Close()
		out := &tester{typed: typed, acts: acts}
		code := commissionCmd([]string{"duct-1.smoke.*", "-c", b.file, "--by", "anna", "--sheet", sheet, "--rest", "1500ms", "--patience", "20s"}, in, out, out)
		return code, out.String()
	}
	armed := b.agent(t)
	until(t, 0, "plan evacuate: armed", "status", "-c", b.file)
	if code, out := commission(nil); code != 1 || !strings.Contains(out, "plan evacuate is armed: a test would start its response") {
		t.Errorf("armed: exit %d, %s", code, out)
	}
	if _, err := os.Stat(sheet); err == nil {
		t.Error("a sheet of nothing was left")
	}
	if err := armed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = armed.Wait()

	text, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // a life of its own: the journal of the other one says armed
	quiet := regexp.MustCompile(`(?m)^(mode|ungated) .*\n`).ReplaceAllString(string(text), "")
	quiet = regexp.MustCompile(`(?m)^(journal|run|control)( *)= "[^"]*/`).ReplaceAllString(quiet, `$1$2= "`+dir+`/`)
	if err := os.WriteFile(b.file, []byte(quiet), 0o600); err != nil {
		t.Fatal(err)
	}
	b.agent(t)
	until(t, 0, "plan evacuate: observe", "status", "-c", b.file)
	code, out := commission(func() { b.bank.Set(slave.Discretes, 2, 1) })
	page, err := os.ReadFile(sheet)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if synced(t) {
		if code != 0 || !strings.Contains(out, "PROVEN: from 0 to 1 in ") || !strings.Contains(string(page), "1 of 1 points proven") {
			t.Errorf("exit %d, %s\n%s", code, out, page)
		}
	} else if code != 1 || !strings.HasPrefix(out, "THE CLOCK IS NOT SYNCHRONISED: no proof can be recorded") || !strings.Contains(out, "it moved (from 0 to 1 in ") || !strings.Contains(string(page), "clock is not synchronised") {
		t.Errorf("without a clock: exit %d, %s\n%s", code, out, page)
	}
	if !strings.Contains(string(page), "Site lab, zone b3, agent rack1") || !strings.Contains(string(page), "| duct-1.smoke.alarm | smoke |") {
		t.Errorf("the sheet:\n%s", page)
	}
	if code, out := commission(nil); code != 2 || !strings.Contains(out, "give another --sheet") {
		t.Errorf("over a sheet that is there: exit %d, %s", code, out)
	}
	if code, _, errs := firebreak("commission", "-c", b.file); code != 2 || !strings.Contains(errs, "usage:") {
		t.Errorf("by nobody: exit %d, %q", code, errs)
	}
}
