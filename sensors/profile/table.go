package profile

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// table reads one TOML table key by key; done reports the keys that nobody asked for.
type table struct {
	d    *doc
	path string
	vals map[string]any
	used map[string]bool
}

// open decodes data and finds the place of every key; nil when it is not TOML.
func open(d *doc, data []byte) *table {
	vals := map[string]any{}
	if err := toml.Unmarshal(data, &vals); err != nil {
		at := pos{1, 1}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			at.line, at.column = de.Position()
		}
		d.faults = append(d.faults, Fault{d.file, at.line, at.column, "not valid TOML: " + strings.TrimPrefix(err.Error(), "toml: ")})
		return nil
	}
	d.index(data)
	return d.table("", vals)
}

func (d *doc) table(path string, vals map[string]any) *table {
	return &table{d, path, vals, map[string]bool{}}
}

// index fills d.at. A plain decoding has already shown that data is valid, and the parser here
// walks the same grammar.
func (d *doc) index(data []byte) {
	starts := []uint32{0}
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, uint32(i)+1)
		}
	}
	ix := indexer{d: d, starts: starts, arrays: map[string]int{}}
	ix.p.Reset(data)
	prefix := ""
	for ix.p.NextExpression() {
		e := ix.p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			prefix = ix.header(e)
		case unstable.KeyValue:
			ix.keyValue(prefix, e)
		}
	}
}

type indexer struct {
	d      *doc
	p      unstable.Parser
	starts []uint32
	arrays map[string]int // number of [[x]] headers so far
}

func (ix *indexer) set(path string, n *unstable.Node) {
	line, found := slices.BinarySearch(ix.starts, n.Raw.Offset)
	if !found {
		line--
	}
	if _, ok := ix.d.at[path]; !ok {
		ix.d.at[path] = pos{line + 1, int(n.Raw.Offset-ix.starts[line]) + 1}
	}
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}

func (ix *indexer) header(e *unstable.Node) string {
	path := ""
	for it := e.Key(); it.Next(); {
		n := it.Node()
		path = join(path, string(n.Data))
		ix.set(path, n)
		if it.IsLast() && e.Kind == unstable.ArrayTable {
			ix.arrays[path]++
		}
		if c := ix.arrays[path]; c > 0 {
			path = join(path, strconv.Itoa(c-1))
			ix.set(path, n)
		}
	}
	return path
}

func (ix *indexer) keyValue(prefix string, e *unstable.Node) {
	path := prefix
	for it := e.Key(); it.Next(); {
		path = join(path, string(it.Node().Data))
		ix.set(path, it.Node())
	}
	ix.value(path, e.Value())
}

func (ix *indexer) value(path string, v *unstable.Node) {
	i := 0
	for it := v.Children(); it.Next(); {
		c := it.Node()
		switch {
		case v.Kind == unstable.InlineTable && c.Kind == unstable.KeyValue:
			if key := c.Key(); key.Next() {
				ix.set(path, key.Node()) // an element of an array has no other place
			}
			ix.keyValue(path, c)
		case v.Kind == unstable.Array && c.Kind != unstable.Comment:
			ix.value(join(path, strconv.Itoa(i)), c)
			i++
		}
	}
}

func (t *table) fault(key, format string, args ...any) {
	t.d.fault(join(t.path, key), format, args...)
}

func (t *table) has(key string) bool { _, ok := t.vals[key]; return ok }

// get returns the value of key as a T; a value of another type is a fault.
func get[T any](t *table, key, want string) (T, bool) {
	t.used[key] = true
	var zero T
	v, ok := t.vals[key]
	if !ok {
		return zero, false
	}
	x, ok := v.(T)
	if !ok {
		t.fault(key, "%s must be %s", key, want)
	}
	return x, ok
}

func (t *table) str(key string) string {
	s, _ := get[string](t, key, "a text in quotes")
	return s
}

// need is str for a key that must be there.
func (t *table) need(key string) string {
	s := t.str(key)
	if strings.TrimSpace(s) == "" && (!t.has(key) || t.vals[key] == "") {
		t.fault(key, "%s is missing: give it a text", key)
	}
	return s
}

