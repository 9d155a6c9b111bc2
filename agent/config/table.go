package config

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2/unstable"

	"firebreak/agent/near"
)

// Table is one TOML table with the place of every key. Its methods read a key, note that it is
// known, and add a fault when it is not what it should be; they return the default then, so that
// the reader goes on and finds the next fault. Unknown ends the reading of a table.
type Table struct {
	src  *source
	path string // "plan.stage"; empty at the top
	at   Pos
	keys []string // in the order of the file
	vals map[string]*value
	kpos map[string]Pos
	used map[string]bool
}

func newTable(src *source, path string, at Pos) *Table {
	return &Table{src: src, path: path, at: at, vals: map[string]*value{}, kpos: map[string]Pos{}, used: map[string]bool{}}
}

func (t *Table) sub(name string) string {
	if t.path == "" {
		return name
	}
	return t.path + "." + name
}

func (t *Table) put(name string, at Pos, v *value) {
	if _, have := t.vals[name]; !have {
		t.keys = append(t.keys, name)
	}
	t.vals[name], t.kpos[name] = v, at
}

func (t *Table) title() string {
	if t.path == "" {
		return "the file"
	}
	return "[" + t.path + "]"
}

// Pos is the place of the value of key, or of the table when the key is absent or empty.
func (t *Table) Pos(key string) Pos {
	if v := t.vals[key]; v != nil {
		return v.at
	}
	return t.at
}

// Has tells whether key is there.
func (t *Table) Has(key string) bool { return t.vals[key] != nil }

// Keys returns the keys in the order of the file: for tables whose keys are free, such as headers.
func (t *Table) Keys() []string { return slices.Clone(t.keys) }

// Fault adds a fault at the value of key, or at the table when the key is absent.
func (t *Table) Fault(key, format string, args ...any) { t.src.fault(t.Pos(key), format, args...) }

// Require adds a fault for each key that is absent.
func (t *Table) Require(keys ...string) {
	for _, k := range keys {
		if !t.Has(k) {
			t.used[k] = true
			t.src.fault(t.at, "%s needs the key %q", t.title(), k)
		}
	}
}

// Unknown adds a fault for each key that no method has asked for.
func (t *Table) Unknown() {
	known := make([]string, 0, len(t.used))
	for k := range t.used {
		if !t.Has(k) {
			known = append(known, k)
		}
	}
	slices.Sort(known)
	for _, k := range t.keys {
		if !t.used[k] {
			t.src.fault(t.kpos[k], "unknown key %q in %s%s", k, t.title(), near.Hint(k, known))
		}
	}
}

// get notes the key as known and returns its value if it is of one of the kinds.
func (t *Table) get(key, want string, kinds ...unstable.Kind) *value {
	t.used[key] = true
	v := t.vals[key]
	if v == nil || slices.Contains(kinds, v.kind) {
		return v
	}
	t.src.fault(v.at, "%q must be %s", key, want)
	return nil
}

// String reads a string that is not empty.
func (t *Table) String(key, def string) string {
	v := t.get(key, "a string in quotes", unstable.String)
	switch {
	case v == nil:
		return def
	case strings.TrimSpace(v.s) == "":
		t.src.fault(v.at, "%q must not be empty: leave the key out for its default", key)
		return def
	}
	return v.s
}

// Enum reads a string that is one of choices.
func (t *Table) Enum(key, def string, choices ...string) string {
	s := t.String(key, def)
	if t.Has(key) && s != def && !slices.Contains(choices, s) {
		t.Fault(key, "%q cannot be %q: use one of %s", key, s, strings.Join(choices, ", "))
		return def
	}
	return s
}

// Bool reads true or false.
func (t *Table) Bool(key string, def bool) bool {
	if v := t.get(key, "true or false, without quotes", unstable.Bool); v != nil {
		return v.b
	}
	return def
}

// Int reads a whole number from lo to hi.
func (t *Table) Int(key string, def, lo, hi int64) int64 {
	v := t.get(key, "a whole number", unstable.Integer)
	switch {
	case v == nil:
		return def
	case v.i < lo || v.i > hi:
		t.src.fault(v.at, "%q is %d: it must be from %d to %d", key, v.i, lo, hi)
		return def
	}
	return v.i
}

