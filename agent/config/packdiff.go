package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

// PackReport is what check knows about one [[pack]].
type PackReport struct {
	Name, Title, Prefix string
	With                []string // packs that it is made of
	Roles               []RoleReport
	Votes               []VoteReport
	Left                []LeftOut // detectors and votes that this site cannot have
	Changes             []Change  // what the file says otherwise than the pack
}

// RoleReport is a role of a pack with the points that were found for it.
type RoleReport struct {
	Name, Does string
	Points     []string
}

// VoteReport is a vote of a pack that this site has.
type VoteReport struct {
	Name, Does string
	Alarm      bool // it has one: it is meant for a stage, and not only for other votes
}

// LeftOut is a detector or vote of a pack that this site cannot have.
type LeftOut struct {
	Name, Why string
	Vote      bool
}

// Change is one difference from a pack, in words.
type Change struct {
	Name string // of the detector or vote
	What string // "above 60 C -> 65 C"
	Mark string // later, fewer, weaker; empty: none of them
	Why  string // source that the file gives
}

func (k Change) String() string {
	s := k.Name + ": " + k.What
	if k.Mark != "" {
		s += " (" + k.Mark + ")"
	}
	if k.Why != "" {
		s += ", by " + k.Why
	}
	return s
}

func (r *PackReport) changed(name, what, mark, why string) {
	r.Changes = append(r.Changes, Change{name, what, mark, why})
}

// changes notes each key that the file says otherwise than the pack, and whether that is weaker in the
// sense of check --against. compile makes the condition with what an overriding table says.
func (c *compiler) changes(u *packUse, name string, pack, over *Table, compile func(over *Table) hazard.Cond) {
	why := over.String("source", "")
	was := compile(nil)
	for _, k := range over.keys {
		if k == "name" || k == "source" {
			continue
		}
		old, key := k, k
		if slices.Contains(comparisons, k) && !pack.Has(k) {
			old = pack.comparisonKey()
		}
		from := pack.text(old)
		if k == "of" {
			from = strings.Join(u.names(pack, k), ", ")
		}
		if k == "point" {
			from = "those of role " + pack.text("role")
		}
		if from == over.text(k) && old == key {
			continue
		}
		what := fmt.Sprintf("%s %s -> %s", old, orDefault(from), over.text(k))
		if old != key {
			what = fmt.Sprintf("%s %s -> %s %s", old, from, key, over.text(k))
		}
		one := newTable(over.src, over.path, over.at) // this key alone
		one.put("name", over.kpos["name"], over.vals["name"])
		one.put(k, over.kpos[k], over.vals[k])
		is := compile(one)
		u.report.changed(name, what, mark(&was, &is, u.names(pack, "of"), one), why)
	}
}

func orDefault(s string) string {
	if s == "" {
		return "(its default)"
	}
	return s
}

// comparisonKey is the key that says what a detector compares.
func (t *Table) comparisonKey() string {
	for _, k := range comparisons {
		if t.Has(k) {
			return k
		}
	}
	return ""
}

// names are those of a list of the pack, as they are at this site.
func (u *packUse) names(pack *Table, key string) (out []string) {
	if v := pack.vals[key]; v != nil {
		for _, e := range v.list {
			out = append(out, u.prefix+e.s)
		}
	}
	return out
}

// mark is the first words of what check --against would say of the change.
func mark(was, is *hazard.Cond, of []string, over *Table) string {
	d := &difference{}
	d.weaker(was.Name, was, is)
	words := map[string]bool{}
	for _, l := range d.lines {
		w, _, _ := strings.Cut(l, ":")
		words[w] = true
	}
	points := map[sensors.PointID]bool{}
	for _, m := range is.Members {
		for _, p := range m.Points {
			points[p] = true
		}
	}
	for _, m := range was.Members {
		if slices.ContainsFunc(m.Points, func(p sensors.PointID) bool { return !points[p] }) {
			words["fewer"] = true
		}
	}
	if over.Has("of") {
		for _, n := range of {
			if !slices.ContainsFunc(over.vals["of"].list, func(o *value) bool { return o.s == n }) {
				words["fewer"] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(words)), ", ")
}

// quietly compiles a detector without entering it, and without faults: they are told where the table
// that counts is read.
func (c *compiler) quietly(t *Table) hazard.Cond {
	q := c.quiet(t)
	d, _ := q.readDetector(t)
	return d
}

func (c *compiler) quietVote(t *Table) hazard.Cond {
	q := c.quiet(t)
	d, _ := q.readVote(t)
	return d.cond
}

func (c *compiler) quiet(t *Table) *compiler {
	q := *c
	q.source = &source{file: c.file}
	q.conds = map[string]hazard.CondID{}
	t.src = q.source
	return &q
}

// Order puts together what was left out for one reason, and what was changed in one detector.
func (r *PackReport) Order() {
	slices.SortStableFunc(r.Left, func(a, b LeftOut) int { return strings.Compare(a.Why, b.Why) })
	slices.SortStableFunc(r.Changes, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
}

// whyNothing names the reasons for which nothing of a pack is here.
func (r *PackReport) whyNothing() string {
	var out []string
	for _, l := range r.Left {
		if !l.Vote && !slices.Contains(out, l.Why) {
			out = append(out, l.Why)
		}
	}
	return strings.Join(out, "; ")
}
