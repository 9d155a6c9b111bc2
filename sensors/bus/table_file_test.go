package bus_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"firebreak/configs"
	"firebreak/sensors/profile"
)

// Each table has all points of its profile, each with a value that is not what an empty register reads, its sentinel
// where it has one, and another device where the profile asks who answers. What is read of it: TestTablesPymodbus,
// TestTablesLibmodbus.
func TestTablesWhole(t *testing.T) {
	for _, tb := range allTables(t, nil) {
		p, err := profile.Load(configs.Profiles(), tb.name)
		if err != nil {
			t.Error(err)
			continue
		}
		channels := map[string]bool{}
		for i := range p.Channels {
			c := &p.Channels[i]
			channels[c.Name] = true
			want, known := tb.want[c.Name]
			if tb.beyond[c.Name] {
				continue
			}
			rows := func(is func(r read) bool) bool {
				return is(want) || slices.ContainsFunc(tb.rows, func(row tableRow) bool { return is(row.reads[c.Name]) })
			}
			switch {
			case !known:
				t.Errorf("%s: %s is not in the table", tb.name, c.Name)
			case !rows(func(r read) bool { return r.value != 0 }):
				t.Errorf("%s: %s is never other than 0", tb.name, c.Name)
			case len(c.Sentinels) > 0 && !tb.untold[c.Name] && !rows(func(r read) bool { return r.bad }):
				t.Errorf("%s: %s is never without a value, which the profile knows: %#x", tb.name, c.Name, c.Sentinels)
			}
		}
		for name := range tb.want {
			if !channels[name] {
				t.Errorf("%s: the profile has no %s", tb.name, name)
			}
		}
		if wrong := func(r tableRow) bool { return r.wrong }; len(p.Identity) > 0 && !slices.ContainsFunc(tb.rows, wrong) {
			t.Errorf("%s: no line `wrong`, though the profile asks who answers", tb.name)
		}
	}
}

// allTables are the tables by unit; each has a number of its own, whatever its document says.
func allTables(t *testing.T, without []string) map[byte]*table {
	t.Helper()
	files, _ := filepath.Glob("testdata/tables/*.txt")
	if len(files) < 10 {
		t.Fatalf("only %d tables", len(files))
	}
	tables := map[byte]*table{}
	for i, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if slices.Contains(without, name) {
			continue
		}
		tb, err := readTable(file, name)
		if err != nil {
			t.Error(err)
			continue
		}
		tables[byte(11+i)] = tb
	}
	return tables
}

// identification is what function 43 tells; the others are the functions that read a table.
func tableFunctions() map[string]profile.Function {
	return map[string]profile.Function{"coil": profile.Coil, "discrete": profile.Discrete, "holding": profile.Holding, "input": profile.Input,
		"identification": profile.Identification}
}

// registers are words from an address on.
type registers struct {
	f     profile.Function
	at    int
	words []uint16
}

// read is what a point has to be.
type read struct {
	value  float64
	bad    bool
	reason string // of bad; empty: any
	any    bool   // the documents do not tell
	unit   string
}

func (r read) String() string {
	switch {
	case r.any:
		return "anything"
	case r.bad && r.reason == "":
		return "bad"
	case r.bad:
		return "bad:" + r.reason
	}
	return strings.TrimSpace(fmt.Sprint(r.value, " ", r.unit))
}

// tableRow is registers that differ from the base, and what differs of what is read.
type tableRow struct {
	text  string
	set   registers
	reads map[string]read
	wrong bool // another device
}

// table is one file of testdata/tables; see its README.
type table struct {
	name   string
	base   []registers
	want   map[string]read
	rows   []tableRow
	beyond map[string]bool
	untold map[string]bool // what it reads when there is no value
}

func readTable(file, name string) (*table, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	tb := &table{name: name, want: map[string]read{}, beyond: map[string]bool{}, untold: map[string]bool{}}
	lines := strings.Split(string(text), "\n")
	var faults []error
	// The points of all lines `want` are known before a row may name them.
	for _, wants := range []bool{true, false} {
		for i, line := range lines {
			w := strings.Fields(line)
			if len(w) == 0 || strings.HasPrefix(line, "#") || (w[0] == "want") != wants {
				continue
			}
			if err := tb.line(line, w[0], w[1:]); err != nil {
				faults = append(faults, fmt.Errorf("%s:%d: %w", file, i+1, err))
			}
		}
	}
	return tb, errors.Join(faults...)
}

func (tb *table) line(line, verb string, w []string) error {
	if len(w) < 2 {
		w = append(w, "", "")
	}
	switch verb {
	case "source", "unit":
		return nil
	case "beyond":
		tb.beyond[w[0]] = true
		return nil
	case "untold":
		for _, point := range w {
			tb.untold[point] = true
		}
		return nil
	case "want":
		r, err := parseRead(w[1])
		if len(w) > 2 {
			r.unit = w[2]
		}
		if _, twice := tb.want[w[0]]; twice {
			return fmt.Errorf("%s stands here twice", w[0])
		}
		tb.want[w[0]] = r
		return err
	}
	at, err := strconv.ParseUint(w[1], 0, 16)
	f, known := tableFunctions()[w[0]]
	if err != nil || !known {
		return fmt.Errorf("%q: no function and address", line)
	}
	g := registers{f: f, at: int(at)}
	switch w = w[2:]; verb {
	case "base", "wrong":
		if g.words, err = parseWords(w); err != nil {
			return err
		}
		if verb == "wrong" {
			tb.rows = append(tb.rows, tableRow{text: line, set: g, wrong: true})
			return nil
		}
		tb.base = append(tb.base, g)
		return nil
	case "row":
		return tb.row(line, g, w)
	case "each":
		return tb.each(g, w)
	case "bits":
		return tb.bits(g, 1, w)
	case "bits32":
		return tb.bits(g, 2, w)
	}
	return fmt.Errorf("there is no %q", verb)
}

