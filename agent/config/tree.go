package config

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// value is one TOML value with its place. Exactly one of the fields after kind counts.
type value struct {
	at   Pos
	kind unstable.Kind // String, Bool, Integer, Float, Array, InlineTable (any table), or a date
	s    string        // String; the raw text of a date
	b    bool
	i    int64
	f    float64
	list []*value
	tab  *Table
}

// parseTree checks the TOML itself first, since its syntax error comes alone, then builds the
// positioned tree; in is the file of a pack, empty for the configuration. It returns nil when there is a fault.
func parseTree(src *source, data []byte, in string) *Table {
	var plain map[string]any
	if err := toml.Unmarshal(data, &plain); err != nil {
		at := Pos{1, 1, in}
		var de *toml.DecodeError
		if errors.As(err, &de) {
			at.Line, at.Column = de.Position()
		}
		src.fault(at, "not valid TOML: %s", strings.TrimPrefix(err.Error(), "toml: "))
		return nil
	}
	b := &builder{src: src, file: in, lines: lineStarts(data)}
	b.p.Reset(data)
	root := newTable(src, "", Pos{1, 1, in})
	cur := root
	for b.p.NextExpression() {
		e := b.p.Expression()
		switch e.Kind {
		case unstable.Table:
			cur = b.header(root, e, false)
		case unstable.ArrayTable:
			cur = b.header(root, e, true)
		case unstable.KeyValue:
			b.keyValue(cur, e)
		}
	}
	if err := b.p.Error(); err != nil {
		src.fault(Pos{1, 1, in}, "not valid TOML: %v", err)
		return nil
	}
	return root
}

type builder struct {
	src   *source
	file  string // of a pack
	p     unstable.Parser
	lines []uint32 // offset of the first byte of each line
}

func lineStarts(data []byte) []uint32 {
	starts := []uint32{0}
	for i, c := range data {
		if c == '\n' {
			starts = append(starts, uint32(i)+1)
		}
	}
	return starts
}

func (b *builder) pos(n *unstable.Node) Pos {
	line, found := slices.BinarySearch(b.lines, n.Raw.Offset)
	if !found {
		line--
	}
	return Pos{line + 1, int(n.Raw.Offset-b.lines[line]) + 1, b.file}
}

// header finds or makes the table that [a.b] or [[a.b]] opens. The plain decoding has seen to it
// that no key is both a table and something else.
func (b *builder) header(root *Table, e *unstable.Node, array bool) *Table {
	t := root
	for it := e.Key(); it.Next(); {
		n := it.Node()
		name, at, last := string(n.Data), b.pos(n), it.IsLast()
		v := t.vals[name]
		switch {
		case last && array:
			if v == nil {
				v = &value{at: at, kind: unstable.Array}
				t.put(name, at, v)
			}
			nt := newTable(b.src, t.sub(name), at)
			v.list = append(v.list, &value{at: at, kind: unstable.InlineTable, tab: nt})
			t = nt
		case v == nil:
			nt := newTable(b.src, t.sub(name), at)
			t.put(name, at, &value{at: at, kind: unstable.InlineTable, tab: nt})
			t = nt
		case v.tab != nil:
			t = v.tab
			if last {
				t.at = at
			}
		case len(v.list) > 0 && v.list[len(v.list)-1].tab != nil:
			t = v.list[len(v.list)-1].tab
		}
	}
	return t
}

// keyValue puts one possibly dotted key into t.
func (b *builder) keyValue(t *Table, e *unstable.Node) {
	for it := e.Key(); it.Next(); {
		n := it.Node()
		name, at := string(n.Data), b.pos(n)
		if it.IsLast() {
			t.put(name, at, b.value(e.Value(), at, t.sub(name)))
			return
		}
		v := t.vals[name]
		if v == nil || v.tab == nil {
			v = &value{at: at, kind: unstable.InlineTable, tab: newTable(b.src, t.sub(name), at)}
			t.put(name, at, v)
		}
		t = v.tab
	}
}

// value converts a node; key is the place of its key, which stands in where the parser keeps none.
func (b *builder) value(n *unstable.Node, key Pos, path string) *value {
	v := &value{at: key, kind: n.Kind}
	if n.Kind != unstable.Array && n.Raw.Length > 0 {
		v.at = b.pos(n)
	}
	text := strings.ReplaceAll(string(n.Data), "_", "")
	var err error
	switch n.Kind {
	case unstable.Bool:
		v.b = text == "true"
	case unstable.Integer:
		v.i, err = strconv.ParseInt(text, 0, 64)
	case unstable.Float:
		v.f, err = strconv.ParseFloat(text, 64)
	case unstable.Array:
		for it := n.Children(); it.Next(); {
			if c := it.Node(); c.Kind != unstable.Comment {
				v.list = append(v.list, b.value(c, key, path))
			}
		}
	case unstable.InlineTable:
		v.tab = newTable(b.src, path, v.at)
		for it := n.Children(); it.Next(); {
			if c := it.Node(); c.Kind == unstable.KeyValue {
				b.keyValue(v.tab, c)
			}
		}
	default:
		v.s = string(n.Data)
	}
	if err != nil {
		b.src.fault(v.at, "%q is not a number that fits 64 bits", text)
	}
	return v
}

// text is the value as a person reads it, without quotes.
func (v *value) text() string {
	switch {
	case v.kind == unstable.Array:
		items := make([]string, len(v.list))
		for i, e := range v.list {
			items[i] = e.text()
		}
		return strings.Join(items, ", ")
	case v.kind == unstable.Bool:
		return strconv.FormatBool(v.b)
	case v.kind == unstable.Integer:
		return strconv.FormatInt(v.i, 10)
	case v.kind == unstable.Float:
		return strconv.FormatFloat(v.f, 'g', -1, 64)
	}
	return v.s
}

// write puts the value in one canonical form, so that comments, layout, the order of keys and the
// spelling of a number do not change the hash.
func (v *value) write(w io.Writer) {
	switch {
	case v.tab != nil:
		v.tab.write(w)
	case v.kind == unstable.Array:
		fmt.Fprint(w, "[")
		for _, e := range v.list {
			e.write(w)
			fmt.Fprint(w, ",")
		}
		fmt.Fprint(w, "]")
	case v.kind == unstable.Bool:
		fmt.Fprint(w, v.b)
	case v.kind == unstable.Integer:
		fmt.Fprint(w, v.i)
	case v.kind == unstable.Float:
		fmt.Fprint(w, v.f)
	default:
		fmt.Fprintf(w, "%q", v.s)
	}
}

func (t *Table) write(w io.Writer) {
	keys := slices.Clone(t.keys)
	slices.Sort(keys)
	fmt.Fprint(w, "{")
	for _, k := range keys {
		fmt.Fprintf(w, "%q=", k)
		t.vals[k].write(w)
		fmt.Fprint(w, ",")
	}
	fmt.Fprint(w, "}")
}
