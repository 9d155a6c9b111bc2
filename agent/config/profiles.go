package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"firebreak/agent/near"
	"firebreak/sensors/profile"
)

// ownProfiles reads the key profiles: a directory of profiles that win over the built-in ones of
// the same name, so that a site adds a device without building the agent anew.
func (c *compiler) ownProfiles(t *Table) {
	dir := t.String("profiles", "")
	if dir == "" {
		return
	}
	if !filepath.IsAbs(dir) || strings.ContainsRune(dir, 0) {
		t.Fault("profiles", "%q must be an absolute path, such as \"/etc/firebreak/profiles\"", dir)
		return
	}
	c.cfg.Profiles = filepath.Clean(dir)
	if _, err := os.ReadDir(c.cfg.Profiles); err != nil { // what points nowhere is a slip of the pen (S24)
		t.Fault("profiles", "the directory of profiles cannot be read: %v; make it, or take the key out", err)
		return
	}
	c.own = os.DirFS(c.cfg.Profiles)
}

// loadProfile finds a profile by name, first among those of one's own; nil after a fault. A template is no
// profile yet.
func (c *compiler) loadProfile(t *Table, name string) *profile.Profile {
	p := c.findProfile(t, name)
	if p != nil && p.Template != "" {
		t.Fault("profile", "%q is a template: copy it to NAME.toml in a directory of your own (key profiles), fill in %s, take out the line template, and use that name", name, p.Template)
		return nil
	}
	return p
}

func (c *compiler) findProfile(t *Table, name string) *profile.Profile {
	if c.own != nil {
		p, err := loadOwn(c.own, name)
		var faults profile.Faults
		switch {
		case err == nil:
			i, _ := slices.BinarySearch(c.cfg.OwnProfiles, name)
			c.cfg.OwnProfiles = slices.Insert(c.cfg.OwnProfiles, i, name)
			return p
		case errors.As(err, &faults):
			for _, f := range faults { // in its own file, and not at the device as well
				c.faults = append(c.faults, Fault{filepath.Join(c.cfg.Profiles, f.File), f.Line, f.Column, f.Text})
			}
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			t.Fault("profile", "in %s: %s", c.cfg.Profiles, oneLine(err))
			return nil
		}
	}
	if c.kinds.Profiles == nil {
		t.Fault("profile", "there is no source of profiles")
		return nil
	}
	p, err := profile.Load(c.kinds.Profiles, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		names := profile.List(c.kinds.Profiles)
		if c.own != nil {
			names = append(names, profile.List(c.own)...)
			slices.Sort(names)
		}
		t.Fault("profile", "there is no profile %q%s", name, profileHint(name, slices.Compact(names)))
	case err != nil:
		t.Fault("profile", "%s", oneLine(err))
	default:
		return p
	}
	return nil
}

// loadOwn loads a profile that anybody may have written: only a plain file of a fair size is
// opened, since a pipe would block and a disk would fill the memory.
func loadOwn(dir fs.FS, name string) (*profile.Profile, error) {
	if !strings.ContainsAny(name, `/\`) && fs.ValidPath(name+".toml") {
		info, err := fs.Stat(dir, name+".toml")
		switch {
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, errors.New(name + ".toml is not a plain file: put the profile itself there")
		case info.Size() > maxFile:
			return nil, errors.New(name + ".toml is too large to be a profile")
		}
	}
	return profile.Load(dir, name)
}

// oneLine joins the lines of an error: a fault is one line.
func oneLine(err error) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
}

// profileHint names what is near to a name, else the profiles of the same maker, the part before the
// first dash; else it says where all of them are told.
func profileHint(name string, names []string) string {
	maker, _, _ := strings.Cut(name, "-")
	family := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		m, _, _ := strings.Cut(n, "-")
		return m != maker
	})
	hint := near.Hint(name, names)
	if len(family) > 0 && !strings.HasPrefix(hint, " (did you mean") {
		return near.Hint(name, family)
	}
	if hint == "" {
		return ": firebreak profile list names them"
	}
	return hint
}
