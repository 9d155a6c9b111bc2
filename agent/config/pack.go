package config

import (
	"fmt"
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/sensors"
)

// packUse is one [[pack]]: a pack with those that it is made of, on the points of this site.
type packUse struct {
	tab       *Table
	prefix    string
	files     []*packFile // the named one last
	devices   []string    // patterns; empty: all
	roles     map[string]*packRole
	overrides map[string]*Table // [[pack.detector]] and [[pack.vote]], by name
	without   []string
	report    PackReport
	found     int // detectors with points
}

// packs enters the detectors of all [[pack]] tables, and returns the tables of their votes.
func (c *compiler) packs(tabs []*Table) (votes []*Table) {
	seen := map[string]int{}
	for _, t := range tabs {
		u := &packUse{tab: t, roles: map[string]*packRole{}, overrides: map[string]*Table{}}
		ok := c.readUse(u, seen)
		t.used["roles"] = true // read below
		if c.end(t); !ok {
			continue
		}
		c.overridden(u)
		c.findRoles(u)
		for _, f := range u.files {
			for _, d := range f.detectors {
				c.packDetector(u, d)
			}
		}
		if u.found == 0 && !c.hasFaultInPack() && !c.lacksPoints() {
			t.Fault("", "nothing at this site matches pack %s (%s): say in roles which points it means, or take it out", u.report.Name, u.report.whyNothing())
		}
		votes = append(votes, c.packVotes(u)...)
		u.report.Order()
		c.cfg.Packs = append(c.cfg.Packs, u.report)
	}
	return votes
}

// lacksPoints tells whether a device could not be read: what a pack leaves out is no fault then, and
// told as none.
func (c *compiler) lacksPoints() bool {
	return slices.ContainsFunc(c.cfg.Devices, func(d Device) bool { return d.Profile == nil })
}

// leftOut tells whether a name belongs to what a pack leaves out here, and says so.
func (c *compiler) leftOut(at Pos, what, name string) bool {
	why := c.absent[name]
	if why != "" && !c.lacksPoints() {
		c.fault(at, "there is no %s %q here: %s", what, name, why)
	}
	return why != ""
}

// readUse reads the keys of a [[pack]] and the files that it names; false when there is none.
func (c *compiler) readUse(u *packUse, seen map[string]int) bool {
	t := u.tab
	key, name := "use", t.String("use", "")
	if path := t.String("file", ""); path != "" {
		if key, name = "file", path; t.Has("use") {
			t.Fault("file", `a pack has "use" or "file", not both: use names a built-in one, file the path of one of your own`)
		}
	}
	if !t.Has("use") && !t.Has("file") {
		t.src.fault(t.at, `[pack] needs the key "use" or "file"`)
	}
	u.prefix = c.name(t, "prefix")
	u.without = t.Strings("without")
	if u.devices = t.Strings("devices"); len(u.devices) > 0 {
		c.checkPackDevices(u)
	}
	for _, key := range []string{"detector", "vote"} {
		for _, o := range t.Tables(key) {
			o.Require("name")
			if n := c.name(o, "name"); u.overrides[n] != nil {
				o.Fault("name", "%q is overridden twice: say it once", n)
			} else if n != "" {
				u.overrides[n] = o
			}
		}
	}
	if name == "" {
		return false
	}
	f := c.readPack(t, t, key, name)
	if f == nil {
		return false
	}
	u.report = PackReport{Name: f.name, Title: f.title, Prefix: u.prefix}
	if id := u.prefix + "\x00" + f.name; seen[id] > 0 {
		t.Fault(key, "pack %s is used at line %d already, by itself or as a part of another: change it there, or give this one a prefix", f.name, seen[id])
		return false
	}
	c.include(u, f, seen, nil)
	return true
}

// checkPackDevices finds patterns that meet no device.
func (c *compiler) checkPackDevices(u *packUse) {
	for _, pat := range u.devices {
		if !slices.ContainsFunc(c.hz.Devices, func(d sensors.Device) bool { return glob(pat, d.Name) }) {
			lookup(c, u.tab.itemPos("devices", pat), "device", pat, c.devices)
		}
	}
}

// include reads what a pack is made of, once each, and then enters the pack itself. A part that another
// [[pack]] of the same prefix has brought is not brought again.
func (c *compiler) include(u *packUse, f *packFile, seen map[string]int, above []string) {
	if slices.Contains(above, f.name) {
		f.tab.Fault("with", "pack %s is a part of itself, through %s", f.name, strings.Join(above, ", "))
		return
	}
	seen[u.prefix+"\x00"+f.name] = max(1, u.tab.at.Line)
	for _, n := range f.with {
		if seen[u.prefix+"\x00"+n] > 0 && !slices.Contains(append(above, f.name), n) {
			continue
		}
		if part := c.readPack(u.tab, f.tab, "with", n); part != nil {
			u.report.With = append(u.report.With, n)
			c.include(u, part, seen, append(above, f.name))
		}
	}
	for _, r := range f.roles {
		if u.roles[r.name] != nil {
			r.tab.Fault("name", "there is another role named %q in this pack or what it is made of", r.name)
			continue
		}
		u.roles[r.name] = r
	}
	u.files = append(u.files, f)
}

// findRoles finds the points of each role: those that the site names, else those that the pack's
// filters meet on its devices.
func (c *compiler) findRoles(u *packUse) {
	given := u.tab.Table("roles")
	for _, f := range u.files {
		for _, r := range f.roles {
			if given != nil && given.Has(r.name) {
				c.givenRole(given, r)
			} else {
				c.searchRole(u, r)
			}
			u.report.Roles = append(u.report.Roles, RoleReport{r.name, r.does, r.points})
		}
	}
	if given != nil {
		for _, k := range given.keys {
			if u.roles[k] == nil {
				lookup(c, given.kpos[k], "role of pack "+u.report.Name+" named", k, u.roles)
			}
		}
	}
}

