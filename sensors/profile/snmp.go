package profile

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// SNMPRules say how the agent of a device is asked.
type SNMPRules struct {
	MaxOIDs  int           // objects in one request
	Bulk     int           // rows of a table in one request; SNMPv1 has one
	Timeout  time.Duration // of one attempt
	Attempts int           // of one request
	Settle   time.Duration // after a restart of the agent its values do not count for so long
	Systems  []string      // sysObjectID is one of these or below one; none: any
}

// What stands for the rows of a table in the text of a channel, beside what they hold.
const (
	NoRows   = "empty" // the table is there, and has no row
	TornRows = "torn"  // there are not as many rows as its counter says: what is missing may be in one of the others
)

// maxOID is the longest one that SNMP knows (RFC 2578, 3.5: 128 numbers).
const maxOID = 128

// isOID tells whether s is an OID as profiles write it: numbers without a leading dot.
func isOID(s string) bool {
	parts := strings.Split(s, ".")
	for _, n := range parts {
		if _, err := strconv.ParseUint(n, 10, 32); err != nil || len(n) > 1 && n[0] == '0' || n[0] == '+' {
			return false
		}
	}
	return len(parts) >= 2 && len(parts) <= maxOID && parts[0] < "3" && len(parts[0]) == 1
}

// Below tells whether oid is root or below it.
func Below(oid, root string) bool { return oid == root || strings.HasPrefix(oid, root+".") }

// Requests is how many requests a poll of an SNMP device makes, if its agent takes all that are allowed in one.
func (p *Profile) Requests() int {
	objects := map[string]bool{}
	tables := map[string]bool{}
	for i := range p.Channels {
		if c := &p.Channels[i]; c.Rows != "" {
			objects[c.Rows], tables[c.Variable] = true, true
		} else {
			objects[c.Variable] = true
		}
	}
	return (len(objects)+2+p.SNMP.MaxOIDs-1)/p.SNMP.MaxOIDs + len(tables) // and sysObjectID, sysUpTime
}

// snmpRules reads the table [snmp].
func (p *Profile) snmpRules(t *table) {
	list := t.tables("snmp")
	if p.Bus != SNMP {
		if len(list) > 0 {
			t.fault("snmp", "[snmp] is for bus = \"snmp\"; remove it")
		}
		return
	}
	r := t.d.table("snmp", map[string]any{})
	if len(list) == 1 {
		r = list[0]
	} else if len(list) > 1 {
		t.fault("snmp", "there is one [snmp] table, not a list")
	}
	p.SNMP = SNMPRules{
		MaxOIDs: int(r.integer("max_oids", 3, 60, 20)), Bulk: int(r.integer("bulk", 1, 50, 10)), Timeout: r.duration("timeout", 400*time.Millisecond),
		Attempts: int(r.integer("attempts", 1, 4, 2)), Settle: r.duration("settle", 0), Systems: r.texts("system"),
	}
	if p.SNMP.Timeout < 10*time.Millisecond || p.SNMP.Timeout > 10*time.Second {
		r.fault("timeout", "timeout must be from 10ms to 10s: every request has a deadline")
	}
	for _, s := range p.SNMP.Systems {
		if !isOID(s) {
			r.fault("system", "%q is no OID: write numbers without a leading dot, such as \"1.3.6.1.4.1.318\"", s)
		}
	}
	r.done()
}

// object reads which object of an agent a channel is, and as what.
func (p *Profile) object(t *table, c *Channel) {
	oid, rows := t.str("oid"), t.str("rows")
	lo, hi := pair(t, "enum", "[1, 7]")
	c.Digits = t.boolean("digits")
	if p.Bus != SNMP {
		for _, k := range []string{"oid", "rows", "enum", "digits"} {
			if t.has(k) {
				t.fault(k, "%s belongs to an object that is read through SNMP: bus = \"snmp\"", k)
			}
		}
		c.Digits = false
		return
	}
	for _, k := range []string{"variable", "address", "type", "word_order", "bit", "mask", "sentinels", "binary_point", "zeros", "panel", "count"} {
		if t.has(k) {
			t.fault(k, "%s is for other buses: an object of SNMP is a number, one number of an enumeration (word), or a row of a table (rows)", k)
		}
	}
	c.Variable, c.Rows, c.Enum = oid, rows, [2]int64{int64(lo), int64(hi)}
	if !isOID(oid) {
		t.fault("oid", "oid %q: say which object, in numbers without a leading dot, such as oid = \"1.3.6.1.2.1.33.1.2.4.0\"", oid)
		c.Variable = "0.0"
	}
	if c.Word != "" {
		c.Type = Bool
	}
	switch {
	case t.has("rows") && (!isOID(rows) || !isOID(c.Word)):
		t.fault("rows", "rows names the object that counts the rows of the column oid, and word the OID that a row holds: without the counter nobody knows an empty table from one that is not there")
	case t.has("rows") && (t.has("enum") || c.Digits):
		t.fault("rows", "a row of a table is there or not: take enum and digits out")
	case c.Word != "" && !t.has("rows") && (!t.has("enum") || !within(c.Word, c.Enum)):
		t.fault("word", "word %q is one number of an enumeration: say which there are, such as enum = [1, 7], so that another one is no \"not so\"", c.Word)
	case c.Digits && t.has("enum"):
		t.fault("digits", "an enumeration does not come as text: take digits or enum out")
	}
}

// within tells whether s is a whole number from the first to the last of enum.
func within(s string, enum [2]int64) bool {
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n >= enum[0] && n <= enum[1]
}

// plausible tells whether words can be what the object holds. A row that is seen counts, whatever else the table
// holds; that one is not there counts only in a whole table. A number beyond an enumeration is no "not so".
func (c *Channel) plausible(words []string) bool {
	switch {
	case c.Rows != "":
		return slices.Contains(words, c.Word) || !slices.Contains(words, TornRows)
	case c.Enum != [2]int64{}:
		return len(words) == 1 && within(words[0], c.Enum)
	}
	return true
}
