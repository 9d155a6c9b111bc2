package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong, where, and what would be right. A fault without a line
// concerns the file as a whole: it could not be read.
type Fault struct {
	File         string
	Line, Column int
	Text         string
}

// String is "file:line:column: text".
func (f Fault) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Text)
}

func (f Fault) Error() string { return f.String() }

// Pos is a place in the file: line and column from one, the column in bytes.
type Pos struct {
	Line, Column int
	File         string // of a pack; empty: the configuration itself
}

// source is one file and the faults found in it, and in the packs that it uses, so far.
type source struct {
	file   string
	via    map[string]string // by file of a pack: who uses it, at the end of each fault in it
	faults []Fault
}

func (s *source) fault(at Pos, format string, args ...any) {
	f := Fault{s.file, at.Line, at.Column, fmt.Sprintf(format, args...)}
	if at.File != "" {
		f.File, f.Text = at.File, f.Text+s.via[at.File]
	}
	s.faults = append(s.faults, f)
}

// sorted returns the faults by position, each once; those of other files, which are profiles and packs, come
// behind.
func (s *source) sorted() []Fault {
	slices.SortStableFunc(s.faults, func(a, b Fault) int {
		if (a.File == s.file) != (b.File == s.file) {
			if a.File == s.file {
				return -1
			}
			return 1
		}
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), strings.Compare(a.Text, b.Text))
	})
	return slices.Compact(s.faults)
}
