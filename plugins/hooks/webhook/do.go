package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"firebreak/plugins"
)

// maxWait bounds what a Retry-After may ask for: a fire does not wait.
const maxWait = 5 * time.Second

// Do posts the call until it is answered, or its time-out passes.
func (h *Hook) Do(ctx context.Context, c plugins.Call, _ func(plugins.Evidence)) plugins.Outcome {
	begin := time.Now()
	would := "would post to " + h.url.Redacted()
	switch {
	case c.Mark == plugins.MarkDry, c.Mark == plugins.MarkDrill && h.cfg.Drill == "dry-run":
		return plugins.Outcome{Result: plugins.Skipped, Detail: would}
	case c.Mark == plugins.MarkDrill && h.cfg.Drill != "native":
		return plugins.Outcome{Result: plugins.Skipped, Detail: "skipped: the hook declares no drill support (S7); " + would}
	case c.Mark > plugins.MarkDry:
		return plugins.Outcome{Result: plugins.Skipped, Detail: fmt.Sprintf("skipped: the mark %v is not known", c.Mark)}
	case c.Timeout <= 0:
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not sent: the time-out %v is not above zero", c.Timeout)}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	o := h.flights.do(ctx, c.ID(), func() plugins.Outcome { return h.post(ctx, c) })
	o.Elapsed = time.Since(begin)
	return o
}

// event is a CloudEvents 1.0 event in structured JSON. It has no time: a target that compares the
// bodies of one Idempotency-Key must find them the same after a restart of the agent too. When a
// try was made is in webhook-timestamp.
type event struct {
	SpecVersion string       `json:"specversion"`
	ID          string       `json:"id"`
	Source      string       `json:"source"`
	Type        string       `json:"type"`
	Subject     string       `json:"subject"`
	ContentType string       `json:"datacontenttype"`
	Mark        string       `json:"firebreakmark"` // an extension attribute: real, drill
	Data        plugins.Body `json:"data"`
}

func (h *Hook) body(c plugins.Call) ([]byte, error) {
	b := c.Body(h.cfg.Site, h.cfg.Agent)
	e := event{
		SpecVersion: "1.0", ID: b.Key, Type: "firebreak.step.start", Mark: b.Mark, ContentType: "application/json", Data: b,
		Source:  "firebreak/" + url.PathEscape(h.cfg.Site) + "/" + url.PathEscape(b.Zone) + "/" + url.PathEscape(h.cfg.Agent),
		Subject: b.Plan + "/" + b.Stage + "/" + b.Step,
	}
	if b.Undo {
		e.Type = "firebreak.step.undo"
	}
	return json.Marshal(e)
}

// answer is what one try has come to.
type answer struct {
	status int // 0: none
	text   string
	wait   time.Duration // asked for by Retry-After
	err    error
}

func (h *Hook) post(ctx context.Context, c plugins.Call) plugins.Outcome {
	body, err := h.body(c)
	if err != nil {
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not sent: body: %v", err)}
	}
	var last answer
	for n := 0; ; n++ {
		a := h.try(ctx, c, body)
		if a.status != 0 || ctx.Err() == nil || n == 0 {
			last = a // a try that was only cut off by the end of the call tells less than the one before
		}
		switch {
		case a.status >= 200 && a.status < 300:
			return a.outcome(plugins.Done, "%s", http.StatusText(a.status))
		case a.refused():
			return a.outcome(plugins.Failed, "the target refused: %s", a.say())
		}
		pause := max(h.pauses[min(n, len(h.pauses)-1)], min(a.wait, maxWait))
		pause = pause*4/5 + rand.N(pause*2/5+1) // jitter of a fifth to both sides
		select {
		case <-ctx.Done():
			return last.outcome(plugins.Unknown, "no answer that settles it in %d tries, the last: %s; call again under the same key", n+1, last.say())
		case <-time.After(pause):
		}
	}
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

func (h *Hook) try(ctx context.Context, c plugins.Call, body []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.TryTimeout)
	defer cancel()
	secret, err := h.secrets.read()
	if secret == nil {
		return answer{err: err}
	}
	if err != nil {
		h.log.Warn("secrets cannot be read, the last ones are used", "hook", h.name, "err", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for k, v := range h.cfg.Headers {
		req.Header.Set(k, v)
	}
	for k, v := range secret {
		req.Header[k] = v
	}
	for k, v := range map[string]string{
		"Content-Type": "application/cloudevents+json", "User-Agent": "firebreak", "Firebreak-Mark": c.Mark.String(),
		"Idempotency-Key": c.ID(), "Webhook-Id": c.ID(), "Webhook-Timestamp": strconv.FormatInt(time.Now().Unix(), 10),
	} {
		req.Header.Set(k, v)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // it would repeat the URL, which may hold what a log should not
			err = ue.Err
		}
		return answer{err: err}
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, answerLimit)) // the status has told what counts
	a := answer{status: resp.StatusCode, text: string(text)}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		a.wait = min(time.Duration(s), maxWait/time.Second) * time.Second
	}
	return a
}
