// Package nut is the hook that orders hosts to shut down by the protocol of the Network UPS Tools
// (RFC 9271): it is itself the server on port 3493, with one UPS for each shutdown zone, so that
// the upsmon of a host, a NAS or a hypervisor obeys without new software.
//
// It is three things at once. As a Hook it latches FSD ("forced shutdown") for a UPS: irreversible,
// never taken back from a connection that saw it, and cleared for new ones only when the plan's
// episode was reset (S20). As a Runner it answers on the port and tells, late too, which hosts have
// logged out. As a Publisher it takes readings for the variables of a UPS, and the stages of plans.
// Nothing else sets FSD: a client's own FSD command, as a primary upsmon has it, is refused, because
// a stolen password must not be able to shut down a room.
//
// Concurrency: all methods may be called at once. One mutex guards the state; nothing is read,
// written or called back while it is held, so that Offer and Do never wait for a client or a disk.
// Each connection has one goroutine, each disk at most one; Run waits for all but one that a dead
// disk holds. Failure: silence of sensors never changes a status; what cannot be read from disk
// leaves the last good users, certificate and latches in force; a latch stands in memory before
// anything is written.
package nut

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"firebreak/plugins"
)

// Port is the protocol's own.
const Port = "3493"

const (
	defaultListen     = "127.0.0.1:" + Port
	defaultMaxClients = 512
	defaultPerAddress = 16
	maxUPSes          = 64
	maxVars           = 128 // of one UPS
	maxText           = 128 // bytes of a name or description
)

// The account of Synology's DSM is fixed there and published: it opens nothing but a secondary
// login, on listeners of its own.
const (
	aliasUPS      = "ups"
	aliasUser     = "monuser"
	aliasPassword = "secret"
)

// Config is one server.
type Config struct {
	Listen     []string `toml:"listen"` // host:port; default 127.0.0.1:3493
	CertFile   string   `toml:"cert"`   // PEM; with key: STARTTLS, TLS 1.2 or later
	KeyFile    string   `toml:"key"`
	UsersFile  string   `toml:"users_file"`
	Drill      string   `toml:"drill"`           // "dry-run" or "": skipped; FSD cannot be drilled (S7)
	MaxClients int      `toml:"max_clients"`     // connections in all; default 512
	PerAddress int      `toml:"max_per_address"` // default 16
	UPS        []UPS    `toml:"ups"`
	Alias      []Alias  `toml:"alias"`
}

// UPS is one shutdown zone.
type UPS struct {
	Name        string            `toml:"name"`
	Description string            `toml:"description"`
	Plans       []string          `toml:"plans"`    // whose stages it shows; one of plans and zone
	Zone        string            `toml:"zone"`     // all plans that stand in or give up this zone
	Vars        map[string]string `toml:"vars"`     // NUT variable -> point
	Contacts    []Contact         `toml:"contacts"` // smoke loops
	DeadMan     bool              `toml:"dead_man"` // OB from stage 2a of an armed plan on
	Clients     []string          `toml:"clients"`  // addresses of the hosts that must be there
	MinClients  int               `toml:"min_clients"`
}

// Contact is a binary point as ambient.N.contacts.X.
type Contact struct {
	N      int    `toml:"n"`
	X      int    `toml:"x"`
	Point  string `toml:"point"`
	Name   string `toml:"name"`
	Config string `toml:"config"` // normal-opened (default), normal-closed
}

// Alias is a listener on which one UPS is called "ups" and the only account is monuser.
type Alias struct {
	Listen string `toml:"listen"`
	UPS    string `toml:"ups"`
}

var _ plugins.Declarer = Config{}

// Traits says what FSD is: final for whoever saw it, so it belongs into stages 3 and 4 (S15).
func (c Config) Traits(target string) (plugins.Traits, error) {
	if _, err := c.pick(target); err != nil {
		return plugins.Traits{}, err
	}
	return plugins.Traits{Irreversible: true, Drill: c.Drill}, nil
}

// pick finds the UPS of a target; an empty one means the only one.
func (c Config) pick(target string) (string, error) {
	names := make([]string, 0, len(c.UPS))
	for i := range c.UPS {
		if c.UPS[i].Name == target {
			return target, nil
		}
		names = append(names, c.UPS[i].Name)
	}
	if target == "" && len(names) == 1 {
		return names[0], nil
	}
	if target == "" {
		return "", fmt.Errorf("a target is needed: use one of %s", strings.Join(names, ", "))
	}
	return "", fmt.Errorf("there is no UPS %q: use one of %s", target, strings.Join(names, ", "))
}

// Points lists the points that the configuration names, each once, for who can look them up.
func (c Config) Points() []string {
	var out []string
	for i := range c.UPS {
		for _, p := range c.UPS[i].Vars {
			out = append(out, p)
		}
		for _, k := range c.UPS[i].Contacts {
			out = append(out, k.Point)
		}
	}
	sort.Strings(out)
	return slices.Compact(out)
}

// PlanNames lists the plans that the configuration names, each once, for who can look them up.
func (c Config) PlanNames() []string {
	var out []string
	for i := range c.UPS {
		out = append(out, c.UPS[i].Plans...)
	}
	sort.Strings(out)
	return slices.Compact(out)
}

var (
	upsName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)
	varName = regexp.MustCompile(`^[a-z][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+$`)
)

