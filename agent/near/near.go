// Package near says which name was meant, where one is given that is not there: the configuration asks it for the faults of a
// file, the core for the orders of a person.
//
// Concurrency: functions without state. Failure: none; where nothing is near and there are too many names to list, it says
// nothing.
package near

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// MaxListed is how many names are listed, where none is near.
	MaxListed = 32
	maxWithin = 8 // names that hold what was given, where there are more than MaxListed
)

// Hint is ` (did you mean "x"?)` when one of names is near to s, or the whole list when it is short, or those few that hold s: who
// gives a device where a point is asked for sees its points.
func Hint(s string, names []string) string {
	best, dist := "", 1+max(1, len(s)/3)
	for _, n := range names {
		if d := distance(s, n, dist+1); d < dist || d == dist && best != "" && n < best {
			best, dist = n, d
		}
	}
	if best != "" {
		return fmt.Sprintf(" (did you mean %q?)", best)
	}
	names = slices.Sorted(slices.Values(names))
	names = slices.Compact(names)
	if len(names) > MaxListed {
		if names = slices.DeleteFunc(names, func(n string) bool { return s == "" || !strings.Contains(n, s) }); len(names) > maxWithin {
			names = append(names[:maxWithin], "...")
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ": use one of " + strings.Join(names, ", ")
}

// distance is the number of edits from a to b, or limit when it is not below it.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(diag+cost, row[j]+1, row[j+1]+1)
		}
	}
	return min(row[len(b)], limit)
}
