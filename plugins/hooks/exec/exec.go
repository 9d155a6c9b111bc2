// Package exec is the hook that runs a local command: one process group for each key, started at
// most once, ended as a whole at its time-out (S10).
//
// There are two ways. With "action" the hook asks the helper, a small program of its own, for an
// action of the helper's own list, over a Unix socket: the agent names it, and has no say in what is
// run. With "command" it runs a command itself. Both run it through the same Runner.
//
// Each command is the child of a shim (package shim): firebreak-shim, or the program of the Runner started
// again as "exec-shim", in a session of its own. The shim holds a lock for the key, starts the command, enforces the time-out and stores
// the outcome in the run directory, so that the death or the upgrade of agent or helper neither ends
// nor doubles a command. Under systemd the units need KillMode=process for that. The run directory
// belongs on tmpfs, to one owner (as a RuntimeDirectory= of systemd it needs
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
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/hooks/exec/shim"

	"golang.org/x/sys/unix"
)

// Limits that the agent's own configuration and the helper's list share.
const (
	DefaultOutputLimit = 64 << 10
	MaxOutputLimit     = 1 << 20
	MaxGrace           = 2 * time.Second // from SIGTERM to SIGKILL
)

const (
	margin    = time.Second // for a loaded machine to tell it
	endBound  = MaxGrace + shim.KillBound + margin
	maxSpawns = 3 // shims that may end before their command was started, for one Do
)

// Config is one exec hook. Site and Agent are filled in by the one who builds the hook.
type Config struct {
	Action    string `toml:"action"`     // of the helper's list; or Command
	Helper    string `toml:"helper"`     // its socket; default DefaultHelper
	HelperUID uint32 `toml:"helper_uid"` // who it must be; default 0, root

	Command     []string          `toml:"command"`      // absolute, or a bare name looked up in PATH
	Env         map[string]string `toml:"env"`          // added; of the agent's own only PATH, HOME, USER, LANG, TZ and TMPDIR are passed on
	Dir         string            `toml:"dir"`          // working directory; default "/"
	RunDir      string            `toml:"run_dir"`      // of this agent alone; see DefaultRunDir
	Drill       string            `toml:"drill"`        // "native", "dry-run" or "": skipped in a drill (S7)
	OutputLimit int               `toml:"output_limit"` // bytes of stdout and stderr together; default 64 KiB
	Grace       time.Duration     `toml:"grace"`        // from SIGTERM to SIGKILL; default and most 2 s
	PowersOn    bool              `toml:"powers_on"`    // only the order of an engineer calls it (S1)

	Irreversible bool `toml:"irreversible"` // a step of stage 3 or 4 only (S15)

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

// Traits is what the command or action does; it has no targets (plugins.Declarer).
func (c Config) Traits(target string) (plugins.Traits, error) {
	if target != "" {
		return plugins.Traits{}, fmt.Errorf("target %q: a hook of kind exec has none: leave it out, and make a hook for each thing", target)
	}
	return plugins.Traits{Irreversible: c.Irreversible, PowersOn: c.PowersOn, Drill: c.Drill}, nil
}

// Note is what check says of a hook that works and could work better.
func (c Config) Note() string {
	if c.Action != "" {
		return ""
	}
	return "its command runs with the agent's rights; an action of firebreak-helper is the recommended way"
}

// Validate tells all faults of the configuration at once. It looks at nothing but c: whether the
// command exists is asked by Probe.
func (c Config) Validate() error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	switch {
	case c.Action != "" && len(c.Command) > 0:
		bad("action and command are both there: name an action of the helper (recommended), or give a command, not both")
	case c.Action != "":
		c.validateAction(bad)
	default:
		c.validateCommand(bad)
	}
	if c.Drill != "" && c.Drill != "native" && c.Drill != "dry-run" {
		bad("drill %q: use \"native\" (the command looks at FIREBREAK_MARK) or \"dry-run\", or leave it out", c.Drill)
	}
	if c.PowersOn && (c.Drill == "native" || c.Irreversible) {
		bad("powers_on: what switches power on is no part of a drill or a step (S1): take drill = \"native\" and irreversible out")
	}
	return errors.Join(faults...)
}

