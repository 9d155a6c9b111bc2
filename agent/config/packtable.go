package config

import (
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"
)

// packOnly are keys of a pack's tables that a detector or vote of a configuration has not.
var packOnly = []string{"role", "does", "source"}

// tableOf is the table of a detector or vote as the configuration could have written it: what the
// pack says, with its points, and over it what the site says.
func (u *packUse) tableOf(d *Table, points []string, over *Table) *Table {
	out := newTable(d.src, "pack."+d.path, d.at)
	for _, k := range d.keys {
		if !slices.Contains(packOnly, k) && !replaced(k, d, over) {
			out.put(k, d.kpos[k], d.vals[k])
		}
	}
	if n := d.vals["name"]; n != nil && n.kind == unstable.String {
		renamed := *n
		renamed.s = u.prefix + n.s
		out.put("name", d.kpos["name"], &renamed)
	}
	if d.path == "detector" {
		list := &value{at: d.Pos("role"), kind: unstable.Array}
		for _, p := range points {
			list.list = append(list.list, &value{at: list.at, kind: unstable.String, s: p})
		}
		out.put("point", list.at, list)
	}
	if from := u.roles[out.text("from")]; from != nil && len(from.points) == 1 {
		out.put("from", d.kpos["from"], &value{at: d.Pos("from"), kind: unstable.String, s: from.points[0]})
	}
	if over == nil {
		return out
	}
	for _, k := range over.keys {
		if k != "name" && k != "source" {
			out.put(k, over.kpos[k], over.vals[k])
		}
	}
	return out
}

// replaced tells whether a key of the pack falls away by what the site says: another comparison takes
// the pack's with it, and a deadband with that.
func replaced(key string, d, over *Table) bool {
	if over == nil {
		return false
	}
	other := slices.ContainsFunc(comparisons, func(k string) bool { return over.Has(k) && !d.Has(k) })
	return other && (slices.Contains(comparisons, key) || slices.Contains(withComparison, key))
}

// withComparison are keys that belong to the comparison that they stand beside.
var withComparison = []string{"deadband", "from", "floor", "learn", "limit", "voltage", "voltage_drop"}