func (c *compiler) givenRole(t *Table, r *packRole) {
	pats := c.patterns(t, r.name)
	met := make([]bool, len(pats))
	for i := range c.hz.Points {
		if n := c.hz.Points[i].Name; meets(pats, met, n) {
			r.points = append(r.points, n)
		}
	}
	for i := range pats {
		if !met[i] {
			c.noPoint(t.itemPos(r.name, pats[i]), pats[i])
		}
	}
}

func (c *compiler) searchRole(u *packUse, r *packRole) {
	for i := range c.hz.Points {
		p := &c.hz.Points[i]
		dev := c.hz.Devices[p.Device].Name
		here := len(u.devices) == 0 || slices.ContainsFunc(u.devices, func(pat string) bool { return glob(pat, dev) })
		other := slices.ContainsFunc(r.unless, func(channel string) bool { _, has := c.points[dev+"."+channel]; return has })
		if here && !other && r.finds(p, strings.TrimPrefix(p.Name, dev+".")) {
			r.points = append(r.points, p.Name)
		}
	}
	if len(r.points) == 0 {
		r.why = r.looksFor()
	}
}

// overridden finds overrides of what the pack has not, and what is both overridden and taken out.
func (c *compiler) overridden(u *packUse) {
	have := map[string]string{} // what each name is
	for _, f := range u.files {
		for _, d := range f.detectors {
			have[u.rename(d)] = "detector"
		}
		for _, v := range f.votes {
			have[u.rename(v)] = "vote"
		}
	}
	for _, key := range []string{"detector", "vote"} {
		of := map[string]bool{}
		for n, is := range have {
			if is == key {
				of[n] = true
			}
		}
		for _, o := range u.tab.Tables(key) {
			n := o.text("name")
			if u.overrides[n] != o {
				continue
			}
			if lookup(c, o.Pos("name"), key+" of pack "+u.report.Name+" named", n, of); slices.Contains(u.without, n) {
				o.Fault("name", "%q is taken out by without: it cannot be overridden as well", n)
			}
		}
	}
	for _, n := range u.without {
		lookup(c, u.tab.itemPos("without", n), "detector or vote of pack "+u.report.Name+" named", n, have)
	}
}

// rename is the name of a detector or vote of the pack at this site.
func (u *packUse) rename(t *Table) string { return u.prefix + t.text("name") }

// packDetector enters one detector of a pack on the points of its role.
func (c *compiler) packDetector(u *packUse, d *Table) {
	name := u.rename(d)
	role, why := u.roles[d.String("role", "")], ""
	if d.Require("role"); d.Has("role") && role == nil {
		lookup(c, d.Pos("role"), "role", d.text("role"), u.roles)
		return
	}
	over := u.overrides[name]
	points := []string(nil)
	if role != nil {
		points, why = role.points, role.why
		if grouped := c.inGroups(d, points); len(grouped) < len(points) {
			points, why = grouped, fmt.Sprintf("a median takes %d points of role %s", minMedian, role.name)
		}
	}
	switch {
	case slices.Contains(u.without, name):
		u.report.changed(name, "taken out", "fewer", "")
		c.absent[name] = "the file takes it out of pack " + u.report.Name
	case over != nil && over.Has("point"): // the site names the points of this one
	case u.lonely(d) != "" && (over == nil || !over.Has("from")):
		why = u.lonely(d)
		u.report.Left = append(u.report.Left, LeftOut{name, why, false})
		c.absent[name] = fmt.Sprintf("pack %s leaves it out, %s", u.report.Name, why)
	case len(points) == 0 && over != nil:
		over.Fault("name", "this overrides nothing: %s; name its points in roles or with point", why)
	case len(points) == 0:
		u.report.Left = append(u.report.Left, LeftOut{name, why, false})
		c.absent[name] = fmt.Sprintf("pack %s leaves it out, %s", u.report.Name, why)
	}
	if c.absent[name] != "" {
		c.readDetector(u.tableOf(d, nil, nil)) // what is wrong in it is told all the same
		return
	}
	if over != nil {
		c.changes(u, name, d, over, func(over *Table) hazard.Cond { return c.quietly(u.tableOf(d, points, over)) })
	}
	c.detector(u.tableOf(d, points, over))
	u.found++
}

// inGroups keeps those points that are enough for the median which a detector compares them with.
func (c *compiler) inGroups(d *Table, points []string) (out []string) {
	n, all := map[sensors.DeviceID]int{}, len(points)
	for _, name := range points {
		n[c.hz.Points[c.points[name]].Device]++
	}
	for _, name := range points {
		switch of := n[c.hz.Points[c.points[name]].Device]; d.text("from") {
		case "median":
			of = all
			fallthrough
		case "device-median":
			if of < minMedian {
				continue
			}
		}
		out = append(out, name)
	}
	return out
}

// lonely says why a detector that compares with a role cannot: that takes one point.
func (u *packUse) lonely(d *Table) string {
	from := u.roles[d.text("from")]
	switch {
	case from == nil:
		return ""
	case len(from.points) == 0:
		return from.why
	case len(from.points) > 1:
		return fmt.Sprintf("%d points here are %s, and it compares with one: name it, roles = { %s = %q }", len(from.points), from.does, from.name, from.points[0])
	}
	return ""
}
