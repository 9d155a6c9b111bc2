package config

import (
	"fmt"
	"strings"

	"firebreak/agent/hazard"
)

// maxEntries is how many members one vote of the engine holds.
const maxEntries = 64

// voteDraft is a vote whose members are not resolved yet: a vote may name one further down.
type voteDraft struct {
	tab   *Table
	cond  hazard.Cond
	of    []string
	state int // 0 new, 1 in work, 2 done
}

// votes reads all [[vote]] tables and puts them after what they refer to.
func (c *compiler) votes(tabs []*Table) {
	drafts := map[string]*voteDraft{}
	var order []*voteDraft
	for _, t := range tabs {
		d, ok := c.readVote(t)
		if _, dup := drafts[d.cond.Name]; ok && dup {
			t.Fault("name", "there is another detector or vote named %q: a name is given once", d.cond.Name)
			ok = false
		}
		if ok {
			drafts[d.cond.Name] = d
			order = append(order, d)
		}
	}
	for _, d := range order {
		c.resolveVote(d, drafts)
	}
}

// readVote reads one vote; false when it has no name that could be entered.
func (c *compiler) readVote(t *Table) (*voteDraft, bool) {
	name, ok := c.condName(t)
	t.Require("of", "need")
	d := &voteDraft{tab: t, of: t.Strings("of")}
	d.cond = hazard.Cond{Name: name, Kind: hazard.Vote,
		Need:        int(t.Int("need", 1, 1, maxEntries)),
		Independent: t.Bool("independent", false),
		Priority:    int(t.Int("priority", defVotePriority, 0, 4)),
		Latching:    t.Bool("latching", false)}
	d.cond.ReAlarm, d.cond.Group = c.alarmKeys(t)
	if t.Has("of") && len(d.of) == 0 {
		t.Fault("of", "a vote of nobody never trips: name detectors or votes")
	}
	c.end(t)
	return d, ok
}

// resolveVote enters the votes that d refers to, then d itself.
func (c *compiler) resolveVote(d *voteDraft, drafts map[string]*voteDraft) {
	if d.state != 0 {
		return
	}
	d.state = 1
	complete := true
	for _, n := range d.of {
		at := d.tab.itemPos("of", n)
		if o := drafts[n]; o != nil {
			if o.state == 1 {
				c.fault(at, "vote %q refers to itself through %q: a vote cannot wait for its own result", d.cond.Name, n)
				complete = false
				continue
			}
			c.resolveVote(o, drafts)
		}
		id, ok := c.conds[n]
		if !ok {
			complete = false
			if drafts[n] == nil {
				c.unknownCond(at, n, drafts)
			}
			continue
		}
		d.cond.Of = append(d.cond.Of, id)
	}
	d.state = 2
	if complete && len(d.cond.Of) > 0 {
		c.checkNeed(d)
	}
	// Entered even when incomplete, so that what refers to it is not blamed as well.
	c.conds[d.cond.Name] = hazard.CondID(len(c.hz.Conds))
	c.hz.Conds, c.condTab = append(c.hz.Conds, d.cond), append(c.condTab, d.tab)
}

func (c *compiler) unknownCond(at Pos, name string, drafts map[string]*voteDraft) {
	names := map[string]bool{}
	for n := range c.conds {
		names[n] = true
	}
	for n := range drafts {
		names[n] = true
	}
	if !c.leftOut(at, "detector or vote", name) {
		lookup(c, at, "detector or vote", name, names)
	}
}

// checkNeed holds need against the members that there are: a wildcard detector is one for each
// device, a contact of the fire panel counts as two (S5).
func (c *compiler) checkNeed(d *voteDraft) {
	entries, weight := 0, 0
	for _, of := range d.cond.Of {
		k := &c.hz.Conds[of]
		if k.Kind == hazard.Vote {
			entries, weight = entries+1, weight+1
			continue
		}
		for i := range k.Members {
			entries++
			weight += c.weight(&k.Members[i])
		}
	}
	switch {
	case entries == 0: // its detectors have faults of their own
	case entries > maxEntries:
		d.tab.Fault("of", "%d members: a vote holds at most %d, make votes of votes", entries, maxEntries)
	case c.silenceTwice(d) != "":
		d.tab.Fault("of", "%s: take one of them out", c.silenceTwice(d))
	case d.cond.Need > weight:
		d.tab.Fault("need", "needs %d of %d members (%s): it can never trip, lower need or add members", d.cond.Need, weight, strings.Join(d.of, ", "))
	case d.cond.Independent && weight < 2:
		d.tab.Fault("independent", "one member cannot be independent of itself: add another physics on another path")
	}
}

// silenceTwice: a detector of silence and one with on_fault = "vote" in one vote count one silence twice.
func (c *compiler) silenceTwice(d *voteDraft) string {
	silent, fault := "", ""
	for _, of := range d.cond.Of {
		switch k := &c.hz.Conds[of]; {
		case k.Kind == hazard.Silent:
			silent = k.Name
		case k.OnFault == hazard.FaultVotes:
			fault = k.Name
		}
	}
	if silent == "" || fault == "" {
		return ""
	}
	return fmt.Sprintf("%q (stale) and %q (on_fault = \"vote\") would count one silence twice", silent, fault)
}

func (c *compiler) weight(m *hazard.Member) int {
	for _, p := range m.Points {
		if c.hz.Points[p].Panel {
			return 2
		}
	}
	return 1
}
