package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (r *reader) number() (int64, error) {
	from := r.i
	if r.peek() == '-' {
		r.i++
	}
	first := r.i
	for c := r.peek(); c >= '0' && c <= '9'; c = r.peek() {
		r.i++
	}
	s := r.src[from:r.i]
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || r.src[first] == '0' && r.i > first+1 || bare(r.peek()) || strings.ContainsRune(".:+", rune(r.peek())) && r.peek() != 0 {
		r.i = from
		return 0, r.wrong("%q is no whole number: use digits alone, or quotes for a text", rest(r.src[from:]))
	}
	return n, nil
}

// list reads strings in brackets; it may go over several lines.
func (r *reader) list() ([]string, error) {
	out := []string{}
	r.i++
	for needComma := false; ; {
		r.blank()
		if err := r.comment(); err != nil {
			return nil, err
		}
		switch c := r.peek(); {
		case r.newline():
		case c == ']':
			r.i++
			return out, nil
		case c == ',' && needComma:
			r.i++
			needComma = false
		case (c == '"' || c == '\'') && !needComma:
			s, err := r.text()
			if err != nil {
				return nil, err
			}
			out, needComma = append(out, s), true
		default:
			return nil, r.wrong("%q is not understood in a list: strings in quotes, a comma between two, ] at the end", rest(r.src[r.i:]))
		}
	}
}

// table reads { A = "b", C = "d" } on one line.
func (r *reader) table() (map[string]string, error) {
	out := map[string]string{}
	r.i++
	r.blank()
	if r.peek() == '}' {
		r.i++
		return out, nil
	}
	for {
		r.blank()
		k, at, err := r.key()
		if err != nil {
			return nil, err
		}
		if c := r.peek(); c != '"' && c != '\'' {
			return nil, r.wrong("%q must be a string in quotes", k)
		}
		s, err := r.text()
		if err != nil {
			return nil, err
		}
		if _, twice := out[k]; twice {
			return nil, &stop{at, fmt.Sprintf("%q stands there twice: remove one", k)}
		}
		out[k] = s
		r.blank()
		switch r.peek() {
		case ',':
			r.i++
		case '}':
			r.i++
			return out, nil
		default:
			return nil, r.wrong("%q is not understood in a table: a comma or } belongs here", rest(r.src[r.i:]))
		}
	}
}

// text reads "with \escapes" or 'as it stands', on one line.
func (r *reader) text() (string, error) {
	quote := r.peek()
	if strings.HasPrefix(r.src[r.i:], strings.Repeat(string(quote), 3)) {
		return "", r.wrong("a text of several lines is not known here: use one pair of quotes and \\n")
	}
	at := r.here()
	r.i++
	var b strings.Builder
	for {
		c := r.peek()
		switch {
		case r.i >= len(r.src) || c == '\n' || c == '\r':
			return "", &stop{at, "the text is not closed: its quotes end on the same line"}
		case c == quote:
			r.i++
			return b.String(), nil
		case c < ' ' && c != '\t' || c == 0x7f:
			return "", r.wrong("a control character in a text: write it as \\u00XX")
		case c == '\\' && quote == '"':
			s, err := r.escape()
			if err != nil {
				return "", err
			}
			b.WriteString(s)
		default:
			b.WriteByte(c)
			r.i++
		}
	}
}

func (r *reader) escape() (string, error) {
	simple := map[byte]string{'b': "\b", 't': "\t", 'n': "\n", 'f': "\f", 'r': "\r", '"': "\"", '\\': "\\"}
	digits := map[byte]int{'u': 4, 'U': 8}
	if r.i+1 < len(r.src) {
		c := r.src[r.i+1]
		if s, ok := simple[c]; ok {
			r.i += 2
			return s, nil
		}
		if n := digits[c]; n > 0 && r.i+2+n <= len(r.src) {
			u, err := strconv.ParseUint(r.src[r.i+2:r.i+2+n], 16, 32)
			if err == nil && utf8.ValidRune(rune(u)) && u <= utf8.MaxRune {
				r.i += 2 + n
				return string(rune(u)), nil
			}
		}
	}
	return "", r.wrong("%q is no escape: use \\\", \\\\, \\n, \\t or \\u0041, or single quotes for a text as it stands", rest(r.src[r.i:]))
}
