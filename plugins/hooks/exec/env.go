package exec

import (
	"fmt"
	"os"
	"strings"
	"time"

	"firebreak/plugins"
)

// DefaultPath is what a command finds its programs in when nothing else is said.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environ is all that a command of the agent's own shim sees: never the agent's own variables, which
// may hold secrets.
func (h *Hook) environ(b plugins.Body, timeout time.Duration) []string {
	env := []string{}
	for _, n := range []string{"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"} {
		v, ok := os.LookupEnv(n)
		if !ok && n == "PATH" {
			v, ok = DefaultPath, true
		}
		if _, own := h.cfg.Env[n]; ok && !own {
			env = append(env, n+"="+v)
		}
	}
	for k, v := range h.cfg.Env {
		env = append(env, k+"="+v)
	}
	return append(env, CallEnv(b, timeout)...)
}

// CallEnv are the variables that tell a command of its call.
func CallEnv(b plugins.Body, timeout time.Duration) []string {
	var env []string
	for _, kv := range [][2]string{
		{"KEY", b.Key}, {"PLAN", b.Plan}, {"ZONE", b.Zone}, {"STAGE", b.Stage}, {"STEP", b.Step},
		{"EPISODE", fmt.Sprint(b.Episode)}, {"ATTEMPT", fmt.Sprint(b.Attempt)}, {"UNDO", fmt.Sprint(b.Undo)},
		{"MARK", b.Mark}, {"JOURNALED", fmt.Sprint(b.Journaled)}, {"TIMEOUT", timeout.String()},
		{"SITE", b.Site}, {"AGENT", b.Agent},
	} {
		env = append(env, "FIREBREAK_"+kv[0]+"="+strings.ReplaceAll(kv[1], "\x00", ""))
	}
	return env
}
