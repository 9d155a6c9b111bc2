// Package exec is the hook that runs a local command: one process group for each key, started at
// most once, ended as a whole at its time-out (S10).
//
// Each command is the child of a shim: this program started again as "exec-shim", in a session of
// its own. The shim holds a lock for the key, starts the command, enforces the time-out and stores
// the outcome in the run directory, so that the death or the upgrade of the agent neither ends nor
// doubles a command. Under systemd the unit needs KillMode=process for that. The run directory
// belongs on tmpfs, to one agent (as a RuntimeDirectory= of systemd it needs
// RuntimeDirectoryPreserve=yes): with it, at a reboot, goes all that is known of keys, and the
// commands are gone as well; the journal then decides what may run again (S8).
//
// What a shim that lives knows is certain: it is the subreaper of all descendants, so a daemon
// that has left the process group is found and ended too. Of a shim that was killed itself the
// command dies with it, and further descendants are found by process group and by a mark in their
// environment; one that has changed both, or whose environment may not be read (set-uid), is not
// found. Then "failed" is said of a command that may have done its work before.
//
// Concurrency: all methods may be called at once, on the same key as well, from any number of
// processes. Failure: Do says Failed only when nothing of that call runs any more, else Unknown.
package exec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"firebreak/plugins"

	"golang.org/x/sys/unix"
)

// ShimCommand is the first argument that package main answers with ShimMain.
const ShimCommand = "exec-shim"

const (
	defaultOutputLimit = 64 << 10
	maxOutputLimit     = 1 << 20
	maxGrace           = 2 * time.Second // from SIGTERM to SIGKILL
	killBound          = 2 * time.Second // for killed processes to be gone, and seen to be
	margin             = time.Second     // for a loaded machine to tell it
	maxSpawns          = 3               // shims that may end before their command was started, for one Do
)

// Config is one exec hook. Site and Agent are filled in by the one who builds the hook.
type Config struct {
	Command     []string          `toml:"command"`      // absolute, or a bare name looked up in PATH
	Env         map[string]string `toml:"env"`          // added; of the agent's own only PATH, HOME, USER, LANG, TZ and TMPDIR are passed on
	Dir         string            `toml:"dir"`          // working directory; default "/"
	RunDir      string            `toml:"run_dir"`      // of this agent alone; see DefaultRunDir
	Drill       string            `toml:"drill"`        // "native", "dry-run" or "": skipped in a drill (S7)
	OutputLimit int               `toml:"output_limit"` // bytes of stdout and stderr together; default 64 KiB
	Grace       time.Duration     `toml:"grace"`        // from SIGTERM to SIGKILL; default and most 2 s
	PowersOn    bool              `toml:"powers_on"`    // refused: S1

	Site  string `toml:"-"`
	Agent string `toml:"-"`
}

// DefaultRunDir is the run directory when none is configured: the user's own or the system's.
func DefaultRunDir() string {
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" && os.Geteuid() != 0 {
		return filepath.Join(d, "firebreak")
	}
	return "/run/firebreak"
}

// Validate tells all faults of the configuration at once. It looks at nothing but c: whether the
// command exists is asked by Probe.
func (c Config) Validate() error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	if len(c.Command) == 0 || c.Command[0] == "" {
		bad("command is empty: give the program and its arguments as a list")
	} else if p := c.Command[0]; strings.Contains(p, "/") && !filepath.IsAbs(p) {
		bad("command %q is a relative path: give an absolute one, or a bare name to be looked up in PATH", p)
	}
	for _, a := range c.Command {
		if strings.ContainsRune(a, 0) {
			bad("command holds a NUL byte in %q: remove it", a)
		}
	}
	for k, v := range c.Env {
		switch {
		case k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0):
			bad("env %q: a name is not empty and holds no '=', and neither name nor value a NUL byte", k)
		case strings.HasPrefix(k, "FIREBREAK_"):
			bad("env %q: names that begin with FIREBREAK_ are set by the hook: choose another", k)
		}
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		bad("dir %q is not absolute: give an absolute path", c.Dir)
	}
	if !filepath.IsAbs(c.RunDir) {
		bad("run_dir %q is not absolute: give a directory on tmpfs, such as %s", c.RunDir, DefaultRunDir())
	}
	if c.Drill != "" && c.Drill != "native" && c.Drill != "dry-run" {
		bad("drill %q: use \"native\" (the command looks at FIREBREAK_MARK) or \"dry-run\", or leave it out", c.Drill)
	}
	if c.OutputLimit < 0 || c.OutputLimit > maxOutputLimit {
		bad("output_limit %d: use 1 to %d bytes, or leave it out for %d", c.OutputLimit, maxOutputLimit, defaultOutputLimit)
	}
	if c.Grace < 0 || c.Grace > maxGrace {
		bad("grace %v: use at most %v, so that a command ends at its time-out", c.Grace, maxGrace)
	}
	if c.PowersOn {
		bad("powers_on: no hook switches power on; that is a person's act, at stage 0 after a reset (S1): remove it")
	}
	return errors.Join(faults...)
}

