package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"firebreak/plugins/hooks/exec"
)

// Bounds of a list.
const (
	maxFile    = 1 << 20
	maxTimeout = 24 * time.Hour
)

// action is one thing that may be done, as the list says it.
type action struct {
	name, program, dir, user, group string
	args                            []string
	env                             map[string]string
	maxTimeout, grace               time.Duration
	outputLimit                     int
	drill                           string

	as *identity // of user and group, once resolved
}

// list is what the helper may do. It is never changed once it is made.
type list struct {
	actions map[string]*action
	places  map[string]pos
}

var errFaults = errors.New("the list has faults")

// keysOf an action, for the fault of an unknown one.
const keysOf = "name, program, args, env, dir, user, group, max_timeout, grace, output_limit, drill"

// parse reads a list and tells all its faults. It looks at nothing but the text.
func parse(file, src string) (*list, []fault) {
	entries, faults := readList(file, src)
	l := &list{actions: map[string]*action{}, places: map[string]pos{}}
	for i := range entries {
		e := &keys{entry: &entries[i], file: file, used: map[string]bool{}}
		a := e.action()
		if at, twice := l.places[a.name]; twice {
			e.fault("name", "there is an action %q on line %d already: choose another name", a.name, at.line)
		}
		if a.name != "" {
			l.actions[a.name], l.places[a.name] = a, e.at
		}
		faults = append(faults, e.faults...)
	}
	if len(entries) == 0 && len(faults) == 0 {
		faults = []fault{{file, pos{}, "it holds no [[action]]: add one"}}
	}
	slices.SortStableFunc(faults, func(a, b fault) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.col, b.at.col))
	})
	return l, faults
}

// keys reads the keys of one entry and notes what is wrong.
type keys struct {
	*entry
	file   string
	used   map[string]bool
	faults []fault
}

func (k *keys) fault(key, format string, a ...any) {
	at := k.at
	if v, ok := k.vals[key]; ok {
		at = v.at
	}
	k.faults = append(k.faults, fault{k.file, at, fmt.Sprintf(format, a...)})
}

func (k *keys) get(key, kind string) (value, bool) {
	k.used[key] = true
	v, ok := k.vals[key]
	if ok && v.kind != kind {
		k.fault(key, "%q must be %s", key, kind)
		return value{}, false
	}
	return v, ok
}

func (k *keys) text(key string, required bool) string {
	v, ok := k.get(key, isString)
	_, there := k.vals[key]
	switch {
	case !there && required:
		k.fault(key, "[[action]] needs the key %q", key)
	case ok && v.s == "":
		k.fault(key, "%q must not be empty", key)
	case ok && strings.ContainsRune(v.s, 0):
		k.fault(key, "%q holds a NUL byte: remove it", key)
	}
	return v.s
}

func (k *keys) duration(key string, def, most time.Duration) time.Duration {
	s := k.text(key, def == 0)
	if s == "" {
		return def
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > most {
		k.fault(key, "%q is %q: it must be a duration above zero such as \"30s\" or \"5m\", at most %v", key, s, most)
		return def
	}
	return d
}

func (k *keys) path(key string, required bool) string {
	p := k.text(key, required)
	if p != "" && (!filepath.IsAbs(p) || filepath.Clean(p) != p) {
		k.fault(key, "%s %q is no clean absolute path: give one, such as /usr/local/libexec/firebreak/power", key, p)
	}
	return p
}

func (k *keys) action() *action {
	a := &action{
		name: k.text("name", true), program: k.path("program", true), dir: k.path("dir", false),
		user: k.text("user", true), group: k.text("group", false),
		maxTimeout: k.duration("max_timeout", 0, maxTimeout), grace: k.duration("grace", exec.MaxGrace, exec.MaxGrace),
		outputLimit: exec.DefaultOutputLimit, drill: k.text("drill", false),
	}
	if a.name != "" && !exec.GoodAction(a.name) {
		k.fault("name", "%q cannot be a name: use up to 64 letters, digits, - and _, a letter or digit first", a.name)
	}
	if a.dir == "" {
		a.dir = "/"
	}
	if v, ok := k.get("args", isList); ok {
		a.args = v.list
		if slices.ContainsFunc(a.args, func(s string) bool { return strings.ContainsRune(s, 0) }) {
			k.fault("args", "args hold a NUL byte: remove it")
		}
	}
	if v, ok := k.get("env", isTable); ok {
		a.env = v.tab
		for _, n := range slices.Sorted(maps.Keys(a.env)) {
			if err := exec.GoodEnv(n, a.env[n]); err != nil {
				k.fault("env", "%v", err)
			}
		}
	}
	if v, ok := k.get("output_limit", isNumber); ok {
		if v.n < 1 || v.n > exec.MaxOutputLimit {
			k.fault("output_limit", "\"output_limit\" is %d: it must be from 1 to %d bytes", v.n, exec.MaxOutputLimit)
		}
		a.outputLimit = int(min(max(v.n, 1), exec.MaxOutputLimit))
	}
	if a.drill != "" && a.drill != "native" {
		k.fault("drill", "drill cannot be %q: \"native\" means that the program looks at FIREBREAK_MARK; leave it out to be left out of drills", a.drill)
	}
	for _, key := range k.keys {
		if !k.used[key] {
			k.faults = append(k.faults, fault{k.file, k.kpos[key], fmt.Sprintf("unknown key %q: use one of %s", key, keysOf)})
		}
	}
	return a
}

// load reads the list from a file that nobody but root (or the helper's own user) can change, and
// resolves the users. A user that does not exist spoils its action and no other.
func load(file string, root bool) (*list, []fault, error) {
	if err := trusted(file); err != nil {
		return nil, nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() || fi.Size() > maxFile {
		return nil, nil, fmt.Errorf("%s is no file of at most %d bytes (%v)", file, maxFile, err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	l, faults := parse(file, string(b))
	if len(faults) > 0 {
		return nil, faults, errFaults
	}
	for _, a := range l.actions {
		a.as = resolve(a.user, a.group, root)
	}
	return l, nil, nil
}

// fit says what keeps an action from being started on this machine now.
func (a *action) fit() []error {
	var faults []error
	if a.as.err != nil {
		faults = append(faults, a.as.err)
	}
	if err := trusted(a.program); err != nil {
		faults = append(faults, fmt.Errorf("program %w", err))
	} else if err := a.as.mayRun(a.program); err != nil {
		faults = append(faults, err)
	}
	if fi, err := os.Stat(a.dir); err != nil || !fi.IsDir() {
		faults = append(faults, fmt.Errorf("dir %s is no directory (%v): make it, or correct dir", a.dir, err))
	}
	return faults
}
