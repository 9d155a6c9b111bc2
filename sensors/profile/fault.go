package profile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong in a profile, where, and what would be right.
type Fault struct {
	File         string
	Line, Column int
	Text         string
}

func (f Fault) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Text)
}

// Faults is the error of Parse: all that is wrong, by position.
type Faults []Fault

func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

type pos struct{ line, column int }

// doc is one file being parsed: the place of every key and the faults found so far.
type doc struct {
	file   string
	at     map[string]pos // "channel.3.gate.is"
	faults Faults
}

// fault reports at the place of path, or of the nearest thing around it that has one.
func (d *doc) fault(path, format string, args ...any) {
	at, ok := d.at[path]
	for !ok && path != "" {
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
		at, ok = d.at[path]
	}
	if !ok {
		at = pos{1, 1}
	}
	d.faults = append(d.faults, Fault{d.file, at.line, at.column, fmt.Sprintf(format, args...)})
}

// err returns the faults by position, each once; nil when there are none.
func (d *doc) err() error {
	if len(d.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(d.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Text, b.Text))
	})
	return slices.Compact(d.faults)
}
