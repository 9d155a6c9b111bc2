package line

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Parse reads one line, without its end. A line without a time has Time 0.
func Parse(s string) (Metric, error) {
	var m Metric
	if len(s) > MaxLine {
		return m, fmt.Errorf("a line of %d bytes, at most %d", len(s), MaxLine)
	}
	p := parser{rest: s}
	m.Name = p.word(", ", ", ")
	if m.Name == "" || m.Name[0] == '#' {
		return m, errors.New("no metric: the line has no name")
	}
	for p.skip(',') {
		k := p.word(",= ", ",= ")
		if !p.skip('=') {
			return m, fmt.Errorf("tag %.40q has no value", k)
		}
		v := p.word(",= ", ",= ")
		if k == "" || v == "" {
			return m, errors.New("an empty tag")
		}
		if len(m.Tags) == MaxTags {
			return m, fmt.Errorf("more than %d tags", MaxTags)
		}
		m.Tags = append(m.Tags, Tag{k, v})
	}
	if !p.skip(' ') {
		return m, errors.New("no field")
	}
	for more := true; more; more = p.skip(',') {
		k := p.word(",= ", ",= ")
		if k == "" || !p.skip('=') {
			return m, fmt.Errorf("field %.40q has no value", k)
		}
		v, err := p.value()
		if err != nil {
			return m, fmt.Errorf("field %.40q: %w", k, err)
		}
		if len(m.Fields) == MaxKeys {
			return m, fmt.Errorf("more than %d fields", MaxKeys)
		}
		m.Fields = append(m.Fields, Field{k, v})
	}
	if p.rest == "" {
		return m, nil
	}
	if !p.skip(' ') {
		return m, fmt.Errorf("%.40q after the fields", p.rest)
	}
	t, err := strconv.ParseInt(strings.TrimRight(p.rest, "\r "), 10, 64)
	if err != nil {
		return m, fmt.Errorf("%.40q is no time in nanoseconds", p.rest)
	}
	m.Time = t
	return m, nil
}

type parser struct{ rest string }

func (p *parser) skip(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// word reads up to the first of the bytes in end that no backslash stands before. A backslash before
// anything that is not in special is itself.
func (p *parser) word(end, special string) string {
	var b []byte // nil as long as nothing was escaped
	for i := 0; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == '\\' && i+1 < len(p.rest) && strings.IndexByte(special, p.rest[i+1]) >= 0:
			if b == nil {
				b = append(make([]byte, 0, len(p.rest)), p.rest[:i]...)
			}
			i++
			b = append(b, p.rest[i])
		case strings.IndexByte(end, c) >= 0:
			return p.cut(b, i)
		case b != nil:
			b = append(b, c)
		}
	}
	return p.cut(b, len(p.rest))
}

func (p *parser) cut(b []byte, i int) string {
	s := p.rest[:i]
	p.rest = p.rest[i:]
	if b != nil {
		return string(b)
	}
	return s
}

func (p *parser) value() (any, error) {
	if p.skip('"') {
		return p.text()
	}
	i := strings.IndexAny(p.rest, ", ")
	if i < 0 {
		i = len(p.rest)
	}
	s := p.rest[:i]
	p.rest = p.rest[i:]
	switch s {
	case "":
		return nil, errors.New("no value")
	case "t", "T", "true", "True", "TRUE":
		return true, nil
	case "f", "F", "false", "False", "FALSE":
		return false, nil
	}
	var v any
	var err error
	switch body := s[:len(s)-1]; s[len(s)-1] {
	case 'i':
		v, err = strconv.ParseInt(body, 10, 64)
	case 'u':
		v, err = strconv.ParseUint(body, 10, 64)
	default:
		var f float64
		if f, err = strconv.ParseFloat(s, 64); err == nil && (math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(s, "xX_pP")) {
			err = errors.New("not a number")
		}
		v = f
	}
	if err != nil {
		return nil, fmt.Errorf("%.40q is no value", s)
	}
	return v, nil
}

// text reads a string to its closing quote.
func (p *parser) text() (any, error) {
	var b []byte
	for i := 0; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '\\' && i+1 < len(p.rest) && (p.rest[i+1] == '"' || p.rest[i+1] == '\\'):
			i++
			b = append(b, p.rest[i])
		case c == '"':
			p.rest = p.rest[i+1:]
			return string(b), nil
		default:
			b = append(b, c)
		}
	}
	return nil, errors.New("a string without its end")
}