// differ takes POINT=READ..., of points that are known.
func (tb *table) differ(reads map[string]read, pairs []string) error {
	for _, pair := range pairs {
		point, text, _ := strings.Cut(pair, "=")
		r, err := parseRead(text)
		if err != nil {
			return err
		}
		n := 0
		for name := range tb.want {
			if start, open := strings.CutSuffix(point, "*"); name == point || open && strings.HasPrefix(name, start) {
				reads[name] = r
				n++
			}
		}
		if n == 0 {
			return fmt.Errorf("no line `want` has %s", point)
		}
	}
	return nil
}

func (tb *table) row(line string, g registers, w []string) (err error) {
	semicolon := slices.Index(w, ";")
	if semicolon < 0 {
		return fmt.Errorf("%q: no semicolon", line)
	}
	if g.words, err = parseWords(w[:semicolon]); err != nil {
		return err
	}
	r := tableRow{text: line, set: g, reads: map[string]read{}}
	tb.rows = append(tb.rows, r)
	return tb.differ(r.reads, w[semicolon+1:])
}

func (tb *table) each(g registers, w []string) (err error) {
	for _, pair := range w[1:] {
		word, text, _ := strings.Cut(pair, "=")
		if g.words, err = parseWords([]string{word}); err != nil {
			return err
		}
		r := tableRow{text: fmt.Sprintf("%s %#x = %s", g.f, g.at, word), set: g, reads: map[string]read{}}
		if err := tb.differ(r.reads, []string{w[0] + "=" + text}); err != nil {
			return err
		}
		tb.rows = append(tb.rows, r)
	}
	return nil
}

// bits makes one row for each bit, in which the points of all others are 0.
func (tb *table) bits(g registers, size int, w []string) error {
	points := map[string]read{}
	for _, pair := range w {
		_, moved, _ := strings.Cut(pair, ":")
		if point, _, _ := strings.Cut(moved, ","); point != "-" {
			points[point] = read{}
		}
	}
	for _, pair := range w {
		number, moved, _ := strings.Cut(pair, ":")
		bit, err := strconv.Atoi(number)
		if err != nil || bit >= 16*size {
			return fmt.Errorf("%q: no bit of %d words", pair, size)
		}
		g.words = make([]uint16, size)
		g.words[size-1-bit/16] = 1 << (bit % 16)
		r := tableRow{text: fmt.Sprintf("%s %#x: bit %d alone", g.f, g.at, bit), set: g, reads: map[string]read{}}
		for point := range points {
			r.reads[point] = read{}
		}
		if point, others, more := strings.Cut(moved, ","); point != "-" {
			pairs := []string{point + "=1"}
			if more {
				pairs = append(pairs, strings.Split(others, ",")...)
			}
			if err := tb.differ(r.reads, pairs); err != nil {
				return err
			}
		}
		tb.rows = append(tb.rows, r)
	}
	return nil
}

func parseRead(text string) (r read, err error) {
	if text == "any" {
		return read{any: true}, nil
	}
	if reason, bad := strings.CutPrefix(text, "bad"); bad {
		return read{bad: true, reason: strings.TrimPrefix(reason, ":")}, nil
	}
	r.value, err = strconv.ParseFloat(text, 64)
	return r, err
}

// parseWords takes 7, -7, 0x7, u32:7, i32:-7, f32:7.5, f32s:7.5, and "text", of which each byte is one.
func parseWords(w []string) (out []uint16, err error) {
	for _, text := range w {
		if quoted, err := strconv.Unquote(text); err == nil {
			for _, b := range []byte(quoted) {
				out = append(out, uint16(b))
			}
			continue
		}
		kind, number, wide := strings.Cut(text, ":")
		if !wide {
			n, err := strconv.ParseInt(text, 0, 32)
			if err != nil || n < math.MinInt16 || n > math.MaxUint16 {
				return nil, fmt.Errorf("%q is no word", text)
			}
			out = append(out, uint16(n))
			continue
		}
		var two uint32
		if kind == "u32" || kind == "i32" {
			n, e := strconv.ParseInt(number, 0, 64)
			two, err = uint32(n), e
		} else {
			n, e := strconv.ParseFloat(number, 32)
			two, err = math.Float32bits(float32(n)), e
		}
		if err != nil || !slices.Contains([]string{"u32", "i32", "f32", "f32s"}, kind) {
			return nil, fmt.Errorf("%q is no pair of words", text)
		}
		high, low := uint16(two>>16), uint16(two)
		if kind == "f32s" {
			high, low = low, high
		}
		out = append(out, high, low)
	}
	return out, nil
}
