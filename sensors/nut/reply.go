package nut

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
)

// Bounds of a reply. Values of upsd have 256 bytes at most, each of which may be escaped.
const (
	maxLine  = 2048
	maxLines = 4096
	maxReply = 256 << 10
)

// Refusal is an answer "ERR ...": upsd is there, and does not do what it is asked.
type Refusal struct{ Code string }

func (r Refusal) Error() string { return "upsd answers ERR " + r.Code }

// readLine reads one line, without its end.
func readLine(in *bufio.Reader) (string, error) {
	b, err := in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", fmt.Errorf("a line of over %d bytes: this is no upsd", maxLine)
	case err != nil && len(b) > 0:
		return "", fmt.Errorf("a reply that ends within a line: %w", noEOF(err))
	case err != nil:
		return "", err
	}
	return strings.TrimSuffix(string(b[:len(b)-1]), "\r"), nil
}

// noEOF hides an end of file in the middle of a reply: that one is no idle connection that was closed.
func noEOF(err error) error {
	if gone(err) {
		return errors.New("the connection was closed")
	}
	return err
}

// readList reads the reply to LIST what, such as "VAR myups": lines that begin with each, a name and a value.
func readList(in *bufio.Reader, what, each string, take func(name, value string)) error {
	line, err := readLine(in)
	if err != nil {
		return err
	}
	if code, no := strings.CutPrefix(line, "ERR "); no {
		code, _, _ = strings.Cut(code, " ")
		return Refusal{printable(code)}
	}
	if line != "BEGIN LIST "+what {
		return foreign(line, "BEGIN LIST "+what)
	}
	size := 0
	for range maxLines {
		if line, err = readLine(in); err != nil {
			return noEOF(err)
		}
		if line == "END LIST "+what {
			if in.Buffered() > 0 {
				return errors.New("something behind the end of the reply, which nobody asked for")
			}
			return nil
		}
		if size += len(line); size > maxReply {
			break
		}
		name, value, ok := parseLine(line, each)
		if !ok {
			return foreign(line, each+` NAME "VALUE"`)
		}
		take(name, value)
	}
	return fmt.Errorf("a reply of over %d lines or %d bytes: this is no upsd", maxLines, maxReply)
}

func foreign(line, want string) error {
	return fmt.Errorf("it answers %.80q where %q belongs: this is no upsd, or not the answer to what was asked", line, want)
}

// parseLine reads a line of the form: VAR ups name "value", or UPS name "description".
func parseLine(line, each string) (name, value string, ok bool) {
	rest, ok := strings.CutPrefix(line, each+" ")
	if !ok {
		return "", "", false
	}
	name, rest, ok = strings.Cut(rest, " ")
	if !ok || name == "" || strings.ContainsAny(name, "\"\\\t") {
		return "", "", false
	}
	value, ok = unquote(rest)
	return name, value, ok
}

// unquote reads a quoted value that ends with s. Bytes that are no UTF-8 are let through: drivers pass on
// what a UPS says of itself.
func unquote(s string) (string, bool) {
	body, ok := strings.CutPrefix(s, `"`)
	if !ok {
		return "", false
	}
	var out strings.Builder
	for i := 0; i < len(body); i++ {
		switch b := body[i]; {
		case b == '"':
			return out.String(), i == len(body)-1
		case b < ' ' && b != '\t':
			return "", false
		case b == '\\':
			if i++; i == len(body) {
				return "", false
			}
			out.WriteByte(body[i])
		default:
			out.WriteByte(b)
		}
	}
	return "", false
}

// printable bounds a code that goes into logs; what is no code stays recognisable, in quotes.
func printable(code string) string {
	if len(code) > 40 || strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
		return fmt.Sprintf("%.40q", code)
	}
	return code
}
