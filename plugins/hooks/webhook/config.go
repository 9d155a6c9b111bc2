package webhook

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"firebreak/plugins"
)

// Config is one webhook. Site, Agent and Now are filled in by the one who builds the hook.
type Config struct {
	URL         string            `toml:"url"`
	Method      string            `toml:"method"`       // POST, or left out
	Headers     map[string]string `toml:"headers"`      // nothing secret
	HeadersFile string            `toml:"headers_file"` // lines "Name: value"
	TokenFile   string            `toml:"token_file"`   // sent as "Authorization: Bearer ..."
	SecretFiles []string          `toml:"secret_files"` // one, or two while it is replaced: "whsec_..." each
	CAFile      string            `toml:"ca_file"`      // PEM; in place of the system's
	TryTimeout  time.Duration     `toml:"try_timeout"`  // of one try within the call's time-out; default 5 s
	KeepOpen    bool              `toml:"keep_open"`    // Run keeps one connection open for the next call
	Drill       string            `toml:"drill"`        // "native", "dry-run" or "": skipped in a drill (S7)

	VerifyURL   string        `toml:"verify_url"`   // asked after a call until it says that the work is done
	VerifyField string        `toml:"verify_field"` // of its JSON answer, "state" or "server.state"; empty: a 200 is enough
	VerifyValue string        `toml:"verify_value"` // that says so
	VerifyEvery time.Duration `toml:"verify_every"` // default 1 s
	VerifyFor   time.Duration `toml:"verify_for"`   // default 10 min

	ProbeURL     string `toml:"probe_url"`     // at the target: GET with the secrets
	ProbeHeader  string `toml:"probe_header"`  // of its answer, that holds the version
	ProbeField   string `toml:"probe_field"`   // or of its JSON
	ProbeVersion string `toml:"probe_version"` // "2" takes 2 and 2.anything

	Site  string           `toml:"-"`
	Agent string           `toml:"-"`
	Now   func() time.Time `toml:"-"` // against which certificates are checked (S14); nil: the wall clock
}

var _ plugins.Declarer = Config{}

// Traits of the one target. What a URL does is known to whoever writes it down: the key
// irreversible of the hook says it, for all kinds alike.
func (c Config) Traits(target string) (plugins.Traits, error) {
	if target != "" {
		return plugins.Traits{}, fmt.Errorf("target %q: a webhook has one target, its url: take the target out of the step, or make a hook for each", target)
	}
	return plugins.Traits{Drill: c.Drill}, nil
}

// faults collects what is wrong.
type faults []error

func (f *faults) add(format string, a ...any) { *f = append(*f, fmt.Errorf(format, a...)) }

// Validate tells all faults of the configuration at once. It opens no file.
func (c Config) Validate() error {
	var f faults
	u := c.checkURL(&f)
	if c.Method != "" && c.Method != http.MethodPost {
		f.add("method %q: only POST, or leave it out", c.Method)
	}
	for k, v := range c.Headers {
		if err := checkHeader(k, v); err != nil {
			f.add("headers: %w", err)
		}
		if h := http.CanonicalHeaderKey(k); h == "Authorization" || h == "Cookie" {
			f.add("headers: %s is a secret: put it into headers_file or token_file", h)
		}
	}
	if c.TryTimeout < 0 {
		f.add("try_timeout %v: use a time above zero, or leave it out for %v", c.TryTimeout, defaultTry)
	}
	if c.Drill != "" && c.Drill != "native" && c.Drill != "dry-run" {
		f.add("drill %q: use \"native\" (the target looks at firebreakmark) or \"dry-run\", or leave it out", c.Drill)
	}
	if len(c.SecretFiles) > maxKeys {
		f.add("secret_files names %d files: one, or two while a secret is replaced", len(c.SecretFiles))
	}
	for i, p := range c.SecretFiles {
		if p == "" || i > 0 && p == c.SecretFiles[0] {
			f.add("secret_files: %q is empty or named twice", p)
		}
	}
	c.checkVerify(&f)
	c.checkProbe(&f, u)
	return errors.Join(f...)
}

