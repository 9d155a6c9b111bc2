package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// S16: the command renews every 2 s and releases when it is interrupted.
func TestHoldRenewsAndReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		time.AfterFunc(7*time.Second, interrupt)
		begin := time.Now()
		var sent []string
		var out, errs bytes.Buffer
		code := keepHold(ctx, "evacuate", &out, &errs, func(order string) error {
			sent = append(sent, order+" "+time.Since(begin).String())
			return nil
		})
		want := []string{"hold 0s", "hold 2s", "hold 4s", "hold 6s", "release 7s"}
		if code != 0 || !slices.Equal(sent, want) || strings.Count(out.String(), "held") != 1 || errs.Len() > 0 {
			t.Errorf("exit %d, sent %q, want %q; it says %q %q", code, sent, want, out.String(), errs.String())
		}
	})
}

// A refusal, when the hold time is used up say, ends the command with a word.
func TestHoldRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		var out, errs bytes.Buffer
		code := keepHold(t.Context(), "evacuate", &out, &errs, func(string) error {
			if n++; n == 3 {
				return errors.New("refused: used up")
			}
			return nil
		})
		if code != 1 || n != 3 || !strings.Contains(errs.String(), "evacuate is not held: refused: used up") {
			t.Errorf("exit %d after %d orders: %q", code, n, errs.String())
		}
	})
}

func TestHoldWithoutAgent(t *testing.T) {
	if code, _, errs := firebreak("hold", "-c", "../configs/firebreak.toml"); code != 2 || !strings.Contains(errs, "usage: firebreak hold PLAN") {
		t.Errorf("a hold of nothing: exit %d, %q", code, errs)
	}
	for _, order := range []string{"hold", "release"} {
		if code, _, errs := firebreak(order, "evacuate", "-c", quietExample(t), "--by", "kim"); code != 1 || !strings.Contains(errs, "no agent answers") {
			t.Errorf("%s without an agent: exit %d, %q", order, code, errs)
		}
	}
}

// quietExample is the annotated example with a run directory of the test: an order never reaches an agent that runs on the
// machine of the test.
func quietExample(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "firebreak.toml")
	text := strings.ReplaceAll(readFile(t, "configs/firebreak.toml"), "/run/firebreak", t.TempDir())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// The order reaches the plans of the running agent, and the answer comes back.
func TestHoldOfAQuietPlan(t *testing.T) {
	b := newBox(t)
	b.agent(t)
	until(t, 0, "stage 0", "status", "-c", b.file)
	for order, says := range map[string]string{"hold": "no episode is open", "release": "no hold is in force"} {
		if code, _, errs := firebreak(order, "evacuate", "-c", b.file, "--by", "kim"); code != 1 || !strings.Contains(errs, says) {
			t.Errorf("%s: exit %d, %q; want %q", order, code, errs, says)
		}
	}
	if code, _, errs := firebreak("hold", "evacuate", "-c", b.file); code != 1 || !strings.Contains(errs, "name of the person") {
		t.Errorf("a hold by nobody: exit %d, %q", code, errs)
	}
}

// What a person at 3 a.m. types wrong is answered in one line that says what to do next.
func TestWrongAtTheCommandLine(t *testing.T) {
	example := quietExample(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"statsu"}, `unknown command "statsu": firebreak help lists all`},
		{[]string{"check", "-c", "nowhere.toml"}, "nowhere.toml: no such file or directory: -c FILE says which"},
		{[]string{"hub", "-c", "nowhere.toml"}, "nowhere.toml: no such file or directory: -c FILE says which"},
		{[]string{"hub", "history", "-c", "nowhere.toml"}, "nowhere.toml: no such file or directory: -c FILE says which"},
		{[]string{"telegraf", "-c", "nowhere.toml"}, "nowhere.toml: no such file or directory: -c FILE says which"},
		{[]string{"check", "nowhere.toml"}, `check does not take "nowhere.toml": a file is named with -c, as in firebreak check -c nowhere.toml`},
		{[]string{"status", "evacuate", "-c", example}, "status does not take \"evacuate\"\n"},
		{[]string{"watch", "--broker", "mqtt://127.0.0.1:1", "desk"}, `watch does not take "desk"`},
		{[]string{"demo", "pangyo-2022"}, `demo does not take "pangyo-2022"`},
		{[]string{"shelve", "--for", "2h"}, "usage: firebreak shelve ALARM --for TIME [--once] [--reason TEXT] -c FILE --by NAME"},
		{[]string{"trip", "evacuate", "now"}, "usage: firebreak trip PLAN --stage 2a|2b|3|4 [--reason TEXT] -c FILE --by NAME"},
		{[]string{"status", "-c", example}, "start it (systemctl start firebreak), or name its configuration with -c"},
	} {
		code, out, errs := firebreak(c.args...)
		if code == 0 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit %d, %q, %q; want one line with %q", c.args, code, out, errs, c.want)
		}
	}
}
