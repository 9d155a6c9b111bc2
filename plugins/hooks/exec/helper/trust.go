package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"firebreak/plugins/hooks/exec"
)

// staff is the group that may write below /usr/local on older Debian systems. Its members can make
// themselves root there, by the distribution's own rule.
const staff = 50

// trusted refuses a file that somebody but root, or the helper's own user, could change or put
// another in its place: whoever can decides what is run.
func trusted(path string) error {
	path, err := filepath.Abs(path) // the way to it begins at the root, also where it was named from here
	if err != nil {
		return fmt.Errorf("%s: %w: give its absolute path", path, err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("%s: %w: install it, or correct the path", path, errors.Unwrap(err))
	}
	fi, err := os.Stat(real)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", path)
	}
	if err := held(path, real, fi, false); err != nil {
		return err
	}
	for _, p := range []string{path, real} { // a link may be turned to another file, too
		for dir := filepath.Dir(p); ; dir = filepath.Dir(dir) {
			di, err := os.Stat(dir)
			if err != nil {
				return err
			}
			if err := held(path, dir, di, true); err != nil {
				return err
			}
			if dir == "/" {
				break
			}
		}
	}
	return nil
}

// held tells whether name, a part of the way to path, is in good hands.
func held(path, name string, fi fs.FileInfo, dir bool) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%s: its owner cannot be known", name)
	}
	mode := fi.Mode()
	switch {
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s is not trusted: %s belongs to user %d: chown root it", path, name, st.Uid)
	case dir && mode&os.ModeSticky != 0: // others cannot replace in it what is not theirs
		return nil
	case mode.Perm()&0o002 != 0, mode.Perm()&0o020 != 0 && st.Gid != 0 && !(dir && st.Gid == staff):
		return fmt.Errorf("%s is not trusted: %s can be written by others (mode %v, group %d): chmod go-w it", path, name, mode.Perm(), st.Gid)
	}
	return nil
}

// identity is whom an action runs as.
type identity struct {
	name, home string
	user       *exec.User // nil: the helper's own
	err        error      // why nobody can be it
}

// resolve finds user and group, by name or number, in the files of this machine. root says whether
// the helper is root: nobody else can become another.
func resolve(name, group string, root bool) *identity {
	id := &identity{name: name, home: "/"}
	u := &exec.User{Groups: []uint32{}}
	acc, err := lookup(name)
	if err != nil {
		id.err = fmt.Errorf("user %q is not known on this machine (%w): add it, or correct user", name, err)
		return id
	}
	id.name, id.home = acc.Username, acc.HomeDir
	gid := acc.Gid
	if group != "" {
		if gid, err = lookupGroup(group); err != nil {
			id.err = fmt.Errorf("group %q is not known on this machine (%w): add it, or correct group", group, err)
			return id
		}
	}
	all, err := acc.GroupIds()
	if err != nil {
		id.err = fmt.Errorf("the groups of user %q cannot be read: %w", name, err)
		return id
	}
	var errs []error
	number := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		errs = append(errs, err)
		return uint32(n)
	}
	u.UID, u.GID = number(acc.Uid), number(gid)
	for _, g := range all {
		u.Groups = append(u.Groups, number(g))
	}
	if err := errors.Join(errs...); err != nil {
		id.err = fmt.Errorf("user %q: %w", name, err)
		return id
	}
	if !root {
		if int(u.UID) != os.Geteuid() || int(u.GID) != os.Getegid() {
			id.err = fmt.Errorf("the helper runs as user %d and cannot become %q: start it as root", os.Geteuid(), name)
		}
		return id
	}
	id.user = u
	return id
}

func lookup(name string) (*user.User, error) {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		return user.LookupId(name)
	}
	return user.Lookup(name)
}

func lookupGroup(name string) (string, error) {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		return name, nil
	}
	g, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return g.Gid, nil
}

// mayRun looks whether the mode of a program lets this user run it.
func (id *identity) mayRun(program string) error {
	fi, err := os.Stat(program)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	u := id.user
	if u == nil {
		u = &exec.User{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	}
	bits := fi.Mode().Perm()
	can := bits&0o111 != 0 // root
	if ok && u.UID != 0 {
		can = bits&0o001 != 0
		for _, g := range append([]uint32{u.GID}, u.Groups...) {
			if g == st.Gid {
				can = bits&0o010 != 0
				break
			}
		}
		if u.UID == st.Uid {
			can = bits&0o100 != 0
		}
	}
	if !can {
		return fmt.Errorf("program %s cannot be run by user %s (mode %v): chmod 755 it", program, id.name, bits)
	}
	return nil
}
