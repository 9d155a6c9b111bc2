package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/plugins/telegraf/line"
	"firebreak/sensors/sim/slave"
)

// sensorsOnly is a file for firebreak telegraf alone: a detector and one that does not answer.
func sensorsOnly(t *testing.T) (*slave.Bank, string) {
	t.Helper()
	bank := slave.NewBank()
	bank.Set(slave.Discretes, 0, 1, 0, 0, 0)
	srv, err := slave.ListenTCP("127.0.0.1:0", map[byte]*slave.Bank{3: bank})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	file := filepath.Join(t.TempDir(), "sensors.toml")
	text := fmt.Sprintf("site = \"s\"\nzone = \"z\"\nagent = \"a\"\n[[bus]]\nname = \"net\"\nkind = \"modbus-tcp\"\naddress = %q\n[[bus]]\nname = \"dead\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:1\"\n"+
		"[[device]]\nname = \"duct\"\nprofile = \"calectro-ug3\"\nbus = \"net\"\nunit = 3\npoll = \"50ms\"\n[[device]]\nname = \"gone\"\nprofile = \"calectro-ug3\"\nbus = \"dead\"\nunit = 3\npoll = \"50ms\"\n", srv.Addr())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return bank, file
}

// reading waits for one with this text in it.
func reading(t *testing.T, lines *bufio.Scanner, want string) line.Metric {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), want) {
			m, err := line.Parse(lines.Text())
			if err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			return m
		}
	}
	t.Fatalf("the lines end before %q: %v", want, lines.Err())
	return line.Metric{}
}

// firebreak telegraf writes what the sensors say, good and bad, with the time at which it was read; at each
// poll, or when Telegraf asks; and ends with its input.
func TestTelegrafInput(t *testing.T) {
	for _, signal := range []bool{false, true} {
		bank, file := sensorsOnly(t)
		in, ask := io.Pipe()
		out, w := io.Pipe()
		args := []string{"-c", file}
		if signal {
			args = append(args, "--signal")
		}
		done := make(chan int, 1)
		var errs bytes.Buffer
		go func() { done <- runTelegraf(args, in, w, &errs); w.Close() }()
		stop := make(chan struct{})
		go func() {
			for signal { // Telegraf asks every interval
				if _, err := ask.Write([]byte("\n")); err != nil {
					return
				}
			}
			<-stop
		}()
		lines := bufio.NewScanner(out)
		bad := reading(t, lines, "device=gone")
		if bad.Field("usable") != false || bad.Field("reason") != "comm" || bad.Field("value") != nil {
			t.Errorf("a device that does not answer: %+v", bad)
		}
		quiet := reading(t, lines, "device=duct,point=smoke.alarm")
		bank.Set(slave.Discretes, 2, 1)
		loud := reading(t, lines, "device=duct,point=smoke.alarm,physics=smoke,origin=real value=1,")
		if quiet.Field("value") != 0.0 || quiet.Field("usable") != true || quiet.Tag("agent") != "a" || loud.Time <= quiet.Time {
			t.Errorf("quiet %+v, then %+v", quiet, loud)
		}
		ask.Close()
		close(stop)
		for lines.Scan() { // until its end
		}
		if code := <-done; code != 0 {
			t.Errorf("exit %d: %s", code, errs.String())
		}
		if !strings.Contains(errs.String(), "W! ") || strings.Contains(errs.String(), "level=") {
			t.Errorf("the log has no levels of Telegraf: %s", errs.String())
		}
	}
}

// What is wrong with a file is told in the form that Telegraf logs as errors.
func TestTelegrafInputFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                         `E! `,
		"site = \"s\"\n[[bos]]\n":  `E! `,
		"[[plan]]\nname = \"p\"\n": `needs the key "site"`, // a whole configuration, and held to all of it
		"site = \"s\"\nzone = \"z\"\nagent = \"a\"\n": "there is no [[device]]",
	} {
		file := filepath.Join(t.TempDir(), "f.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		if code := runTelegraf([]string{"-c", file}, strings.NewReader(""), io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), want) {
			t.Errorf("%q: exit %d, %s", text, code, errs.String())
		}
	}
	if code := runTelegraf([]string{"-c", "/nowhere"}, strings.NewReader(""), io.Discard, io.Discard); code != 2 {
		t.Errorf("no file: exit %d", code)
	}
}
