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
	"net/http/httptrace"
	"net/url"
	"strconv"
	"time"

	"firebreak/plugins"
)

// maxWait bounds what a Retry-After may ask for: a fire does not wait.
const maxWait = 5 * time.Second

// Do posts the call until it is answered, or its time-out passes.
func (h *Hook) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	begin := time.Now()
	if seen == nil {
		seen = func(plugins.Evidence) {}
	}
	if o, spared := c.Spared(h.cfg.Drill, "would post to "+h.url.Redacted()); spared {
		return o
	}
	if c.Timeout <= 0 {
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not sent: the time-out %v is not above zero", c.Timeout)}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	o := h.flights.Do(ctx, c.ID(), seen, func(tell func(plugins.Evidence)) plugins.Outcome { return h.post(ctx, c, tell) })
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

// post tries until an answer settles it. From the first try on, the call is verified: one that was
// never answered may be under way all the same.
func (h *Hook) post(ctx context.Context, c plugins.Call, tell func(plugins.Evidence)) plugins.Outcome {
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
		if o, ev, settled := a.settle(); settled {
			if o.Result == plugins.Failed {
				h.watches.drop(c.ID())
			} else {
				h.watch(c)
			}
			if ev != nil {
				ev.Key = c.Key
				tell(*ev)
			}
			return o
		}
		h.watch(c)
		pause := max(h.pauses[min(n, len(h.pauses)-1)], min(a.wait, maxWait))
		pause = pause*4/5 + rand.N(pause*2/5+1) // jitter of a fifth to both sides
		select {
		case <-ctx.Done():
			return last.outcome(plugins.Unknown, "no answer that settles it in %d tries, the last: %s; call again under the same key", n+1, last.say())
		case <-time.After(pause):
		}
	}
}

func (h *Hook) try(ctx context.Context, c plugins.Call, body []byte) answer {
	secret, err := h.readSecrets()
	if err != nil {
		return answer{err: err}
	}
	now := time.Now().Unix()
	own := http.Header{}
	for k, v := range map[string]string{
		"Content-Type": "application/cloudevents+json", "Firebreak-Mark": c.Mark.String(),
		"Idempotency-Key": c.ID(), "Webhook-Id": c.ID(), "Webhook-Timestamp": strconv.FormatInt(now, 10),
	} {
		own.Set(k, v)
	}
	if len(secret.keys) > 0 {
		own.Set("Webhook-Signature", sign(secret.keys, c.ID(), now, body))
	}
	return h.send(ctx, http.MethodPost, h.cfg.URL, body, h.cfg.Headers, secret.header, own)
}

// readSecrets gives the newest secrets that are known; an error only when there are none.
func (h *Hook) readSecrets() (known, error) {
	k, err := h.secrets.read()
	if err != nil && k.whole {
		h.log.Warn("secrets cannot be read, the last ones are used", "hook", h.name, "err", err)
		err = nil
	}
	return k, err
}

// send makes one request within the time of one try.
func (h *Hook) send(ctx context.Context, method, to string, body []byte, plain map[string]string, headers ...http.Header) answer {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.TryTimeout)
	defer cancel()
	end, _ := ctx.Deadline() // that of the call may be nearer
	within, connected := time.Until(end).Round(time.Millisecond), false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected = true }})
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return answer{err: errors.New("the URL cannot be asked: correct the configuration")}
	}
	for k, v := range plain {
		req.Header.Set(k, v)
	}
	req.Header.Set("User-Agent", "firebreak")
	for _, add := range headers {
		for k, v := range add {
			req.Header[k] = v
		}
	}
	resp, err := h.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) { // it would repeat the URL, which may hold what a log should not
			err = ue.Err
		}
		switch late := errors.Is(err, context.DeadlineExceeded); {
		case late && connected:
			err = fmt.Errorf("no answer within %v: %w: look at the target", within, err)
		case late:
			err = fmt.Errorf("no connection within %v: %w: look at the network, the name service and the target", within, err)
		}
		return answer{err: err}
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, answerLimit)) // the status has told what counts
	a := answer{status: resp.StatusCode, header: resp.Header, text: string(text)}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		a.wait = min(time.Duration(s), maxWait/time.Second) * time.Second
	}
	return a
}
