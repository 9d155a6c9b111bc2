package config

import (
	"math"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// byteUnits are those that a size may be written in, largest first.
var byteUnits = [...]struct {
	name  string
	scale int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// Bytes reads a size such as "256 MiB", from lo to hi, or "0 B" for none.
func (t *Table) Bytes(key string, def, lo, hi int64) int64 {
	v := t.get(key, `a size in quotes, such as "256 MiB"`, unstable.String)
	if v == nil {
		return def
	}
	n, ok := parseBytes(v.s)
	switch {
	case !ok:
		t.src.fault(v.at, `%q is %q: it must be a size such as "256 MiB"; units are B, KiB, MiB, GiB`, key, v.s)
	case n != 0 && (n < lo || n > hi):
		t.src.fault(v.at, `%q is %s: it must be "0 B" for none, or from %s to %s`, key, showBytes(n), showBytes(lo), showBytes(hi))
	default:
		return n
	}
	return def
}

func parseBytes(s string) (int64, bool) {
	for _, u := range byteUnits {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.scale {
			return 0, false
		}
		return n * u.scale, true
	}
	return 0, false
}

func showBytes(n int64) string {
	for _, u := range byteUnits {
		if n >= u.scale && n%u.scale == 0 {
			return strconv.FormatInt(n/u.scale, 10) + " " + u.name
		}
	}
	return strconv.FormatInt(n, 10) + " B"
}