func (t *table) boolean(key string) bool {
	b, _ := get[bool](t, key, "true or false")
	return b
}

// integer reads a whole number from lo to hi; absent is def.
func (t *table) integer(key string, lo, hi, def int64) int64 {
	i, ok := get[int64](t, key, "a whole number")
	if !ok {
		return def
	}
	if i < lo || i > hi {
		t.fault(key, "%s is %d: it must be from %d to %d", key, i, lo, hi)
		return def
	}
	return i
}

func toFloat(v any) (float64, bool) {
	switch x := v.(type) {
	case int64:
		return float64(x), true
	case float64:
		return x, !math.IsNaN(x) && !math.IsInf(x, 0)
	}
	return 0, false
}

func (t *table) number(key string, def float64) float64 {
	t.used[key] = true
	v, ok := t.vals[key]
	if !ok {
		return def
	}
	f, ok := toFloat(v)
	if !ok {
		t.fault(key, "%s must be a finite number", key)
		return def
	}
	return f
}

func (t *table) duration(key string, def time.Duration) time.Duration {
	s, ok := get[string](t, key, "a duration in quotes, such as \"500ms\"")
	if !ok {
		return def
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > time.Hour {
		t.fault(key, "%s is %q: it must be a duration from 0s to 1h, such as \"500ms\"", key, s)
		return def
	}
	return d
}

// integers reads a list of whole numbers from lo to hi.
func (t *table) integers(key string, lo, hi int64) []int64 {
	list, _ := get[[]any](t, key, "a list of whole numbers")
	var out []int64
	for _, v := range list {
		i, ok := v.(int64)
		if !ok || i < lo || i > hi {
			t.fault(key, "%s must hold whole numbers from %d to %d, not %v", key, lo, hi, v)
			continue
		}
		out = append(out, i)
	}
	return out
}

// texts reads a list of texts.
func (t *table) texts(key string) []string {
	list, _ := get[[]any](t, key, "a list of texts")
	var out []string
	for _, v := range list {
		s, ok := v.(string)
		if !ok || s == "" {
			t.fault(key, "%s must hold texts in quotes, not %v", key, v)
			continue
		}
		out = append(out, s)
	}
	return out
}

// tables reads a list of tables; one table alone counts as a list of one.
func (t *table) tables(key string) []*table {
	if m, ok := t.vals[key].(map[string]any); ok {
		t.used[key] = true
		return []*table{t.d.table(join(t.path, key), m)}
	}
	list, _ := get[[]any](t, key, "a table or a list of tables")
	var out []*table
	for i, v := range list {
		if m, ok := v.(map[string]any); ok {
			out = append(out, t.d.table(join(join(t.path, key), strconv.Itoa(i)), m))
		} else {
			t.fault(key, "%s must hold tables only", key)
		}
	}
	return out
}

// choice reads a text with a parser such as sensors.ParseUnit; absent or empty is the zero value.
func choice[T any](t *table, key string, parse func(string) (T, error)) T {
	s := t.str(key)
	var zero T
	if s == "" {
		return zero
	}
	v, err := parse(s)
	if err != nil {
		t.fault(key, "%s: %v", key, err)
		return zero
	}
	return v
}

// oneOf makes a parser from a list of names.
func oneOf(what string, names []string) func(string) (int, error) {
	return func(s string) (int, error) {
		if i := slices.Index(names, s); i >= 0 {
			return i, nil
		}
		return 0, fmt.Errorf("unknown %s %q: use one of %s", what, s, strings.Join(names, ", "))
	}
}

// done reports every key that was not read.
func (t *table) done() {
	for _, key := range slices.Sorted(maps.Keys(t.vals)) {
		switch {
		case t.used[key]:
		case strings.Contains(key, "write") || strings.Contains(key, "command"):
			t.fault(key, "unknown key %q: a write is a [[command]] of fixed values, and read back", key)
		default:
			t.fault(key, "unknown key %q: known here are %s", key, strings.Join(slices.Sorted(maps.Keys(t.used)), ", "))
		}
	}
}