// Duration reads a string such as "250ms" or "1m30s", from lo to hi.
func (t *Table) Duration(key string, def, lo, hi time.Duration) time.Duration {
	v := t.get(key, `a duration in quotes, such as "250ms" or "1m30s"`, unstable.String)
	if v == nil {
		return def
	}
	d, err := time.ParseDuration(v.s)
	switch {
	case err != nil:
		t.src.fault(v.at, `%q is %q: it must be a duration such as "250ms", "10s" or "1m30s"`, key, v.s)
	case d < lo || d > hi:
		t.src.fault(v.at, "%q is %s: it must be from %s to %s", key, short(d), short(lo), short(hi))
	default:
		return d
	}
	return def
}

// Strings reads a list of strings that are not empty, each once.
func (t *Table) Strings(key string) []string {
	v := t.get(key, `a list of strings, such as ["a", "b"]`, unstable.Array)
	if v == nil {
		return nil
	}
	var out []string
	for _, e := range v.list {
		switch {
		case e.kind != unstable.String || e.s == "":
			t.src.fault(e.at, "%q must hold strings in quotes, none empty", key)
		case slices.Contains(out, e.s):
			t.src.fault(e.at, "%q holds %q twice: name it once", key, e.s)
		default:
			out = append(out, e.s)
		}
	}
	return out
}

// StringMap reads a table of strings, such as headers = { Accept = "text/plain" }.
func (t *Table) StringMap(key string) map[string]string {
	sub := t.Table(key)
	if sub == nil {
		return nil
	}
	out := make(map[string]string, len(sub.keys))
	for _, k := range sub.keys {
		out[k] = sub.String(k, "")
	}
	return out
}

// FaultErrors adds a fault for each error of a joined one. One whose text begins with the name of
// a key, as in "url: give https://host/path", is placed there.
func (t *Table) FaultErrors(err error) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			t.FaultErrors(e)
		}
		return
	}
	text := oneLine(err)
	key := text[:len(text)-len(strings.TrimLeft(text, "abcdefghijklmnopqrstuvwxyz_"))]
	t.Fault(key, "%s", text)
}

// text is the value of key as a person reads it, without quotes.
func (t *Table) text(key string) string {
	if v := t.vals[key]; v != nil {
		return v.text()
	}
	return ""
}

// itemPos is the place of the item of the list at key that is s.
func (t *Table) itemPos(key, s string) Pos {
	if v := t.vals[key]; v != nil {
		for _, e := range v.list {
			if e.s == s {
				return e.at
			}
		}
	}
	return t.Pos(key)
}

// Table reads a table; nil when it is absent.
func (t *Table) Table(key string) *Table {
	if v := t.get(key, "a table, such as { zone = \"b1\" }", unstable.InlineTable); v != nil {
		return v.tab
	}
	return nil
}

// Tables reads a list of tables, written [[key]].
func (t *Table) Tables(key string) []*Table {
	v := t.get(key, "a list of tables: write [["+t.sub(key)+"]]", unstable.Array)
	if v == nil {
		return nil
	}
	var out []*Table
	for _, e := range v.list {
		if e.tab == nil {
			t.src.fault(e.at, "%q must hold tables only: write [[%s]]", key, t.sub(key))
			continue
		}
		out = append(out, e.tab)
	}
	return out
}

// short prints a duration without its zero parts: "1m", not "1m0s".
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// Float reads a number, whole or not, from lo to hi.
func (t *Table) Float(key string, def, lo, hi float64) float64 {
	v := t.get(key, "a number", unstable.Integer, unstable.Float)
	if v == nil {
		return def
	}
	f := v.f
	if v.kind == unstable.Integer {
		f = float64(v.i)
	}
	if !(f >= lo && f <= hi) { // not a number is no number of the range
		t.src.fault(v.at, "%q is %g: it must be from %g to %g", key, f, lo, hi)
		return def
	}
	return f
}

// ReadFile reads another TOML file of ours with the same strictness: read asks the root for its keys, and
// calls Unknown for each table below it. Every fault of the file comes at once.
func ReadFile(file string, data []byte, read func(*Table)) []Fault {
	src := &source{file: file}
	if len(data) > maxFile {
		return []Fault{{File: file, Text: fmt.Sprintf("the file is larger than %d bytes", maxFile)}}
	}
	root := parseTree(src, bytes.TrimPrefix(data, []byte("\ufeff")), "")
	if root != nil {
		read(root)
		root.Unknown()
	}
	return src.sorted()
}
