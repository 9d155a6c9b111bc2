package config

import (
	"io/fs"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/hazard"
	"firebreak/agent/near"
	"firebreak/agent/response"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// compiler turns the tree into a Config. Each part records its faults and goes on with what it
// could read; the parts that judge the whole run only over what was read without a fault.
type compiler struct {
	*source
	kinds Kinds
	root  *Table
	cfg   *Config

	hz   hazard.Rules
	resp response.Rules

	profiles map[string]*profile.Profile
	own      fs.FS // profiles of one's own; nil: none
	buses    map[string]int
	devices  map[string]int
	points   map[string]sensors.PointID
	conds    map[string]hazard.CondID
	absent   map[string]string // detectors and votes of packs that are left out here, and why
	condTab  []*Table          // by CondID; nil for evidence and only_if
	hooks    map[string]int
	targets  map[string]int
	brokers  map[string]int
	hookTabs []*Table
	hookBad  []bool // read with a fault: not asked for its traits
	plans    []planSource
	wanted   []want

	data        []byte                   // the file
	gathers     map[string]time.Duration // intervals of Telegraf inputs that have one of their own
	gatherEvery time.Duration            // of the others
}

// planSource keeps the places of a plan for the faults that are found later.
type planSource struct {
	tab    *Table
	name   string
	owner  string   // of its steps that name none
	stages []*Table // as Plan.Stages
	steps  []*Table // as Plan.Steps
}

// later names tables and keys that a later version reads: clearer than "unknown key".
var later = map[string]string{
	"include": "including other files is",
}

// names makes the maps of what the file names.
func (c *compiler) names() {
	c.buses, c.devices, c.points = map[string]int{}, map[string]int{}, map[string]sensors.PointID{}
	c.profiles = map[string]*profile.Profile{}
	c.conds, c.hooks = map[string]hazard.CondID{}, map[string]int{}
	c.absent = map[string]string{}
	c.targets, c.brokers = map[string]int{}, map[string]int{}
}

func (c *compiler) compile() {
	c.names()
	r := c.root
	c.top(r)
	for _, t := range r.Tables("bus") {
		c.bus(t)
	}
	c.telegraf(r)
	for _, t := range r.Tables("device") {
		c.device(t)
	}
	c.sources(r)
	packVotes := c.packs(r.Tables("pack"))
	for _, t := range r.Tables("detector") {
		c.detector(t)
	}
	c.votes(append(packVotes, r.Tables("vote")...))
	for _, t := range r.Tables("target") {
		c.target(t)
	}
	for _, t := range r.Tables("broker") {
		c.broker(t)
	}
	for _, t := range r.Tables("hook") {
		c.hook(t)
	}
	for _, t := range r.Tables("plan") {
		c.plan(t)
	}
	c.energise()
	c.hub(r)
	c.end(r)
	c.checkNeeds()
	c.checkBrokers()
	c.checkNames()
	c.checkProtection()
	if len(c.faults) > 0 {
		return // what follows computes with rules that are whole
	}
	c.cfg.Rules.Hazard, c.cfg.Rules.Response = &c.hz, &c.resp
	c.sampling()
	c.analyse()
	c.cfg.Rules.Hash = c.hash()
}

// top reads the keys that stand before the first table.
func (c *compiler) top(t *Table) {
	cfg := c.cfg
	t.Require("site", "zone", "agent", "stands")
	cfg.Site, cfg.Zone, cfg.Agent = c.name(t, "site"), c.name(t, "zone"), c.name(t, "agent")
	cfg.Stands = c.stands(t)
	cfg.Journal = c.path(t, "journal", defJournal)
	cfg.Run = c.path(t, "run", defRun)
	cfg.HistoryMax = t.Bytes("history_max", defHistoryMax, minHistory, maxHistory)
	cfg.HistoryAge = t.Duration("history_age", defHistoryAge, 0, maxHistoryAge)
	if a := cfg.HistoryAge; a != 0 && a < minHistoryAge {
		t.Fault("history_age", `"history_age" is %s: it must be "0s" (no history) or from %s to %s`, short(a), short(minHistoryAge), short(maxHistoryAge))
	}
	c.ownProfiles(t)
	c.telling(t)
	cfg.Control = c.path(t, "control", filepath.Join(cfg.Run, defControl))
	if len(cfg.Control) > 107 { // sun_path
		t.Fault("control", "the path of a socket holds at most 107 bytes, this one %d: choose a shorter one", len(cfg.Control))
	}
	cfg.Metrics = c.listen(t, "metrics")
	c.hz.HeldTrue = t.Duration("held_true", defHeldTrue, time.Minute, 24*time.Hour)
	c.hz.LossPersist = t.Duration("loss_persist", defLossPersist, time.Second, 10*time.Minute)
	cfg.Rules = &core.Rules{Site: cfg.Site, Zone: cfg.Zone, Agent: cfg.Agent, Consumers: c.consumers(t),
		ProofMax:     t.Duration("proof_max", defProofMax, time.Hour, maxCalendar),
		MaxShelve:    t.Duration("max_shelve", defMaxShelve, time.Minute, 24*time.Hour),
		MaxBypass:    int(t.Int("max_bypass", 1, 1, 8)),
		JournalBound: t.Duration("journal_bound", defJournalBound, time.Millisecond, 10*time.Second)}
}

// consumers reads the names of those who answer alarms (S18).
func (c *compiler) consumers(t *Table) []string {
	names := t.Strings("consumers")
	for _, n := range names {
		if !goodName(n, true) {
			c.fault(t.itemPos("consumers", n), "%q cannot be the name of a consumer: use up to 64 letters, digits, -, _ and ., a letter or digit first", n)
		}
	}
	return names
}

// end finds the keys of a table that nothing has read.
func (c *compiler) end(t *Table) {
	for _, k := range t.keys {
		if what, ok := later[k]; ok && !t.used[k] {
			t.used[k] = true
			c.fault(t.kpos[k], "%q is not supported by this version: %s still to come, take it out", k, what)
		}
	}
	t.Unknown()
}

// goodName tells whether s may name something: it becomes part of topics, keys and file names.
func goodName(s string, dot bool) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '-' || c == '_' || c == '.' && dot):
		default:
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// name reads a key that names something; empty after a fault.
func (c *compiler) name(t *Table, key string) string {
	s := t.String(key, "")
	if s != "" && !goodName(s, false) {
		t.Fault(key, "%q cannot be a name: use up to 64 letters, digits, - and _, a letter or digit first (no slash, space, dot or wildcard)", s)
		return ""
	}
	return s
}

