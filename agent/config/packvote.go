package config

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/agent/hazard"

	"github.com/pelletier/go-toml/v2/unstable"
)

// packVote is a vote of a pack, before it is known which of its members this site has.
type packVote struct {
	tab   *Table // as the configuration could have written it
	over  *Table
	state int // 0 new, 1 in work, 2 can trip, 3 cannot
}

// packVotes returns the tables of the votes of a pack, without the members that are left out here; a
// vote that could not trip with what remains is left out itself.
func (c *compiler) packVotes(u *packUse) (out []*Table) {
	votes := map[string]*packVote{}
	for _, f := range u.files {
		for _, t := range f.votes {
			if n := u.rename(t); !slices.Contains(u.without, n) {
				votes[n] = &packVote{tab: u.tableOf(t, nil, u.overrides[n]), over: u.overrides[n]}
			} else {
				u.report.changed(n, "taken out", "fewer", "")
				c.absent[n] = "the file takes it out of pack " + u.report.Name
			}
		}
	}
	for _, f := range u.files {
		for _, t := range f.votes {
			n := u.rename(t)
			v := votes[n]
			if v == nil || !c.canTrip(u, votes, n) {
				continue
			}
			if v.over != nil {
				c.changes(u, n, t, v.over, func(over *Table) hazard.Cond { return c.quietVote(u.tableOf(t, nil, over)) })
			}
			u.report.Votes = append(u.report.Votes, VoteReport{n, t.text("does"), t.text("priority") != "0"})
			out = append(out, v.tab)
		}
	}
	return out
}

// canTrip takes those members out of a vote that are left out here, and tells whether the rest can
// still make it true. What the site says of a vote is not touched: it faults where it is wrong.
func (c *compiler) canTrip(u *packUse, votes map[string]*packVote, name string) bool {
	v := votes[name]
	if v.state > 0 {
		return v.state < 3 // in work: a circle, which is a fault of its own
	}
	v.state = 1
	of := v.tab.vals["of"]
	if of == nil || of.kind != unstable.Array {
		v.state = 2
		return true
	}
	kept, weight := &value{at: of.at, kind: of.kind}, 0
	ours := v.over == nil || !v.over.Has("of")
	var gone []string
	for _, e := range of.list {
		m := *e
		if ours {
			m.s = u.prefix + e.s
		}
		w := c.memberWeight(u, votes, m.s)
		if w == 0 && ours {
			gone = append(gone, m.s)
			continue
		}
		weight += w
		kept.list = append(kept.list, &m)
	}
	v.tab.put("of", v.tab.kpos["of"], kept)
	need, alone := 1, false
	if n := v.tab.vals["need"]; n != nil && n.kind == unstable.Integer {
		need = int(n.i)
	}
	if i := v.tab.vals["independent"]; i != nil {
		alone = i.b && weight < 2
	}
	v.state = 2
	if v.over == nil && len(gone) > 0 && (weight < need || alone || len(kept.list) == 0) {
		v.state = 3
		why := fmt.Sprintf("it needs %d, and %d are here, without %s", need, weight, strings.Join(gone, ", "))
		u.report.Left = append(u.report.Left, LeftOut{name, why, true})
		c.absent[name] = fmt.Sprintf("pack %s leaves it out, %s", u.report.Name, why)
	}
	return v.state < 3
}

// memberWeight is what a member counts in a vote: nothing when it is left out. A name that is not
// known here may be one of the file, which is looked up later.
func (c *compiler) memberWeight(u *packUse, votes map[string]*packVote, name string) (w int) {
	switch v := votes[name]; {
	case c.absent[name] != "":
		return 0
	case v != nil:
		if !c.canTrip(u, votes, name) {
			return 0
		}
		return 1
	}
	id, ok := c.conds[name]
	if !ok {
		return 1
	}
	for i := range c.hz.Conds[id].Members {
		w += c.weight(&c.hz.Conds[id].Members[i])
	}
	return w
}
