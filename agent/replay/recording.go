package replay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"firebreak/agent/core"
	"firebreak/sensors"
)

// Bounds of what is read.
const (
	maxLine    = 1 << 20
	maxText    = 1 << 20 // of the configuration in a bundle, and of a file of columns
	shownRows  = 20      // refused rows that are told; all are counted
	shownNames = 20
	// slack is how far back a row may lie behind its predecessor: polls of different devices end up in
	// a log in the order in which they were judged.
	slack = 10 * time.Second
)

// RowError is a row, or a value of one, that was refused.
type RowError struct {
	File string
	Line int
	Text string
}

func (e *RowError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Text) }

// row is what one line of a recording says.
type row struct {
	at     time.Time
	values []value
	bad    []string // values that were refused
}

// value is one value of one column or field.
type value struct {
	name    string // of a column of the mapping, or of a point
	v       float64
	unit    sensors.Unit
	hasUnit bool
	quality sensors.Quality // without origin
	judged  bool            // the quality is the source's own: it is not looked at again
}

// recording reads rows as their time comes.
type recording struct {
	in     *bufio.Reader
	file   string
	n      int // lines read
	parse  parser
	errs   io.Writer
	player *player

	rules   *core.Rules
	bind    map[string]*bound // by name of column or point
	qual    []sensors.Qualifier
	speaks  map[sensors.PointID]bool
	first   time.Time
	last    sensors.Mono
	ahead   row
	have    bool
	refused int
	unknown map[string]bool
	buf     []sensors.Reading
	err     error // of reading the file
}

// bound is a column's point and what makes its values those of the point.
type bound struct {
	id            sensors.PointID
	unit          sensors.Unit
	hasUnit       bool
	scale, offset float64
	invert        bool
}

func newRecording(in io.Reader, file, kind string, cols *columns, errs io.Writer) *recording {
	r := &recording{in: bufio.NewReaderSize(in, 64<<10), file: file, errs: errs, unknown: map[string]bool{}, speaks: map[sensors.PointID]bool{}, bind: map[string]*bound{}}
	if kind == "csv" {
		r.parse = &csvRows{cols: cols}
	} else {
		r.parse = &jsonRows{cols: cols}
	}
	return r
}

// begin binds names to points and reads the first row.
func (r *recording) begin(ctx context.Context, rules *core.Rules, cols *columns) error {
	r.rules, r.qual = rules, make([]sensors.Qualifier, len(rules.Hazard.Points))
	for i := range rules.Hazard.Points {
		p := &rules.Hazard.Points[i]
		r.bind[p.Name] = &bound{id: p.ID, scale: 1}
	}
	for i := range cols.list {
		c := &cols.list[i]
		id, ok := pointNamed(rules, c.point)
		if !ok {
			return fmt.Errorf("%s: column %q is of point %q, which the configuration does not have", cols.file, c.name, c.point)
		}
		if u := rules.Hazard.Points[id].Unit; c.hasUnit {
			if _, err := sensors.Convert(0, c.unit, u); err != nil {
				return fmt.Errorf("%s: column %q is in %q and point %s in %q: %w", cols.file, c.name, c.unit, c.point, u, err)
			}
		}
		r.bind[c.name] = &bound{id, c.unit, c.hasUnit, c.scale, c.offset, c.invert}
		r.speaks[id] = true
	}
	if r.next(ctx); !r.have {
		return errors.Join(r.err, fmt.Errorf("%s holds no row that can be used", r.file))
	}
	r.first = r.ahead.at
	if h, ok := r.parse.(*csvRows); ok {
		for _, name := range h.names() {
			if b := r.bind[name]; b != nil {
				r.speaks[b.id] = true
			}
		}
	}
	return nil
}

// next reads on to a row that can be used.
func (r *recording) next(ctx context.Context) {
	for r.have = false; !r.have; {
		if r.n%4096 == 0 && ctx.Err() != nil {
			r.err = ctx.Err()
			return
		}
		text, long, err := r.readLine()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				r.err = fmt.Errorf("%s:%d: %w", r.file, r.n+1, err)
			}
			return
		}
		r.n++
		if long {
			r.refuse("a line of more than %d bytes", maxLine)
			continue
		}
		got, ok, err := r.parse.line(text)
		if err != nil {
			r.refuse("%v", err)
			continue
		}
		if !ok {
			continue
		}
		for _, b := range got.bad {
			r.refuse("%s", b)
		}
		if !r.first.IsZero() && got.at.Before(r.ahead.at.Add(-slack)) {
			r.refuse("%s lies %v before the row above it: sort the rows by time", got.at.Format(time.RFC3339Nano), r.ahead.at.Sub(got.at).Round(time.Millisecond))
			continue
		}
		if got.at.Before(r.ahead.at) {
			got.at = r.ahead.at
		}
		r.ahead, r.have = got, true
	}
}