// declare reads the name of a table and enters it; what is "bus", "hook" and so on. It returns
// false when there is none, or another has it.
func declare(c *compiler, t *Table, what string, have map[string]int, id int) (string, bool) {
	t.Require("name")
	n := c.name(t, "name")
	if n == "" {
		return "", false
	}
	if _, dup := have[n]; dup {
		t.Fault("name", "there is another %s named %q: a name is given once", what, n)
		return n, false
	}
	have[n] = id
	return n, true
}

// path reads an absolute path.
func (c *compiler) path(t *Table, key, def string) string {
	s := t.String(key, def)
	if !filepath.IsAbs(s) || strings.ContainsRune(s, 0) {
		t.Fault(key, "%q must be an absolute path, such as %q", s, def)
		return def
	}
	return filepath.Clean(s)
}

// listen reads an address to listen on. Without a host it is loopback: what crosses a network is asked for.
func (c *compiler) listen(t *Table, key string) string {
	s := t.String(key, "")
	if s == "" {
		return ""
	}
	host, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || portErr != nil || n == 0:
		t.Fault(key, `%q is %q: it must be an address and a port, such as "127.0.0.1:9750", or ":9750" for this host alone`, key, s)
		return ""
	case host == "":
		host = "127.0.0.1"
	case net.ParseIP(host) == nil:
		t.Fault(key, "%q names the host %q: give an address of this host, so that no name service is on the way", key, host)
		return ""
	}
	return net.JoinHostPort(host, port)
}

// stands reads where a thing is: zone and feed (S12).
func (c *compiler) stands(t *Table) Stands {
	s := t.Table("stands")
	if s == nil {
		return Stands{}
	}
	s.Require("zone", "feed")
	out := Stands{Zone: c.name(s, "zone"), Feed: c.name(s, "feed")}
	s.Unknown()
	return out
}

// lookup finds a name, or adds a fault at the place with the nearest name there is.
func lookup[V any](c *compiler, at Pos, what, name string, have map[string]V) (V, bool) {
	v, ok := have[name]
	if !ok {
		names := make([]string, 0, len(have))
		for n := range have {
			names = append(names, n)
		}
		switch {
		case len(names) == 0:
			c.fault(at, "there is no %s %q: the file has none", what, name)
		default:
			c.fault(at, "there is no %s %q%s", what, name, near.Hint(name, names))
		}
	}
	return v, ok
}
