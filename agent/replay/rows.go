package replay

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"firebreak/sensors"
)

// csvRows reads lines of a CSV file: a header, then a row for each instant with one column a point; or,
// as `firebreak bundle` writes them, one reading a line. A row is one line.
type csvRows struct {
	cols *columns
	head []string
	time int         // index of the column of the time
	long *longHeader // one reading a line
}

// longHeader are the columns of readings.csv in a bundle.
type longHeader struct{ point, value, unit, quality, reason int }

func (c *csvRows) line(text []byte) (row, bool, error) {
	if text = trimmed(text); len(text) == 0 || text[0] == '#' {
		return row{}, false, nil
	}
	cells, err := c.split(text)
	if err != nil {
		return row{}, false, err
	}
	if c.head == nil {
		return row{}, false, c.header(cells)
	}
	if len(cells) != len(c.head) {
		return row{}, false, fmt.Errorf("%d columns, and the header has %d", len(cells), len(c.head))
	}
	r := row{}
	if r.at, err = c.cols.instant(cells[c.time]); err != nil {
		return row{}, false, fmt.Errorf("column %s: %w", c.head[c.time], err)
	}
	if c.long != nil {
		return c.reading(r, cells)
	}
	for i, cell := range cells {
		if i == c.time {
			continue
		}
		v, ok, err := c.cols.number(cell)
		if err != nil {
			r.bad = append(r.bad, fmt.Sprintf("column %s: %v", c.head[i], err))
		}
		if v.name = c.head[i]; ok && err == nil {
			r.values = append(r.values, v)
		}
	}
	return r, true, nil
}

func (c *csvRows) split(text []byte) ([]string, error) {
	if bytes.IndexByte(text, '"') < 0 {
		return strings.Split(string(text), c.cols.separator), nil
	}
	r := csv.NewReader(bytes.NewReader(text))
	r.Comma, r.FieldsPerRecord = rune(c.cols.separator[0]), -1
	cells, err := r.Read()
	var at *csv.ParseError
	if errors.As(err, &at) {
		err = fmt.Errorf("byte %d: %w", at.Column, at.Err)
	}
	return cells, err
}

// header takes the first line. A file without a usable one has no usable row.
func (c *csvRows) header(cells []string) error {
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	index := func(name string) int { return slices.Index(cells, name) }
	long := longHeader{index("point"), index("value"), index("unit"), index("quality"), index("reason")}
	c.head, c.time = cells, index(c.cols.time)
	if c.cols.file == "" && long.point >= 0 && long.value >= 0 && index("wall_time") >= 0 {
		c.long, c.time = &long, index("wall_time")
	}
	if c.time < 0 {
		c.head = nil
		return fmt.Errorf("the header has no column %q for the time: %s", c.cols.time, strings.Join(cells, ", "))
	}
	return nil
}

// names are those of the columns that may be points.
func (c *csvRows) names() []string {
	if c.long != nil {
		return nil
	}
	return c.head
}

// reading is a row of one reading.
func (c *csvRows) reading(r row, cells []string) (row, bool, error) {
	cell := func(i int) string {
		if i < 0 {
			return ""
		}
		return strings.TrimSpace(cells[i])
	}
	v, err := qualified(cell(c.long.quality), cell(c.long.reason))
	if err != nil {
		return r, false, err
	}
	if v.name = cell(c.long.point); v.quality.Usable() {
		n, ok, err := c.cols.number(cell(c.long.value))
		if err != nil || !ok {
			return r, false, fmt.Errorf("column %s: %q is no value of a usable reading", c.head[c.long.value], cell(c.long.value))
		}
		v.v = n.v
	}
	if u := cell(c.long.unit); u != "" {
		if v.unit, err = sensors.ParseUnit(u); err != nil {
			return r, false, err
		}
		v.hasUnit = true
	}
	r.values = []value{v}
	return r, true, nil
}

// qualified is a value of the quality that a source gave it; none means that nobody has judged it.
func qualified(status, reason string) (value, error) {
	v := value{quality: sensors.GoodQuality}
	why, err := sensors.ParseReason(reason)
	if err != nil {
		return v, err
	}
	switch v.judged = true; status {
	case "":
		v.judged = false
	case "good":
	case "uncertain":
		v.quality = sensors.MakeQuality(sensors.Uncertain, why, sensors.Real)
	case "bad":
		v.quality = sensors.BadQuality(why)
	default:
		return v, fmt.Errorf("quality %q is not good, uncertain or bad", status)
	}
	return v, nil
}