// readLine is one line without its end; a longer one than may be is read to its end and dropped.
func (r *recording) readLine() (text []byte, long bool, err error) {
	for {
		part, more, err := r.in.ReadLine()
		if err != nil {
			return nil, false, err
		}
		if !more && len(text) == 0 && !long {
			return part, false, nil
		}
		if long = long || len(text)+len(part) > maxLine; !long {
			text = append(text, part...)
		}
		if !more {
			return text, long, nil
		}
	}
}

func (r *recording) refuse(format string, a ...any) {
	if r.refused++; r.refused <= shownRows {
		fmt.Fprintln(r.errs, &RowError{r.file, r.n, fmt.Sprintf(format, a...)})
	}
	if r.refused == shownRows {
		fmt.Fprintln(r.errs, "further ones are counted only")
	}
}

// poll implements feed: what has come by now is handed over, and the time of the next row is that
// of the next call.
func (r *recording) poll(now sensors.Mono, put func([]sensors.Reading)) sensors.Mono {
	for r.have && r.due() <= now {
		r.buf = r.buf[:0]
		at := r.due()
		for i := range r.ahead.values {
			r.take(&r.ahead.values[i], at)
		}
		r.last = at
		for r.next(context.Background()); r.have && r.due() == at && len(r.ahead.values) == 1 && len(r.buf) > 0 && r.sameDevice(); r.next(context.Background()) {
			r.take(&r.ahead.values[0], at)
		}
		if len(r.buf) > 0 {
			put(r.buf)
		}
	}
	if !r.have {
		r.player.end = max(r.player.now, r.last) // nothing is known of what comes behind the last row
		return never
	}
	return r.due()
}

// sameDevice: lines of one value each that belong to one poll are judged together, as the poll was.
func (r *recording) sameDevice() bool {
	b := r.bind[r.ahead.values[0].name]
	pts := r.rules.Hazard.Points
	return b != nil && pts[b.id].Device == pts[r.buf[0].Point].Device && !slices.ContainsFunc(r.buf, func(x sensors.Reading) bool { return x.Point == b.id })
}

func (r *recording) due() sensors.Mono { return base.Add(r.ahead.at.Sub(r.first)) }

// take makes a reading of a value.
func (r *recording) take(v *value, at sensors.Mono) {
	b := r.bind[v.name]
	if b == nil {
		if len(r.unknown) < shownNames {
			r.unknown[v.name] = true
		}
		return
	}
	p := &r.rules.Hazard.Points[b.id]
	x := sensors.Reading{Point: b.id, Value: v.v, Quality: v.quality.WithOrigin(sensors.Replay), At: at}
	if x.Quality.Usable() {
		x.Value = x.Value*b.scale + b.offset
		if b.invert {
			x.Value = 1 - x.Value
		}
		from, has := b.unit, b.hasUnit
		if v.hasUnit {
			from, has = v.unit, true
		}
		if has {
			var err error
			if x.Value, err = sensors.Convert(x.Value, from, p.Unit); err != nil {
				r.refuse("%s: %v", v.name, err)
				return
			}
		}
		if p.Kind == sensors.Binary && x.Value != 0 && x.Value != 1 {
			r.refuse("%s is %g: a binary point is 0 or 1", v.name, x.Value)
			return
		}
	}
	if !v.judged {
		x = r.qual[b.id].Qualify(p, x)
	}
	r.buf = append(r.buf, x)
}

func (r *recording) unknownNames() []string {
	var out []string
	for n := range r.unknown {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

func (r *recording) verdict() error {
	if r.refused == 0 {
		return nil
	}
	return fmt.Errorf("%d %w; the rest was replayed", r.refused, ErrRefused)
}

// trimmed is a line without what editors and other systems put around it.
func trimmed(text []byte) []byte {
	return bytes.TrimSpace(bytes.TrimPrefix(text, []byte("\ufeff")))
}
