package nut

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxUsersFile = 64 << 10
)

// user is one account of the users file.
type user struct {
	name    string
	secret  [sha256.Size]byte // of the password
	primary bool
	zones   []string // UPSes, or "*"
}

func (u *user) may(ups string) bool {
	return slices.ContainsFunc(u.zones, func(z string) bool { return z == "*" || strings.EqualFold(z, ups) })
}

// parseUsers reads lines "NAME PASSWORD primary|secondary ZONE[,ZONE...]", with the quoting of the
// protocol; # begins a comment. It tells all faults, none with a password in it.
func parseUsers(text string) ([]user, error) {
	var out []user
	var faults []error
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		bad := func(format string, a ...any) {
			faults = append(faults, fmt.Errorf("line %d: "+format, append([]any{i + 1}, a...)...))
		}
		w, err := parseLine(line)
		if err != nil {
			bad("%w", err)
			continue
		}
		if len(w) != 4 || w[0] == "" || w[1] == "" {
			bad(`give four words: NAME PASSWORD primary|secondary ZONE[,ZONE...]; a word with blanks stands in quotes`)
			continue
		}
		u := user{name: w[0], secret: sha256.Sum256([]byte(w[1])), primary: w[2] == "primary", zones: strings.Split(w[3], ",")}
		switch {
		case w[2] != "primary" && w[2] != "secondary":
			bad("the role of %q is %q: use primary or secondary", u.name, w[2])
		case u.primary && w[1] == aliasPassword:
			bad("the password of the primary %q is the published one of NAS boxes: choose another", u.name)
		case slices.ContainsFunc(out, func(o user) bool { return o.name == u.name }):
			bad("there is another user %q", u.name)
		default:
			out = append(out, u)
		}
	}
	return out, errors.Join(faults...)
}

// login finds the account of a name and password. It takes as long for an unknown name as for a
// known one.
func login(users []user, name, password string) *user {
	sum := sha256.Sum256([]byte(password))
	var found *user
	var none [sha256.Size]byte
	want := none
	for i := range users {
		if subtle.ConstantTimeCompare([]byte(users[i].name), []byte(name)) == 1 {
			found, want = &users[i], users[i].secret
		}
	}
	if subtle.ConstantTimeCompare(want[:], sum[:]) != 1 {
		return nil
	}
	return found
}

// account finds who the client is, or nil. On an alias listener there is the published account
// alone, a secondary; it is none anywhere else unless the users file says so.
func (c *conn) account() *user {
	if c.h.limit.locked(c.addr) {
		c.h.say("locked "+c.addr.String(), errors.New("too many wrong passwords"), "logins from an address are refused for a while", "client", c.addr.String())
		return nil
	}
	var u *user
	if c.only != nil {
		name := subtle.ConstantTimeCompare([]byte(c.name), []byte(aliasUser))
		if name&subtle.ConstantTimeCompare([]byte(c.pass), []byte(aliasPassword)) == 1 {
			u = &user{name: aliasUser, zones: []string{c.only.cfg.Name}}
		}
	} else {
		if !c.read {
			users, _, err := c.h.users.Get()
			c.users, c.read = users, true
			c.h.say("users", err, "the users file cannot be read, the last users count")
		}
		u = login(c.users, c.name, c.pass)
	}
	if u == nil {
		c.h.limit.fail(c.addr)
		c.h.say("wrong "+c.addr.String(), errors.New("wrong name or password"), "a client cannot log in", "client", c.addr.String())
	}
	return u
}

// loadUsers reads the users file. One that others may read holds no secret.
func loadUsers(path string) ([]user, error) {
	if path == "" {
		return nil, nil
	}
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("users_file: %w", err)
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxUsersFile {
		return nil, fmt.Errorf("users_file %s is no regular file of at most %d bytes", path, maxUsersFile)
	}
	if fi.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("users_file %s may be read or written by everybody: chmod 640 %s", path, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("users_file: %w", err)
	}
	users, err := parseUsers(string(b))
	if err != nil {
		return nil, fmt.Errorf("users_file %s: %w", path, err)
	}
	return users, nil
}

// Limits of guessing passwords: so many wrong ones from one address within the window, and then
// none is looked at until the window has passed. A host that is locked out still sees FSD: that
// needs no login.
const (
	maxWrong    = 5
	wrongWindow = time.Minute
	maxWatched  = 1024 // addresses; the one that was wrong longest ago goes first
)

// limiter counts wrong passwords by address.
type limiter struct {
	mu   sync.Mutex
	seen map[netip.Addr]*wrong
}

type wrong struct {
	n    int
	last time.Time
}

// locked tells whether an address has to wait.
func (l *limiter) locked(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.seen[a]
	return w != nil && w.n >= maxWrong && time.Since(w.last) < wrongWindow
}

func (l *limiter) fail(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = map[netip.Addr]*wrong{}
	}
	w := l.seen[a]
	if w == nil {
		if len(l.seen) >= maxWatched {
			l.evict()
		}
		w = &wrong{}
		l.seen[a] = w
	}
	if time.Since(w.last) >= wrongWindow {
		w.n = 0
	}
	w.n, w.last = w.n+1, time.Now()
}

func (l *limiter) evict() {
	var oldest netip.Addr
	for a, w := range l.seen {
		if !oldest.IsValid() || w.last.Before(l.seen[oldest].last) {
			oldest = a
		}
	}
	delete(l.seen, oldest)
}
