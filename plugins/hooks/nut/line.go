package nut

import (
	"errors"
	"strings"
)

// Bounds of a request. The longest that a client has reason to send is a password.
const (
	maxLine  = 512 // bytes, without the line feed
	maxWords = 8
)

var (
	errTooMany  = errors.New("more words than any command has")
	errQuote    = errors.New("a quote or a backslash at the end is not closed")
	errControls = errors.New("a control character")
)

// parseLine splits a request into words. A word in double quotes may hold blanks; a backslash takes
// the next character as it is, in quotes and outside: clients escape '#', '"' and '\' in passwords.
// It never fails on what it can read, and reads nothing with control characters, so that a name
// in it can be logged and sent back.
func parseLine(line string) ([]string, error) {
	var words []string
	var w strings.Builder
	in, quoted, escaped := false, false, false
	end := func() bool {
		if in {
			words = append(words, w.String())
			w.Reset()
			in = false
		}
		return len(words) <= maxWords
	}
	for i := range len(line) {
		c := line[i]
		switch {
		case c < ' ' && c != '\t' || c == 0x7f:
			return nil, errControls
		case escaped:
			w.WriteByte(c)
			escaped = false
		case c == '\\':
			in, escaped = true, true
		case c == '"':
			in, quoted = true, !quoted
		case (c == ' ' || c == '\t') && !quoted:
			if !end() {
				return nil, errTooMany
			}
		default:
			in = true
			w.WriteByte(c)
		}
	}
	if quoted || escaped {
		return nil, errQuote
	}
	if !end() {
		return nil, errTooMany
	}
	return words, nil
}

// quote writes a value as one quoted word. What would end the line, or the reading of a strict
// client, becomes a blank.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f || r == '\uFFFD':
			b.WriteByte(' ')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