func (c Config) validateAction(bad func(string, ...any)) {
	if !GoodAction(c.Action) {
		bad("action %q cannot be a name: use up to 64 letters, digits, - and _, a letter or digit first", c.Action)
	}
	if c.Helper != "" && !filepath.IsAbs(c.Helper) {
		bad("helper %q is not absolute: give the path of the helper's socket, such as %s", c.Helper, DefaultHelper)
	}
	for key, set := range map[string]bool{"env": len(c.Env) > 0, "dir": c.Dir != "", "output_limit": c.OutputLimit != 0, "grace": c.Grace != 0} {
		if set {
			bad("%s belongs to the action, in the helper's own list: write it there", key)
		}
	}
}

// GoodAction tells whether s can be the name of an action.
func GoodAction(s string) bool {
	for i, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || i > 0 && (r == '-' || r == '_')) {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

func (c Config) validateCommand(bad func(string, ...any)) {
	if len(c.Command) == 0 || c.Command[0] == "" {
		bad("command is empty: name an action of the helper (recommended), or give the program and its arguments as a list")
	} else if p := c.Command[0]; strings.Contains(p, "/") && !filepath.IsAbs(p) {
		bad("command %q is a relative path: give an absolute one, or a bare name to be looked up in PATH", p)
	}
	if c.Helper != "" || c.HelperUID != 0 {
		bad("helper and helper_uid go with action, not with command: name an action, or remove them")
	}
	for _, a := range c.Command {
		if strings.ContainsRune(a, 0) {
			bad("command holds a NUL byte in %q: remove it", a)
		}
	}
	for k, v := range c.Env {
		if err := GoodEnv(k, v); err != nil {
			bad("%w", err)
		}
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		bad("dir %q is not absolute: give an absolute path", c.Dir)
	}
	if !filepath.IsAbs(c.RunDir) {
		bad("run_dir %q is not absolute: give a directory on tmpfs, such as %s", c.RunDir, DefaultRunDir())
	}
	if c.OutputLimit < 0 || c.OutputLimit > MaxOutputLimit {
		bad("output_limit %d: use 1 to %d bytes, or leave it out for %d", c.OutputLimit, MaxOutputLimit, DefaultOutputLimit)
	}
	if c.Grace < 0 || c.Grace > MaxGrace {
		bad("grace %v: use at most %v, so that a command ends at its time-out", c.Grace, MaxGrace)
	}
}

// GoodEnv says what is wrong with a variable that is to be added to a command's environment.
func GoodEnv(name, value string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0):
		return fmt.Errorf("env %q: a name is not empty and holds no '=', and neither name nor value a NUL byte", name)
	case strings.HasPrefix(name, "FIREBREAK_"):
		return fmt.Errorf("env %q: names that begin with FIREBREAK_ are set by the hook: choose another", name)
	}
	return nil
}

// Hook runs one configured command or action. Make it with New.
type Hook struct {
	name string
	cfg  Config
	run  *Runner // of a command; nil: through the helper
	log  *slog.Logger
}

var (
	_ plugins.Hook     = (*Hook)(nil)
	_ plugins.Poiser   = (*Hook)(nil)
	_ plugins.Declarer = Config{}
	_ plugins.Keeper   = (*Hook)(nil)
)

// New makes the hook. self is the program that answers shim.Command, normally os.Executable(); an
// action needs none. A nil log is silent.
func New(name string, cfg Config, self string, log *slog.Logger) (*Hook, error) {
	err := cfg.Validate()
	if cfg.Action == "" && !filepath.IsAbs(self) {
		err = errors.Join(err, fmt.Errorf("own program %q is not an absolute path", self))
	}
	if err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	h := &Hook{name: name, cfg: cfg, log: log.With("hook", name)}
	if cfg.Action != "" {
		h.cfg.Helper = cfg.HelperSocket()
		return h, nil
	}
	if cfg.OutputLimit == 0 {
		h.cfg.OutputLimit = DefaultOutputLimit
	}
	if cfg.Grace == 0 {
		h.cfg.Grace = MaxGrace
	}
	if cfg.Dir == "" {
		h.cfg.Dir = "/"
	}
	h.cfg.RunDir = filepath.Clean(cfg.RunDir)
	h.run = &Runner{Dir: h.cfg.RunDir, Self: self, Small: SmallBeside(self), Log: h.log}
	return h, nil
}