// checkURL gives nil for one that is not understood.
func (c Config) checkURL(f *faults) *url.URL {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		f.add("url: %w", err)
		return nil
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		f.add("url %q: give https://host/path", c.URL)
	case u.User != nil:
		f.add("url holds a user or password: put them into headers_file or token_file")
	case u.Scheme == "http" && (c.TokenFile != "" || c.HeadersFile != "") && !loopback(u.Hostname()):
		f.add("url %q sends the secrets of token_file or headers_file in clear: use https", c.URL)
	}
	return u
}

func (c Config) checkVerify(f *faults) {
	if c.VerifyURL == "" {
		for key, set := range map[string]bool{"verify_field": c.VerifyField != "", "verify_value": c.VerifyValue != "", "verify_every": c.VerifyEvery != 0, "verify_for": c.VerifyFor != 0} {
			if set {
				f.add("%s has no effect without verify_url: add that, or take it out", key)
			}
		}
		return
	}
	if u, err := url.Parse(c.VerifyURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Contains(u.Host, keyMark) {
		f.add("verify_url %q: give https://host/path without user or password; %s stands for the key in path or query", c.VerifyURL, keyMark)
	}
	if (c.VerifyField == "") != (c.VerifyValue == "") {
		f.add("verify_field and verify_value come together: which field of the answer, and what it says when the work is done")
	}
	if c.VerifyEvery < 0 || c.VerifyEvery != 0 && c.VerifyEvery < minEvery {
		f.add("verify_every %v: use %v or more, or leave it out for %v", c.VerifyEvery, minEvery, defaultEvery)
	}
	if c.VerifyFor < 0 {
		f.add("verify_for %v: use a time above zero, or leave it out for %v", c.VerifyFor, defaultFor)
	}
}

func (c Config) checkProbe(f *faults, u *url.URL) {
	if c.ProbeURL == "" {
		for key, v := range map[string]string{"probe_header": c.ProbeHeader, "probe_field": c.ProbeField, "probe_version": c.ProbeVersion} {
			if v != "" {
				f.add("%s has no effect without probe_url: add that, or take it out", key)
			}
		}
		return
	}
	if p, err := url.Parse(c.ProbeURL); err != nil || u == nil || p.User != nil || !sameOrigin(p, u) {
		f.add("probe_url %q: it gets the secrets of the target, so it must have the scheme, host and port of url", c.ProbeURL)
	}
	if c.ProbeHeader != "" && c.ProbeField != "" || c.ProbeVersion != "" && c.ProbeHeader+c.ProbeField == "" || c.ProbeVersion == "" && c.ProbeHeader+c.ProbeField != "" {
		f.add("probe_version needs one of probe_header and probe_field, which say where the answer holds the version, and they need it")
	}
}

// sameOrigin tells whether what is meant for one may be sent to the other.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// checkHeader refuses what cannot be sent and what the hook sets itself.
func checkHeader(k, v string) error {
	const others = "!#$%&'*+-.^_`|~" // RFC 9110, 5.6.2
	noName := func(r rune) bool {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !alnum && !strings.ContainsRune(others, r)
	}
	noValue := func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
	if k == "" || strings.ContainsFunc(k, noName) || strings.ContainsFunc(v, noValue) {
		return fmt.Errorf("%q is no header that can be sent: correct its name or value", k)
	}
	h := strings.ToLower(k)
	for _, own := range []string{"content-type", "content-length", "transfer-encoding", "host", "idempotency-key", "firebreak-mark"} {
		if h == own {
			return fmt.Errorf("%q is set by the hook: remove it", k)
		}
	}
	if strings.HasPrefix(h, "webhook-") {
		return fmt.Errorf("%q is set by the hook: remove it", k)
	}
	return nil
}
