// Package tools is what an engineer uses on the ladder, before and beside the agent: it finds units on a
// bus and says which profile fits, shows registers under every reading, tests profiles, serves any of them
// as a device, records a session, and looks for what is wrong with a line. It stands on the transports of
// sensors/modbus and the decoders of sensors/profile, and reads alone, with function codes 1 to 4 and 43 (identification); the one
// write that there is, a new unit number, has a file of its own (address.go).
//
// Concurrency: a tool runs in the goroutine of its caller and ends with its context; what it starts it
// waits for. Failure: each error says what to look at next. Nothing here is on the way from sensor to
// hook: the agent does not import this package.
package tools

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"firebreak/configs"
	"firebreak/sensors/profile"
)

// Library finds profiles: those of one's own first, then the built-in ones.
type Library struct {
	Dir string // directory of profiles of one's own; empty: none
}

// Names are all that Load knows, sorted.
func (l Library) Names() []string {
	names := profile.List(configs.Profiles())
	if l.Dir != "" {
		names = append(names, profile.List(os.DirFS(l.Dir))...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Load finds a profile by name, or reads the file of that name when it ends with ".toml". cases is where
// its recorded cases lie, in a folder of the profile's name.
func (l Library) Load(name string) (p *profile.Profile, cases fs.FS, err error) {
	if strings.HasSuffix(name, ".toml") {
		dir := os.DirFS(filepath.Dir(name))
		p, err = profile.Load(dir, strings.TrimSuffix(filepath.Base(name), ".toml"))
		return p, dir, err
	}
	if l.Dir != "" {
		dir := os.DirFS(l.Dir)
		if p, err = profile.Load(dir, name); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return p, dir, err
		}
	}
	p, err = profile.Load(configs.Profiles(), name)
	return p, profile.Recorded(), err
}

// All loads every profile of a kind of bus, but for templates. One that has a fault is left out and told on w.
func (l Library) All(w io.Writer, bus string) (out []*profile.Profile) {
	for _, n := range l.Names() {
		p, _, err := l.Load(n)
		switch {
		case err != nil:
			fmt.Fprintf(w, "left out: %v\n", err)
		case p.Bus == bus && p.Template == "":
			out = append(out, p)
		}
	}
	return out
}
