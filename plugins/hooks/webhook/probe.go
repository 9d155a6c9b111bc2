package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Probe tells whether a call would work now. With probe_url it asks the target: it is reached, it
// takes the secrets, it has the version. Without, it reaches the target as a call would, TLS
// included, but sends no request: what HEAD or OPTIONS would do there is not known.
func (h *Hook) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*dialBound)
	defer cancel()
	secret, secretErr := h.secrets.read()
	var err error
	if h.cfg.ProbeURL == "" || !secret.whole {
		err = h.reach(ctx)
	} else {
		err = h.ask(ctx, secret.header)
	}
	if err = errors.Join(secretErr, err); err != nil {
		return fmt.Errorf("hook %q: %w", h.name, err)
	}
	return nil
}

func (h *Hook) reach(ctx context.Context) error {
	c, err := h.dial(ctx, h.address(), h.url.Scheme == "https")
	if err != nil {
		return err
	}
	return c.Close()
}

func (h *Hook) ask(ctx context.Context, secret http.Header) error {
	a := h.send(ctx, http.MethodGet, h.cfg.ProbeURL, nil, h.cfg.Headers, secret)
	switch {
	case a.status == 0:
		return fmt.Errorf("probe_url: %w", a.err)
	case a.status == http.StatusUnauthorized, a.status == http.StatusForbidden:
		return fmt.Errorf("the target refuses the credentials (%s): renew what token_file or headers_file holds", a.say())
	case !a.taken():
		return fmt.Errorf("probe_url answers %s, want 2xx: look at the target, or correct probe_url", a.say())
	case h.cfg.ProbeVersion == "":
		return nil
	}
	where, v := h.cfg.ProbeHeader, a.header.Get(h.cfg.ProbeHeader)
	if h.cfg.ProbeField != "" {
		where = h.cfg.ProbeField
		v, _ = field([]byte(a.text), h.cfg.ProbeField)
	}
	if v != h.cfg.ProbeVersion && !strings.HasPrefix(v, h.cfg.ProbeVersion+".") {
		return fmt.Errorf("the target has version %.100q (%s), want %q: try the call against it, then correct probe_version", v, where, h.cfg.ProbeVersion)
	}
	return nil
}
