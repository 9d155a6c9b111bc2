package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"firebreak/plugins"
)

// AlarmHash is the hash in a hello: SHA-256, first 16 hex digits, over one line "name occurrence
// state\n" for each active alarm, in the order of the names.
func AlarmHash(active []plugins.AlarmState) string {
	active = slices.Clone(active)
	slices.SortFunc(active, func(a, b plugins.AlarmState) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, a := range active {
		fmt.Fprintf(h, "%s %d %s\n", a.Name, a.Occurrence, a.State)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// PlanHash is the hash of the plans in a hello: SHA-256, first 16 hex digits, over one line "name seq\n" for each
// plan, in the order of the names. The number is that of the newest message on the plan: the last number of the
// class says nothing of a plan behind which another was told.
func PlanHash(newest map[string]uint64) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(newest)) {
		fmt.Fprintf(h, "%s %d\n", name, newest[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
