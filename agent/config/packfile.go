package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"firebreak/agent/near"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// packFile is one pack as its file says it: roles, which are kinds of points that it looks for,
// detectors over them, and votes. It is read anew for each use, since a table notes what was read.
type packFile struct {
	name, file string // file: as faults show it
	title      string
	tab        *Table
	with       []string // packs that it is made of, beside its own
	roles      []*packRole
	detectors  []*Table
	votes      []*Table
}

// packRole says which points of a site a pack means: those that its filters meet, or those that the
// site names. One without filters has to be named by the site.
type packRole struct {
	name, does string
	tab        *Table
	channels   []string // patterns of the name of a point without its device
	unless     []string // names of points: a device that has one is none of the role
	physics    *sensors.Physics
	kind       *sensors.Kind
	unit       *sensors.Unit
	points     []string // found, by name
	why        string   // none was found
}

// builtInPacks is the folder of the packs inside the binary, as faults show it.
const builtInPacks = "configs/hazards"

// packText finds the text of a pack by name or, with file, by path.
func (c *compiler) packText(t *Table, key, name string) (data []byte, file string, ok bool) {
	if key == "file" {
		return c.ownPack(t, name)
	}
	if c.kinds.Packs == nil {
		t.Fault(key, "there is no source of hazard packs")
		return nil, "", false
	}
	data, err := fs.ReadFile(c.kinds.Packs, name+".toml")
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid):
		c.fault(t.itemPos(key, name), "there is no hazard pack %q%s", name, near.Hint(name, profile.List(c.kinds.Packs)))
		return nil, "", false
	case err != nil:
		t.Fault(key, "hazard pack %q: %s", name, oneLine(err))
		return nil, "", false
	}
	return data, builtInPacks + "/" + name + ".toml", true
}

// ownPack reads a pack of the site's own: only a plain file of a fair size is opened.
func (c *compiler) ownPack(t *Table, path string) ([]byte, string, bool) {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		t.Fault("file", "%q must be an absolute path, such as \"/etc/firebreak/packs/room.toml\"", path)
		return nil, "", false
	}
	path = filepath.Clean(path)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		t.Fault("file", "the hazard pack cannot be read: %s", oneLine(err))
		return nil, "", false
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		t.Fault("file", "%s is no plain file of at most %d bytes: put the pack itself there", path, maxFile)
		return nil, "", false
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fault("file", "the hazard pack cannot be read: %s", oneLine(err))
		return nil, "", false
	}
	c.cfg.OwnPacks = append(c.cfg.OwnPacks, path)
	return data, path, true
}

// readPack reads one file; nil after a fault that leaves nothing of it.
func (c *compiler) readPack(use, at *Table, key, name string) *packFile {
	data, file, ok := c.packText(at, key, name)
	if !ok {
		return nil
	}
	c.notePackUse(file, use)
	t := parseTree(c.source, data, file)
	if t == nil {
		return nil
	}
	f := &packFile{name: name, file: file, tab: t}
	t.Require("name", "title", "delays")
	if f.name = c.name(t, "name"); key == "use" && f.name != name {
		t.Fault("name", "this pack calls itself %q, and its file is named %q", f.name, name)
	}
	f.title = t.String("title", "")
	t.String("delays", "") // where on-delays, off-delays and deadbands come from: for the reader
	f.with = t.Strings("with")
	for _, r := range t.Tables("role") {
		if role := c.packRole(r); role != nil {
			f.roles = append(f.roles, role)
		}
	}
	f.detectors, f.votes = t.Tables("detector"), t.Tables("vote")
	for _, d := range slices.Concat(f.detectors, f.votes) {
		d.Require("name", "does", "source") // no threshold without a word on where it comes from
		d.String("does", "")
		d.String("source", "")
	}
	t.Unknown()
	return f
}

// notePackUse remembers who uses a file, for the faults in it.
func (c *compiler) notePackUse(file string, use *Table) {
	if c.via == nil {
		c.via = map[string]string{}
	}
	if c.via[file] == "" {
		c.via[file] = fmt.Sprintf(" (pack used at %s:%d: override it by name there)", c.file, use.at.Line)
	}
}

// hasFaultInPack tells whether a fault lies in a pack.
func (c *compiler) hasFaultInPack() bool {
	return slices.ContainsFunc(c.faults, func(f Fault) bool { return c.via[f.File] != "" })
}

// packRole reads one [[role]].
func (c *compiler) packRole(t *Table) *packRole {
	t.Require("name", "does")
	r := &packRole{tab: t, name: c.name(t, "name"), does: t.String("does", ""), channels: t.Strings("channel"), unless: t.Strings("unless")}
	if s := t.String("physics", ""); s != "" {
		p, err := sensors.ParsePhysics(s)
		r.physics = &p
		t.FaultErrors(keyed("physics", err))
	}
	if s := t.String("kind", ""); s != "" {
		k, err := sensors.ParseKind(s)
		r.kind = &k
		t.FaultErrors(keyed("kind", err))
	}
	if s := t.String("unit", ""); s != "" {
		u, err := sensors.ParseUnit(s)
		r.unit = &u
		t.FaultErrors(keyed("unit", err))
	}
	t.Unknown()
	if r.name == "" {
		return nil
	}
	return r
}

// keyed puts the name of a key before an error.
func keyed(key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", key, err)
}

// finds tells whether a point, whose channel is its name without the device, is of the role.
func (r *packRole) finds(p *sensors.Point, channel string) bool {
	switch {
	case len(r.channels) == 0, // the site has to say
		r.physics != nil && *r.physics != p.Physics,
		r.kind != nil && *r.kind != p.Kind,
		r.unit != nil && *r.unit != p.Unit:
		return false
	}
	return slices.ContainsFunc(r.channels, func(pat string) bool { return match(pat, channel) })
}

// looksFor says in words what the role's filters are.
func (r *packRole) looksFor() string {
	if len(r.channels) == 0 {
		return fmt.Sprintf("the site has to say which points these are: roles = { %s = \"DEVICE.POINT\" }", r.name)
	}
	what := "point"
	if r.kind != nil {
		what = r.kind.String()
	}
	if r.physics != nil {
		what = r.physics.String() + " " + what
	}
	if r.unit != nil && *r.unit != sensors.None {
		what += " in " + string(*r.unit)
	}
	s := fmt.Sprintf("no %s here is named %s", what, strings.Join(r.channels, " or "))
	if len(r.unless) > 0 {
		s += ", on a device without " + strings.Join(r.unless, " and ")
	}
	return s
}