// Do runs the command or action of this hook under the key of c, or attaches to it.
func (h *Hook) Do(ctx context.Context, c plugins.Call, _ func(plugins.Evidence)) plugins.Outcome {
	a := Ask{ID: c.ID(), AskedNs: shim.MonoNow(), Timeout: c.Timeout}
	if o, yes := h.skip(c); yes {
		return o
	}
	if h.run == nil {
		return h.ask(ctx, a, c)
	}
	return h.run.Do(ctx, a, func() (Task, error) { return h.task(c) })
}

// task is what the hook's own shim is to run.
func (h *Hook) task(c plugins.Call) (Task, error) {
	path, err := osexec.LookPath(h.cfg.Command[0])
	if err != nil {
		return Task{}, fmt.Errorf("%w: install it, or correct the path or its mode", err)
	}
	b := c.Body(h.cfg.Site, h.cfg.Agent)
	stdin, err := json.Marshal(b)
	if err != nil {
		return Task{}, fmt.Errorf("body of the call: %w", err)
	}
	return Task{Path: path, Args: h.cfg.Command, Env: h.environ(b, c.Timeout), Dir: h.cfg.Dir, Stdin: append(stdin, '\n'),
		Timeout: c.Timeout, Grace: h.cfg.Grace, OutputLimit: h.cfg.OutputLimit}, nil
}

// Probe looks whether a call could start now: the command, the run directory and the shim; or the
// helper and its action.
func (h *Hook) Probe(ctx context.Context) error {
	if h.run == nil {
		if err := h.probeHelper(ctx); err != nil {
			return fmt.Errorf("hook %q: %w", h.name, err)
		}
		return nil
	}
	var faults []error
	if _, err := osexec.LookPath(h.cfg.Command[0]); err != nil {
		faults = append(faults, fmt.Errorf("command cannot be run: %w: install it, or correct the path or its mode", err))
	}
	if fi, err := os.Stat(h.cfg.Dir); err != nil || !fi.IsDir() {
		faults = append(faults, fmt.Errorf("dir %s is no directory (%v): make it, or correct dir", h.cfg.Dir, err))
	}
	if err := errors.Join(append(faults, h.run.Probe(ctx))...); err != nil {
		return fmt.Errorf("hook %q: %w", h.name, err)
	}
	return nil
}

// Probe looks whether a task could be started: the run directory and the shim.
func (r *Runner) Probe(ctx context.Context) error {
	err := probeRunDir(r.Dir, r.Log)
	r.TryOut(ctx)
	if r.small.Load() && r.memory.have() {
		return err // this program is not needed for a call, and a disk that hangs under it would hold up all of it
	}
	if ok, shimErr := answers(ctx, r.Self, r.Self); !ok {
		err = errors.Join(err, fmt.Errorf("%s %s does not answer as the shim (%v): start the program anew, from its own unchanged file", r.Self, shim.Command, shimErr))
	}
	return err
}

func probeRunDir(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("run_dir: %w: make it writable for its owner", err)
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
	if got, err := shim.TryLock(f); err != nil || !got {
		return fmt.Errorf("run_dir %s: its file system cannot lock (%v): use tmpfs", dir, err)
	}
	return nil
}

// skip answers the calls for which nothing is run (S7).
func (h *Hook) skip(c plugins.Call) (plugins.Outcome, bool) {
	would := "would run " + strings.Join(h.cfg.Command, " ")
	if h.run == nil {
		would = "would run the action " + h.cfg.Action
	}
	if h.cfg.PowersOn && !c.Key.Energises() {
		return plugins.Outcome{Result: plugins.Failed, Detail: "not run: it switches power on, and only the order of an engineer does that, at stage 0 after a reset (S1)"}, true
	}
	return c.Spared(h.cfg.Drill, would)
}

// StandDown ends the shim that is kept ready.
func (h *Hook) StandDown() {
	if h.run != nil {
		h.run.cool()
	}
}

// Close waits until the shims that this process has started have ended, or ctx ends. It ends none
// of them: they are meant to outlive the agent.
func (h *Hook) Close(ctx context.Context) error {
	if h.run == nil {
		return nil
	}
	if err := h.run.Wait(ctx); err != nil {
		return fmt.Errorf("hook %q: %w", h.name, err)
	}
	return nil
}
