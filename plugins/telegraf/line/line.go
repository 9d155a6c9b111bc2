// Package line is one metric as both sides of the pipe to the companion and a stock Telegraf know it: a
// name, tags, fields and a time, written in InfluxDB's line protocol.
//
// Concurrency: plain values; the functions keep no state. Failure: Parse refuses what is no line of the
// protocol and takes no more memory than the line has; Append leaves out what the protocol cannot carry
// (empty tags, NaN, infinities) and says when nothing is left.
package line

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bounds of one metric: a line is longer only by mistake, or by malice.
const (
	MaxLine = 64 << 10
	MaxTags = 256
	MaxKeys = 1024 // fields
)

// Tag is one tag of a metric.
type Tag struct{ Key, Value string }

// Field is one value of a metric: float64, int64, uint64, bool or string.
type Field struct {
	Key   string
	Value any
}

// Metric is one measurement of one thing at one time.
type Metric struct {
	Name   string
	Tags   []Tag
	Fields []Field
	Time   int64 // Unix nanoseconds
}

// Tag returns the value of a tag; empty when the metric does not have it.
func (m *Metric) Tag(key string) string {
	for i := range m.Tags {
		if m.Tags[i].Key == key {
			return m.Tags[i].Value
		}
	}
	return ""
}

// Field returns the value of a field; nil when the metric does not have it.
func (m *Metric) Field(key string) any {
	for i := range m.Fields {
		if m.Fields[i].Key == key {
			return m.Fields[i].Value
		}
	}
	return nil
}

// ErrNothing says that no field of a metric can be written.
var ErrNothing = errors.New("no field of the metric can be written in line protocol")

// Append writes m as one line, without its end.
func (m *Metric) Append(dst []byte) ([]byte, error) {
	from := len(dst)
	name := plain(m.Name)
	if name == "" {
		return dst, errors.New("the metric has no name")
	}
	dst = escape(dst, name, ", ")
	for _, t := range m.Tags {
		k, v := plain(t.Key), plain(t.Value)
		if k == "" || v == "" {
			continue
		}
		dst = append(dst, ',')
		dst = escape(dst, k, ",= ")
		dst = append(dst, '=')
		dst = escape(dst, v, ",= ")
	}
	sep := byte(' ')
	for _, f := range m.Fields {
		k := plain(f.Key)
		if k == "" {
			continue
		}
		mark := len(dst)
		dst = append(dst, sep)
		dst = escape(dst, k, ",= ")
		dst = append(dst, '=')
		var ok bool
		if dst, ok = appendValue(dst, f.Value); !ok {
			dst = dst[:mark]
			continue
		}
		sep = ','
	}
	if sep == ' ' {
		return dst[:from], ErrNothing
	}
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, m.Time, 10)
	if len(dst)-from > MaxLine {
		return dst[:from], fmt.Errorf("the metric %.40q has more than %d bytes", m.Name, MaxLine)
	}
	return dst, nil
}

func appendValue(dst []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return dst, false
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64), true
	case int64:
		return append(strconv.AppendInt(dst, v, 10), 'i'), true
	case uint64:
		return append(strconv.AppendUint(dst, v, 10), 'u'), true
	case bool:
		return strconv.AppendBool(dst, v), true
	case string:
		dst = append(dst, '"')
		for i := range len(v) {
			if v[i] == '"' || v[i] == '\\' {
				dst = append(dst, '\\')
			}
			if v[i] == '\n' || v[i] == '\r' { // a reader by lines must not stumble
				dst = append(dst, ' ')
				continue
			}
			dst = append(dst, v[i])
		}
		return append(dst, '"'), true
	}
	return dst, false
}

// plain makes a name or a tag what the protocol can carry: no control characters, no backslash at the
// end, which would escape what separates.
func plain(s string) string {
	if strings.IndexFunc(s, control) >= 0 {
		s = strings.Map(func(r rune) rune {
			if control(r) {
				return '_'
			}
			return r
		}, s)
	}
	return strings.TrimRight(s, `\`)
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

func escape(dst []byte, s, special string) []byte {
	for i := range len(s) {
		if strings.IndexByte(special, s[i]) >= 0 {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}
