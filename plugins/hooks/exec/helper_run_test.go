package exec

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binaryDir names the directory, in the environment, that the binary is built in.
const binaryDir = "FIREBREAK_TEST_BINARIES"

// helperBinary builds bin/firebreak-helper once, as make build does it.
var helperBinary = sync.OnceValues(func() (string, error) { return built("firebreak-helper", "./helper") })

// shimBinary builds bin/firebreak-shim once.
var shimBinary = sync.OnceValues(func() (string, error) { return built(smallName, "./shim/standalone") })

func built(name, dir string) (string, error) {
	bin := filepath.Join(os.Getenv(binaryDir), name)
	cmd := osexec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, dir)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return bin, nil
}

// helper is a running firebreak-helper with one action, "act".
type helper struct {
	b      *bench
	binary string
	list   string
	run    string
	cmd    *osexec.Cmd
	allow  string
	said   *lockedBuffer
}

// lockedBuffer takes what the helpers of one test say.
type lockedBuffer struct {
	mu sync.Mutex
	s  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.String()
}

// startHelper gives the command of cfg to a helper, and makes cfg name it there.
func startHelper(b *bench, cfg *Config) *helper {
	b.t.Helper()
	_, err := shimBinary() // beside the helper, as it is installed
	if err != nil {
		b.t.Fatal(err)
	}
	bin, err := helperBinary()
	if err != nil {
		b.t.Fatal(err)
	}
	h := &helper{b: b, binary: bin, list: filepath.Join(b.work, "actions.toml"), run: cfg.RunDir, allow: fmt.Sprint(os.Geteuid()), said: new(lockedBuffer)}
	h.write(actionOf(b.t, *cfg))
	*cfg = Config{Action: "act", Helper: filepath.Join(h.run, "helper.sock"), HelperUID: uint32(os.Geteuid()),
		RunDir: cfg.RunDir, Drill: cfg.Drill, Site: cfg.Site, Agent: cfg.Agent}
	h.start()
	b.t.Cleanup(func() {
		h.stop(syscall.SIGTERM)
		if b.t.Failed() {
			b.t.Logf("the helper said:\n%s", h.said)
		}
	})
	return h
}

// actionOf writes the command of a configuration as an action. JSON's strings are TOML's.
func actionOf(t testing.TB, cfg Config) string {
	t.Helper()
	q := func(v any) string {
		js, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(js)
	}
	program, err := osexec.LookPath(cfg.Command[0])
	if err != nil {
		program = cfg.Command[0]
	}
	text := fmt.Sprintf("[[action]]\nname = \"act\"\nprogram = %s\nargs = %s\nuser = \"%d\"\nmax_timeout = \"1m\"\ngrace = %q\n",
		q(program), q(cfg.Command[1:]), os.Geteuid(), cfg.Grace)
	var env []string
	for k, v := range cfg.Env {
		env = append(env, k+" = "+q(v))
	}
	text += "env = { " + strings.Join(env, ", ") + " }\n"
	if cfg.OutputLimit > 0 {
		text += fmt.Sprintf("output_limit = %d\n", cfg.OutputLimit)
	}
	if cfg.Drill == "native" {
		text += "drill = \"native\"\n"
	}
	return text
}

func (h *helper) write(text string) {
	h.b.t.Helper()
	if err := os.WriteFile(h.list, []byte(text), 0o600); err != nil {
		h.b.t.Fatal(err)
	}
}

func (h *helper) start() {
	h.b.t.Helper()
	h.cmd = osexec.Command(h.binary, "run", "-c", h.list, "-run", h.run, "-allow", h.allow)
	h.cmd.Stderr = io.Writer(h.said)
	// What a shim inherits of the pipe is nothing: it has its own standard error.
	h.cmd.WaitDelay = time.Second
	if err := h.cmd.Start(); err != nil {
		h.b.t.Fatal(err)
	}
	h.await()
}

// reload has the helper read its list again, and waits for its word.
func (h *helper) reload(word string) {
	h.b.t.Helper()
	before := strings.Count(h.said.String(), word)
	if err := h.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		h.b.t.Fatal(err)
	}
	h.until(word, func() bool { return strings.Count(h.said.String(), word) > before })
}

// await waits until somebody answers on the socket.
func (h *helper) await() {
	h.b.t.Helper()
	h.until("comes up", func() bool {
		c, err := net.Dial("unix", filepath.Join(h.run, "helper.sock"))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (h *helper) until(what string, ok func() bool) {
	h.b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-late:
			h.b.t.Fatalf("the helper does not come to %q; it said:\n%s", what, h.said)
		}
	}
}

// stop ends the helper's own process, and none of its commands.
func (h *helper) stop(sig syscall.Signal) {
	_ = h.cmd.Process.Signal(sig)
	_ = h.cmd.Wait()
}
