package config

import (
	"net"
	"slices"
	"strings"

	"firebreak/sensors/snmp"
)

// SNMP is how the agent of a bus is asked. Secrets are files.
type SNMP struct {
	Version   string // 1, 2c or 3
	Community string
	User      string
	Context   string
	Auth      string // empty, or one of snmp.Auths
	AuthKey   string
	Priv      string // empty, or one of snmp.Privs
	PrivKey   string
}

func snmpKeys() []string {
	return []string{"version", "community", "user", "context", "auth", "auth_key", "priv", "priv_key"}
}

// snmpAgent reads the keys of an SNMP agent.
func (c *compiler) snmpAgent(t *Table, b *Bus) {
	t.Require("address", "version")
	b.Address = c.hostPort(t, defSNMPPort)
	s := &b.SNMP
	s.Version = t.Enum("version", "", "1", "2c", "3")
	s.Community, s.AuthKey, s.PrivKey = c.secretFile(t, "community"), c.secretFile(t, "auth_key"), c.secretFile(t, "priv_key")
	s.User, s.Context = t.String("user", ""), t.String("context", "")
	s.Auth = t.Enum("auth", "", snmp.Auths()...)
	s.Priv = t.Enum("priv", "", snmp.Privs()...)
	if s.Version == "" {
		return // the fault is there already
	}
	for _, k := range snmpKeys()[1:] {
		if t.Has(k) && (k == "community") == (s.Version == "3") {
			t.Fault(k, "%s is for version %s: take it out", k, map[bool]string{true: "1 and 2c", false: "3"}[k == "community"])
		}
	}
	switch {
	case s.Version != "3":
		t.Require("community")
		return
	case len(s.User) > 32 || len(s.Context) > 32:
		t.Fault("user", "user and context have 32 bytes at most (RFC 3411)")
	case s.Priv != "" && s.Auth == "":
		t.Fault("priv", "there is no encryption without a key to sign with: set auth too")
	}
	t.Require("user")
	for key, by := range map[string]string{"auth_key": s.Auth, "priv_key": s.Priv} {
		if t.Has(key) != (by != "") {
			t.Fault(key, "%s and %s come together", strings.TrimSuffix(key, "_key"), key)
		}
	}
}

// onlySNMP finds a device that reads what another one reads: an agent has no units, a profile says all.
func (c *compiler) onlySNMP(t *Table, d *Device) {
	for _, o := range c.cfg.Devices {
		if o.Bus == d.Bus && d.Profile != nil && o.Profile != nil && o.Profile.Name == d.Profile.Name {
			t.Fault("profile", "device %q reads %q of bus %q already: one agent and one profile are one device", o.Name, d.Profile.Name, c.cfg.Buses[d.Bus].Name)
		}
	}
}

// barePlain are the servers of other machines whose values anybody on the way can change (S17).
func (c *Config) barePlain() (out []string) {
	for i := range c.Buses {
		b := &c.Buses[i]
		if host, _, _ := net.SplitHostPort(b.Address); localHost(host) { // hostPort has split it before
			continue
		}
		switch {
		case b.Kind == "nut" && !b.StartTLS:
			out = append(out, "bus "+b.Name+" reads its upsd in plain text ("+b.Address+"): whoever is on the way can change every value; set starttls = true and ca")
		case b.Kind == "snmp" && (b.SNMP.Version != "3" || b.SNMP.Auth == ""):
			out = append(out, "bus "+b.Name+" reads its SNMP agent unsigned ("+b.Address+"): whoever is on the way can change every value; use version = \"3\" with auth and priv")
		case b.Kind == "snmp" && (slices.Contains([]string{"", "des"}, b.SNMP.Priv) || b.SNMP.Auth == "md5"):
			out = append(out, "bus "+b.Name+" protects what it reads of its SNMP agent ("+b.Address+") by less than auth = \"sha256\" and priv = \"aes\": use what the agent has that is better")
		}
	}
	return out
}