// jsonRows reads JSON Lines: one object a line, of one of three shapes; see docs/replay.md.
type jsonRows struct{ cols *columns }

func (j *jsonRows) line(text []byte) (row, bool, error) {
	if text = trimmed(text); len(text) == 0 {
		return row{}, false, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return row{}, false, fmt.Errorf("no JSON object: %w", err)
	}
	switch {
	case fields["device"] != nil && fields["ts"] != nil:
		return j.state(fields)
	case fields["point"] != nil:
		return j.reading(fields)
	}
	r := row{}
	var err error
	if r.at, err = j.instant(fields[j.cols.time]); err != nil {
		return r, false, err
	}
	names := make([]string, 0, len(fields))
	for n := range fields {
		if n != j.cols.time {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		r.put(j.cols, n, fields[n])
	}
	return r, true, nil
}

func (j *jsonRows) instant(raw json.RawMessage) (time.Time, error) {
	if raw == nil {
		return time.Time{}, fmt.Errorf("there is no %q", j.cols.time)
	}
	return j.cols.instant(text(raw))
}

// text is a string without its quotes, or what stands there.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil && len(raw) > 0 && raw[0] == '"' {
		return s
	}
	return string(raw)
}

func (r *row) put(c *columns, name string, raw json.RawMessage) {
	v, ok, err := c.number(text(raw))
	switch v.name = name; {
	case err != nil:
		r.bad = append(r.bad, name+": "+err.Error())
	case ok:
		r.values = append(r.values, v)
	}
}

// reading is an object of one reading: time, point, value, and unit, quality and reason where known.
func (j *jsonRows) reading(fields map[string]json.RawMessage) (row, bool, error) {
	r := row{}
	var err error
	if r.at, err = j.instant(fields[j.cols.time]); err != nil {
		return r, false, err
	}
	v, err := qualified(text(fields["quality"]), text(fields["reason"]))
	if err != nil {
		return r, false, err
	}
	if v.quality.Usable() {
		n, ok, err := j.cols.number(text(fields["value"]))
		if err != nil || !ok {
			return r, false, fmt.Errorf("value: %q is no value of a usable reading", text(fields["value"]))
		}
		v.v = n.v
		if !n.quality.Usable() {
			v.quality = n.quality
		}
	}
	if u := text(fields["unit"]); u != "" {
		if v.unit, err = sensors.ParseUnit(u); err != nil {
			return r, false, err
		}
		v.hasUnit = true
	}
	v.name = text(fields["point"])
	r.values = []value{v}
	return r, true, nil
}

// state is a message of the class state, as brokers have it (docs/mqtt.md).
func (j *jsonRows) state(fields map[string]json.RawMessage) (row, bool, error) {
	r := row{}
	var err error
	if r.at, err = unix(text(fields["ts"]), time.Millisecond); err != nil {
		return r, false, err
	}
	device := text(fields["device"])
	noted := map[string]sensors.Quality{}
	for key, status := range map[string]sensors.QualityStatus{"bad": sensors.Bad, "uncertain": sensors.Uncertain} {
		for _, item := range strings.Split(text(fields[key]), ",") {
			if name, why, ok := strings.Cut(item, ":"); ok {
				noted[name] = sensors.MakeQuality(status, reasonNamed(why), sensors.Real)
			}
		}
	}
	names := make([]string, 0, len(fields))
	for n := range fields {
		if !slices.Contains([]string{"device", "epoch", "seq", "ts", "origin", "bad", "uncertain", "replayed"}, n) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	for _, n := range names {
		full := n
		if !strings.HasPrefix(n, device+".") {
			full = device + "." + n
		}
		before := len(r.values)
		r.put(j.cols, full, fields[n])
		if len(r.values) == before {
			continue
		}
		v := &r.values[before]
		if q, ok := noted[n]; ok {
			v.quality = q
		}
		v.judged = true
	}
	return r, true, nil
}
