package config

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// edit is one case of testdata/faults.txt: base.toml with some lines replaced, and the faults
// that must come of it, all of them and no other.
type edit struct {
	name  string
	lines []string // as written, for -update
	data  []byte
	want  []string
}

// readEdits reads the cases. A run of "-" lines must stand in the base once, one after the other;
// the run of "+" lines behind it takes its place. "+" lines alone are added at the end. A "~" ends
// a run.
func readEdits(t *testing.T, file string, base string) []*edit {
	t.Helper()
	var out []*edit
	var minus, plus []string
	var cur *edit
	flush := func() {
		if len(minus)+len(plus) == 0 {
			return
		}
		text := string(cur.data)
		add := strings.Join(plus, "\n") + "\n"
		if len(plus) == 0 {
			add = ""
		}
		if len(minus) == 0 {
			text += add
		} else {
			old := "\n" + strings.Join(minus, "\n") + "\n"
			if n := strings.Count(text, old); n != 1 {
				t.Errorf("%s: case %s: these lines are %d times in the base, not once:%s", file, cur.name, n, old)
			}
			text = strings.Replace(text, old, "\n"+add, 1)
		}
		cur.data, minus, plus = []byte(text), nil, nil
	}
	for _, l := range strings.Split(string(readFile(t, file)), "\n") {
		switch {
		case strings.HasPrefix(l, "== "):
			if cur != nil {
				flush()
			}
			cur = &edit{name: l[3:], data: []byte("\n" + base)}
			out = append(out, cur)
		case cur == nil || l == "":
		case l[0] == '-':
			if len(plus) > 0 {
				flush()
			}
			minus = append(minus, l[1:])
		case l[0] == '+':
			plus = append(plus, l[1:])
		case l == "~":
			flush()
		case l[0] == '>':
			cur.want = append(cur.want, strings.TrimPrefix(l, "> "))
		}
		if cur != nil && l != "" && strings.IndexByte("-+~", l[0]) >= 0 {
			cur.lines = append(cur.lines, l)
		}
	}
	flush()
	for _, e := range out {
		e.data = e.data[1:] // the newline that let the first line be found
	}
	return out
}

// Every fault that the configuration can have is found, at its place, and nothing else is said.
func TestFaults(t *testing.T) {
	const file = "testdata/faults.txt"
	edits := readEdits(t, file, string(readFile(t, "testdata/base.toml")))
	head, _, _ := strings.Cut(string(readFile(t, file)), "\n== ")
	var rewritten bytes.Buffer
	fmt.Fprintf(&rewritten, "%s\n", strings.TrimRight(head, "\n"))
	seen := map[string]bool{}
	for _, e := range edits {
		if seen[e.name] {
			t.Errorf("case %s is there twice", e.name)
		}
		seen[e.name] = true
		var got []string
		_, faults := parse("f", e.data, testKinds()) // not Parse: a panic must not hide as a fault
		for _, f := range faults {
			got = append(got, f.String())
		}
		fmt.Fprintf(&rewritten, "\n== %s\n%s\n", e.name, strings.Join(e.lines, "\n"))
		for _, g := range got {
			fmt.Fprintf(&rewritten, "> %s\n", g)
		}
		if len(got) == 0 && !strings.HasPrefix(e.name, "fine:") {
			t.Errorf("%s: no fault was found", e.name)
		}
		if !*update && strings.Join(got, "\n") != strings.Join(e.want, "\n") {
			t.Errorf("%s: got\n  %s\nwant\n  %s", e.name, strings.Join(got, "\n  "), strings.Join(e.want, "\n  "))
		}
	}
	if *update {
		golden(t, file, rewritten.Bytes())
	}
	if len(edits) < 40 {
		t.Errorf("only %d cases", len(edits))
	}
}