// Hook runs one configured command. Make it with New.
type Hook struct {
	name    string
	cfg     Config
	self    string
	log     *slog.Logger
	reapers sync.WaitGroup // one for each shim that this process has started
}

var _ plugins.Hook = (*Hook)(nil)

// New makes the hook. self is the program that answers ShimCommand, normally os.Executable().
// A nil log is silent.
func New(name string, cfg Config, self string, log *slog.Logger) (*Hook, error) {
	if cfg.OutputLimit == 0 {
		cfg.OutputLimit = defaultOutputLimit
	}
	if cfg.Grace == 0 {
		cfg.Grace = maxGrace
	}
	if cfg.Dir == "" {
		cfg.Dir = "/"
	}
	err := cfg.Validate()
	if !filepath.IsAbs(self) {
		err = errors.Join(err, fmt.Errorf("own program %q is not an absolute path", self))
	}
	if err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	cfg.RunDir = filepath.Clean(cfg.RunDir)
	return &Hook{name: name, cfg: cfg, self: self, log: log}, nil
}

// Probe looks whether a call could start now: the command, the run directory and the shim.
func (h *Hook) Probe(ctx context.Context) error {
	var faults []error
	if _, err := osexec.LookPath(h.cfg.Command[0]); err != nil {
		faults = append(faults, fmt.Errorf("command cannot be run: %w: install it, or correct the path or its mode", err))
	}
	if fi, err := os.Stat(h.cfg.Dir); err != nil || !fi.IsDir() {
		faults = append(faults, fmt.Errorf("dir %s is no directory (%v): make it, or correct dir", h.cfg.Dir, err))
	}
	if err := probeRunDir(h.cfg.RunDir, h.log); err != nil {
		faults = append(faults, err)
	}
	cmd := osexec.CommandContext(ctx, h.self, ShimCommand, shimProbe)
	cmd.Env = shimEnv()
	cmd.WaitDelay = time.Second
	if out, err := cmd.Output(); err != nil || string(out) != shimAnswer {
		faults = append(faults, fmt.Errorf("%s %s does not answer as the shim (%v): start the agent from its own unchanged program", h.self, ShimCommand, err))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("hook %q: %w", h.name, err)
	}
	return nil
}

func probeRunDir(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("run_dir: %w: make it writable for the agent's user", err)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("run_dir: %w", err)
	}
	if fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("run_dir %s can be written by others (mode %v): chmod go-w it, or they decide what has been done", dir, fi.Mode().Perm())
	}
	f, err := os.CreateTemp(dir, ".probe-")
	if err != nil {
		return fmt.Errorf("run_dir: %w: make it writable for the agent's user", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, 4096)); err != nil {
		return fmt.Errorf("run_dir: %w: make room on its file system", err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err == nil && fs.Type != unix.TMPFS_MAGIC {
		log.Warn("run_dir is not on tmpfs: hooks start several times slower, and what it holds outlives a reboot", "run_dir", dir)
	}
	if got, err := tryLock(f); err != nil || !got {
		return fmt.Errorf("run_dir %s: its file system cannot lock (%v): use tmpfs", dir, err)
	}
	return nil
}

// skip answers the calls for which nothing is run (S7).
func (h *Hook) skip(c plugins.Call) (plugins.Outcome, bool) {
	would := "would run " + strings.Join(h.cfg.Command, " ")
	switch {
	case c.Mark == plugins.MarkReal, c.Mark == plugins.MarkDrill && h.cfg.Drill == "native":
		return plugins.Outcome{}, false
	case c.Mark == plugins.MarkDry, c.Mark == plugins.MarkDrill && h.cfg.Drill == "dry-run":
		return plugins.Outcome{Result: plugins.Skipped, Detail: would}, true
	case c.Mark == plugins.MarkDrill:
		return plugins.Outcome{Result: plugins.Skipped, Detail: "skipped: the hook declares no drill support (S7); " + would}, true
	}
	// A mark from a later version: doing nothing is the side on which a drill stays harmless.
	return plugins.Outcome{Result: plugins.Skipped, Detail: fmt.Sprintf("skipped: the mark %v is not known", c.Mark)}, true
}

// Close waits until the shims that this process has started have ended, or ctx ends. It ends
// none of them: they are meant to outlive the agent.
func (h *Hook) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() { h.reapers.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hook %q: commands still run under their keys; a later call attaches to them: %w", h.name, ctx.Err())
	}
}
