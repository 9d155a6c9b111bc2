package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// The longest way goes through what is waited for last: a step, a place in a stage that is full, or the
// stage itself.
func TestLongestWay(t *testing.T) {
	step := func(name, more string) string {
		return "[[plan.stage.step]]\nname = \"" + name + "\"\nhook = \"off\"\ntimeout = \"10s\"\n" + more + "\n"
	}
	for _, k := range []struct {
		name, parallel, more string
		from                 string
		want                 []string
		end, last            time.Duration // of the plan by caps; of stage 3 by time-outs
	}{
		{"by after", "", "", "1", []string{"page", "drain", "hosts"}, 6 * time.Minute, 40 * time.Second},
		{"a step alone that is longer than all", "", step("alone", "cap = \"1h\""), "3", []string{"alone"}, time.Hour + 30*time.Second, 40 * time.Second},
		{"one after the other, in the order of the file", "max_parallel = 1", step("b", "cap = \"4m\"") + step("c", "cap = \"30s\""),
			"3", []string{"b", "hosts", "c"}, 30*time.Second + 4*time.Minute + 2*time.Minute + 30*time.Second, 30*time.Second + 30*time.Second},
		{"two at once: the third takes the first place that is free", "max_parallel = 2", step("b", "cap = \"7m\"") + step("c", "cap = \"2m\"") + step("d", "cap = \"6m\""),
			"3", []string{"b", "hosts"}, 30*time.Second + 7*time.Minute + 2*time.Minute, 30*time.Second + 20*time.Second},
	} {
		text := string(with(t, "if_blind = \"proceed\"\n", "if_blind = \"proceed\"\n"+k.parallel+"\n")) + k.more
		c := mustParse(t, "f", []byte(text), testKinds())
		p := c.Plans[0].Path
		opens := c.Plans[0].Stages[0].Worst.Total
		var names []string
		for _, s := range p.Steps {
			names = append(names, s.Name)
		}
		if !slices.Equal(names, k.want) || p.From.String() != k.from || p.End != opens+k.end {
			t.Errorf("%s: %v from stage %s until %s, want %v from %s until %s", k.name, names, p.From, p.End-opens, k.want, k.from, k.end)
		}
		if got := c.Plans[0].Stages[2].LastCall - opens; got != k.last {
			t.Errorf("%s: stage 3 has ended by time-outs after %s, want %s", k.name, got, k.last)
		}
	}
}

// check says whether the plan fits, and names the step that has most time to give.
func TestReportOfTheClock(t *testing.T) {
	for _, k := range []struct {
		edit []string
		want []string
	}{
		{nil, []string{"by its caps the plan does not fit: the last step, hosts, ends 12.2s after", "most to give   on that way: page, whose cap is 1m50s longer"}},
		{[]string{"name = \"hosts\"\n", "name = \"hosts\"\ncap = \"1m\"\n"}, []string{"the plan fits: by its caps the last step, hosts, ends 47.8s before the power is lost"}},
		{[]string{"name = \"page\"\n", "name = \"page\"\ncap = \"10s\"\n"}, []string{"longest way    stage 1 at 1m12.2s, page 10s, drain 2m, hosts 2m: ends at 5m22.2s", "most to give   on that way: drain"}},
	} {
		text := string(report(t, mustParse(t, "f", with(t, k.edit...), testKinds())))
		for _, w := range k.want {
			if !strings.Contains(text, w) {
				t.Errorf("%v: the report does not say %q:\n%s", k.edit, w, text)
			}
		}
	}
	text := string(report(t, mustParse(t, "f", with(t, "name = \"page\"\n", "name = \"page\"\ncap = \"10s\"\n", "name = \"drain\"\n", "name = \"drain\"\ncap = \"10s\"\n", "name = \"hosts\"\n", "name = \"hosts\"\ncap = \"10s\"\n"), testKinds())))
	if strings.Contains(text, "most to give") {
		t.Errorf("no cap is longer than a time-out:\n%s", text)
	}
	row := fmt.Sprintf("    %-7s %9s %9s %9s | %12s %16s | %12s %14s\n", "3", "1m12.2s", "30s", "1m42.2s", "1m52.2s", "5m7.8s", "1m52.2s", "5m7.8s")
	if !strings.Contains(text, row) {
		t.Errorf("the table lacks\n%s\nin\n%s", row, text)
	}
}
