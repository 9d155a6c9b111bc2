package config

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"firebreak/configs"
)

// exampleKinds knows the keys of the kinds of hooks that the annotated example uses.
func exampleKinds() Kinds {
	return Kinds{
		Profiles: configs.Profiles(),
		Packs:    configs.Hazards(),
		Hooks: map[string]HookKind{
			"webhook": func(t *Table) any { t.Require("url"); return t.String("url", "") },
			"exec":    func(t *Table) any { t.Require("action"); return t.String("action", "") },
		},
	}
}

const exampleFile = "../../configs/firebreak.toml"

// The example shows every key that there is, so that nobody has to read the code for one.
func TestExampleShowsEveryKey(t *testing.T) {
	text := readFile(t, exampleFile)
	c := &compiler{source: &source{file: "f"}, kinds: exampleKinds(), cfg: &Config{}}
	c.root = parseTree(c.source, text, "")
	c.compile()
	known := map[string]bool{}
	var walk func(tab *Table)
	walk = func(tab *Table) {
		for k := range tab.used {
			known[tab.path+" "+k] = true
		}
		for _, v := range tab.vals {
			if v.tab != nil {
				walk(v.tab)
			}
			for _, e := range v.list {
				if e.tab != nil {
					walk(e.tab)
				}
			}
		}
	}
	walk(c.root)
	if len(known) < 60 {
		t.Errorf("only %d keys are known: the walk is broken", len(known))
	}
	for k := range known {
		_, key, _ := strings.Cut(k, " ")
		shown := regexp.MustCompile(`(?m)(^|[{# ,])`+key+`( *=|[ ,])`).Match(text) || strings.Contains(string(text), "["+strings.Replace(k, " ", ".", 1)+"]]")
		if !shown && !strings.Contains(string(text), "[["+key+"]]") {
			t.Errorf("the example does not show the key %q of [%s]", key, strings.TrimSuffix(k, " "+key))
		}
	}
}

// The annotated example passes, and what check says of it is what a reader of it expects.
func TestExample(t *testing.T) {
	c := mustParse(t, "firebreak.toml", readFile(t, exampleFile), exampleKinds())
	golden(t, "testdata/example.golden", report(t, c))
	for _, s := range c.Plans[0].Stages {
		if s.Worst.Total <= 0 || s.Worst.Total > 3*time.Minute || s.AcceptSingle != "" {
			t.Errorf("stage %s: worst case %s, accepted %q", s.Stage, s.Worst.Total, s.AcceptSingle)
		}
	}
}