// Validate tells all faults of the configuration at once. It opens no file and no port.
func (c Config) Validate() error {
	faults := []error{c.ValidateServer()}
	for i := range c.UPS {
		if err := c.UPS[i].Validate(); err != nil {
			faults = append(faults, fmt.Errorf("ups %q: %w", c.UPS[i].Name, err))
		}
	}
	return errors.Join(faults...)
}

// ValidateServer tells the faults of all but the single UPSes.
func (c Config) ValidateServer() error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	ports := map[string]bool{}
	checkListen := func(key, s string) {
		host, port, err := net.SplitHostPort(s)
		switch {
		case err != nil || port == "":
			bad("%s %q: give host:port, such as %q", key, s, defaultListen)
		case host != "" && host != "localhost" && net.ParseIP(host) == nil:
			bad("%s %q: give the address of an interface, not a name: no name server answers in a fire", key, s)
		case ports[s] && port != "0":
			bad("%s %q is listened on twice: give each address once", key, s)
		}
		ports[s] = true
	}
	for _, s := range c.Listen {
		checkListen("listen", s)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		bad("cert and key come together: give both files or none")
	}
	for key, p := range map[string]string{"cert": c.CertFile, "key": c.KeyFile, "users_file": c.UsersFile} {
		if p != "" && !filepath.IsAbs(p) {
			bad("%s %q must be the absolute path of a file", key, p)
		}
	}
	if c.UsersFile == "" && len(c.Alias) == 0 {
		bad("users_file is missing: without it no host can log in, and a zone without one is a failed step (S20)")
	}
	switch c.Drill {
	case "", "dry-run":
	case "native":
		bad("drill \"native\" is not possible: whoever sees FSD shuts down; use \"dry-run\", or leave it out")
	default:
		bad("drill %q: use \"dry-run\", or leave it out", c.Drill)
	}
	if c.MaxClients < 0 || c.MaxClients > 10000 || c.PerAddress < 0 || c.PerAddress > 10000 {
		bad("max_clients %d and max_per_address %d: use 1 to 10000, or leave them out for %d and %d", c.MaxClients, c.PerAddress, defaultMaxClients, defaultPerAddress)
	}
	if len(c.UPS) == 0 || len(c.UPS) > maxUPSes {
		bad("ups: give 1 to %d, one for each shutdown zone", maxUPSes)
	}
	names := map[string]bool{}
	for i := range c.UPS {
		u := &c.UPS[i]
		if low := strings.ToLower(u.Name); names[low] {
			bad("ups %q: there is another one of this name, big and small letters are the same", u.Name)
		} else {
			names[low] = true
		}
	}
	for _, a := range c.Alias {
		checkListen("alias: listen", a.Listen)
		if _, err := c.pick(a.UPS); err != nil || a.UPS == "" {
			bad("alias: there is no UPS %q for %q to stand for", a.UPS, a.Listen)
		}
	}
	return errors.Join(faults...)
}

// Validate tells the faults of one UPS.
func (u *UPS) Validate() error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	if !upsName.MatchString(u.Name) {
		bad("it is no name of a UPS: use up to 32 letters, digits, - and _, a letter or digit first")
	}
	if !printable(u.Description) || len(u.Description) > maxText {
		bad("description: use one line of at most %d bytes", maxText)
	}
	if (len(u.Plans) == 0) == (u.Zone == "") {
		bad("give either plans, whose stages it shows, or zone")
	}
	if len(u.Vars)+3*len(u.Contacts) > maxVars {
		bad("vars and contacts make more than %d variables", maxVars)
	}
	for name, point := range u.Vars {
		switch {
		case !varName.MatchString(name) || len(name) > maxText:
			bad("vars: %q is no name of a NUT variable, such as battery.temperature", name)
		case own(name):
			bad("vars: %q is set by the hook: leave it out", name)
		case point == "":
			bad("vars: %q names no point", name)
		}
	}
	at := map[[2]int]bool{}
	for _, k := range u.Contacts {
		if k.N < 1 || k.N > 99 || k.X < 1 || k.X > 99 || at[[2]int{k.N, k.X}] {
			bad("contacts: ambient.%d.contacts.%d: n and x are 1 to 99, each pair once", k.N, k.X)
		}
		at[[2]int{k.N, k.X}] = true
		if k.Point == "" || !printable(k.Name) || len(k.Name) > maxText {
			bad("contacts: ambient.%d.contacts.%d: give a point, and a name of one line", k.N, k.X)
		}
		if k.Config != "" && k.Config != "normal-opened" && k.Config != "normal-closed" {
			bad("contacts: ambient.%d.contacts.%d: config %q: use normal-opened or normal-closed", k.N, k.X, k.Config)
		}
	}
	for i, s := range u.Clients {
		if a, err := netip.ParseAddr(s); err != nil || a.Zone() != "" {
			bad("clients: %q is no IP address: no name server answers in a fire", s)
		} else if slices.Contains(u.Clients[:i], s) {
			bad("clients: %q stands there twice", s)
		}
	}
	if u.MinClients < 0 || u.MinClients > 10000 {
		bad("min_clients %d: use 1 to 10000, or leave it out for 1", u.MinClients)
	}
	return errors.Join(faults...)
}

// own are the variables that the hook sets itself.
func own(name string) bool {
	return name == "ups.status" || name == "ups.alarm" || name == "ambient.count" || strings.Contains(name, ".contacts.") || fixedVars[name] != "" ||
		strings.HasPrefix(name, "experimental.firebreak.") || strings.HasPrefix(name, "server.") || strings.HasPrefix(name, "driver.")
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}
