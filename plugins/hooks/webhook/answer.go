package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"firebreak/plugins"
)

// answer is what one request has come to.
type answer struct {
	status int // 0: none
	header http.Header
	text   string
	wait   time.Duration // asked for by Retry-After
	err    error
}

// refused is an answer that settles that this call is not done. A conflict (409) does not: by the
// draft of the Idempotency-Key header it says that a call under this key is being worked on.
func (a answer) refused() bool {
	switch a.status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return a.status >= 300 && a.status < 500
}

func (a answer) taken() bool { return a.status >= 200 && a.status < 300 }

func (a answer) say() string {
	if a.status == 0 {
		return fmt.Sprint(a.err)
	}
	s := fmt.Sprintf("%d %s", a.status, http.StatusText(a.status))
	if line := strings.Join(strings.Fields(a.text), " "); line != "" {
		s += ": " + line[:min(len(line), 200)]
	}
	return s
}

func (a answer) outcome(r plugins.Result, format string, args ...any) plugins.Outcome {
	return plugins.Outcome{Result: r, ExitCode: a.status, Output: a.text, Detail: fmt.Sprintf(format, args...)}
}

// settle gives the outcome and the evidence of an answer that settles a call. What a target says
// in words, {"state": "done"}, counts for more than its status; words that are not known count
// for nothing.
func (a answer) settle() (o plugins.Outcome, ev *plugins.Evidence, settled bool) {
	if !a.taken() && !a.refused() {
		return o, nil, false
	}
	said, _ := field([]byte(a.text), "state")
	switch {
	case said == "declined":
		ev = &plugins.Evidence{Name: plugins.SeenDecline}
		o = a.outcome(plugins.Failed, "the target declined: %s", a.say())
	case a.refused():
		return a.outcome(plugins.Failed, "the target refused: %s", a.say()), nil, true
	case said == "done":
		ev = &plugins.Evidence{Name: plugins.SeenDone, OK: true}
	case said == "accepted", a.status == http.StatusAccepted:
		ev = &plugins.Evidence{Name: plugins.SeenAccept, OK: true}
	}
	if said != "declined" {
		o = a.outcome(plugins.Done, "%s", http.StatusText(a.status))
	}
	if ev != nil {
		ev.Detail = a.say()
	}
	return o, ev, true
}

// field finds a text, number or truth value in JSON by its path, "server.state".
func field(body []byte, path string) (string, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return "", false
	}
	for _, name := range strings.Split(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return "", false
		}
		v = m[name]
	}
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}
