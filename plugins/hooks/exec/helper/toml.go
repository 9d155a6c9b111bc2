package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The list is a small part of TOML, read by hand: a library would be most of this program, and
// what it does as root. Whatever is taken here is TOML and means the same there (FuzzList).

// pos is a place in the file: line and column from one, the column in bytes.
type pos struct{ line, col int }

// fault is one thing that is wrong, and where.
type fault struct {
	file string
	at   pos
	text string
}

func (f fault) String() string {
	if f.at.line == 0 {
		return f.file + ": " + f.text
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.file, f.at.line, f.at.col, f.text)
}

// value is a string, a whole number, a list of strings or a table of strings.
type value struct {
	at   pos
	kind string // what it is, in words
	s    string
	n    int64
	list []string
	tab  map[string]string
}

const (
	isString = "a string in quotes"
	isNumber = "a whole number"
	isList   = "a list of strings, such as [\"a\", \"b\"]"
	isTable  = "a table of strings, such as { A = \"b\" }"
)

// entry is one [[action]] with its keys.
type entry struct {
	at   pos
	vals map[string]value
	keys []string // in the order of the file
	kpos map[string]pos
}

// reader goes through the text once. After a fault it goes on with the next line, so that all
// faults are told at once.
type reader struct {
	src    string
	i      int
	line   int
	start  int // of the line
	file   string
	faults []fault
}

func (r *reader) here() pos { return pos{r.line, r.i - r.start + 1} }

// stop is a fault on its way up to the line that it ends.
type stop struct {
	at   pos
	text string
}

func (s *stop) Error() string { return s.text }

func (r *reader) wrong(format string, a ...any) error {
	return &stop{r.here(), fmt.Sprintf(format, a...)}
}

func (r *reader) peek() byte {
	if r.i < len(r.src) {
		return r.src[r.i]
	}
	return 0
}

func (r *reader) blank() {
	for r.peek() == ' ' || r.peek() == '\t' {
		r.i++
	}
}

// newline goes over the end of a line, if it is there.
func (r *reader) newline() bool {
	n := 0
	switch {
	case strings.HasPrefix(r.src[r.i:], "\n"):
		n = 1
	case strings.HasPrefix(r.src[r.i:], "\r\n"):
		n = 2
	}
	if n > 0 {
		r.i += n
		r.line, r.start = r.line+1, r.i
	}
	return n > 0
}

// comment goes over one, up to the end of the line.
func (r *reader) comment() error {
	if r.peek() != '#' {
		return nil
	}
	for r.i < len(r.src) && r.src[r.i] != '\n' && !strings.HasPrefix(r.src[r.i:], "\r\n") {
		if c := r.src[r.i]; c < ' ' && c != '\t' || c == 0x7f {
			return r.wrong("a control character in a comment: remove it")
		}
		r.i++
	}
	return nil
}

// readList reads the tables of the text, and what is wrong with it.
func readList(file, src string) ([]entry, []fault) {
	r := &reader{src: src, line: 1, file: file}
	if !utf8.ValidString(src) {
		return nil, []fault{{file, pos{}, "it is not UTF-8: save it as UTF-8 text"}}
	}
	var out []entry
	for r.i < len(r.src) {
		if err := r.oneLine(&out); err != nil {
			s := err.(*stop) // nothing else is returned
			r.faults = append(r.faults, fault{file, s.at, s.text})
			for r.i < len(r.src) && !r.newline() {
				r.i++
			}
		}
	}
	return out, r.faults
}

func (r *reader) oneLine(out *[]entry) error {
	r.blank()
	switch c := r.peek(); {
	case c == '[':
		at := r.here()
		if err := r.header(); err != nil {
			return err
		}
		*out = append(*out, entry{at: at, vals: map[string]value{}, kpos: map[string]pos{}})
	case bare(c):
		if err := r.pair(out); err != nil {
			return err
		}
	}
	r.blank()
	if err := r.comment(); err != nil {
		return err
	}
	if !r.newline() && r.i < len(r.src) {
		return r.wrong("%q is not understood here: a line is [[action]], or key = value, or a comment", rest(r.src[r.i:]))
	}
	return nil
}

// rest is the beginning of what is left of a line.
func rest(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 20 {
		s = strings.ToValidUTF8(s[:20], "") + "..."
	}
	return s
}

func (r *reader) header() error {
	const want = "[[action]]"
	if !strings.HasPrefix(r.src[r.i:], want) {
		return r.wrong("%q is not understood: each table is [[action]]", rest(r.src[r.i:]))
	}
	r.i += len(want)
	return nil
}

func bare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// key reads a bare key and the equals sign behind it.
func (r *reader) key() (string, pos, error) {
	at, from := r.here(), r.i
	for bare(r.peek()) {
		r.i++
	}
	k := r.src[from:r.i]
	if k == "" {
		return "", at, r.wrong("a key of letters, digits, - and _ is missing here")
	}
	r.blank()
	if r.peek() != '=' {
		return "", at, r.wrong("%q lacks its value: write %s = value", k, k)
	}
	r.i++
	r.blank()
	return k, at, nil
}

func (r *reader) pair(out *[]entry) error {
	k, at, err := r.key()
	if err != nil {
		return err
	}
	v, err := r.value()
	if err != nil {
		return err
	}
	if len(*out) == 0 {
		return &stop{at, fmt.Sprintf("%q stands before the first [[action]]: put it below one", k)}
	}
	e := &(*out)[len(*out)-1]
	if _, twice := e.vals[k]; twice {
		return &stop{at, fmt.Sprintf("%q stands there twice: remove one", k)}
	}
	e.vals[k], e.kpos[k], e.keys = v, at, append(e.keys, k)
	return nil
}

func (r *reader) value() (value, error) {
	v := value{at: r.here()}
	var err error
	switch c := r.peek(); {
	case c == '"' || c == '\'':
		v.kind = isString
		v.s, err = r.text()
	case c >= '0' && c <= '9' || c == '-':
		v.kind = isNumber
		v.n, err = r.number()
	case c == '[':
		v.kind = isList
		v.list, err = r.list()
	case c == '{':
		v.kind = isTable
		v.tab, err = r.table()
	default:
		err = r.wrong("%q is no value: use %s, %s, %s or %s", rest(r.src[r.i:]), isString, isNumber, isList, isTable)
	}
	return v, err
}
