package nut

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime/debug"
	"time"

	"firebreak/plugins"
)

// Bounds of the server.
const (
	listenPause = 50 * time.Millisecond // before the port is tried again; it doubles
	listenMost  = 2 * time.Second
	stopBound   = time.Second // for the state to be written at the end
)

// keepAlive finds a host whose cable has burnt, within 30 s.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Run answers on the ports until ctx ends, and gives the evidence that comes after calls have
// ended. A port that cannot be opened is tried again for ever; a part that panics ends Run, which is
// started again. At the end the connections are closed as they stand: OB is not taken back, because
// whoever stops the agent in that state has been told what follows (S20).
func (h *Hook) Run(ctx context.Context, seen func(plugins.Evidence)) error {
	h.restore(ctx)
	parts, ctx := plugins.NewParts(ctx)
	for _, at := range h.cfg.Listen {
		parts.Go(func() { h.listen(ctx, at, nil, parts) })
	}
	for _, a := range h.cfg.Alias {
		parts.Go(func() { h.listen(ctx, a.Listen, h.zone(a.UPS), parts) })
	}
	parts.Go(func() { h.tellLate(ctx, seen) })
	err := parts.Wait()
	h.mu.Lock()
	h.since = time.Time{}
	h.changedLocked()
	h.mu.Unlock()
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopBound)
	defer cancel()
	for _, s := range h.stores {
		if err := s.wait(wctx); err != nil {
			h.log.Error("the state is not kept", "err", err)
		}
	}
	return err
}

// guarded keeps a fault in the talk with one client from ending that with others.
func (h *Hook) guarded(f func()) {
	defer func() {
		if p := recover(); p != nil {
			h.log.Error("the talk with a client panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	f()
}

// listen keeps one port open and serves what connects to it. only, if not nil, is the one UPS
// that is shown there, to the published account.
func (h *Hook) listen(ctx context.Context, at string, only *zone, parts *plugins.Parts) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	pause := listenPause
	for ctx.Err() == nil {
		ln, err := lc.Listen(ctx, "tcp", at)
		h.opened(at, ln, err)
		if err == nil {
			pause = listenPause
			stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
			err = h.accept(ctx, ln, only, parts)
			stop()
			_ = ln.Close()
			if ctx.Err() != nil {
				return
			}
			h.opened(at, nil, err)
		}
		select {
		case <-time.After(pause*4/5 + rand.N(pause*2/5+1)):
		case <-ctx.Done():
		}
		pause = min(2*pause, listenMost)
	}
}

// opened notes how a port stands.
func (h *Hook) opened(at string, ln net.Listener, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ports[at] = err
	h.sayLocked("port "+at, err, "a port is not listened on; it is tried again")
	if ln == nil {
		return
	}
	h.bound[at] = ln.Addr().String()
	if h.since.IsZero() {
		h.since = time.Now()
	}
	h.changedLocked()
	h.log.Info("the NUT server listens", "address", ln.Addr().String())
}

// accept serves connections until the listener fails.
func (h *Hook) accept(ctx context.Context, ln net.Listener, only *zone, parts *plugins.Parts) error {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err // out of files, or closed: listen opens it again after a pause
		}
		c := h.newConn(nc, only)
		if !h.admit(c) {
			_ = nc.Close()
			continue
		}
		parts.Go(func() { h.serve(ctx, c) })
	}
}

// admit enters a connection, within the bounds. When the server is full, one that is no host's and
// has been silent for longest makes room: monitoring must not keep a host from being told.
func (h *Hook) admit(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	same := 0
	var idle *conn
	for o := range h.conns {
		if o.addr == c.addr {
			same++
		}
		if len(o.counts) == 0 && !o.evicted && (idle == nil || o.last.Before(idle.last)) {
			idle = o
		}
	}
	full := len(h.conns) >= h.cfg.MaxClients
	switch {
	case same >= h.cfg.PerAddress:
		h.sayLocked("same "+c.addr.String(), errors.New("too many"), "connections from one address are refused: raise max_per_address if that is right", "client", c.addr.String())
		return false
	case full && idle == nil:
		h.sayLocked("full", errors.New("too many"), "connections are refused, all there are belong to hosts: raise max_clients", "client", c.addr.String())
		return false
	case full:
		idle.evicted = true // its goroutine takes it out; until then the bound is passed by those under way
		_ = idle.raw.Close()
		delete(h.conns, idle)
	}
	h.conns[c] = struct{}{}
	return true
}

// sayLocked logs a fault when it is new, and not again while it stays the same.
func (h *Hook) sayLocked(what string, err error, text string, args ...any) {
	if err == nil {
		delete(h.said, what)
		return
	}
	if len(h.said) >= 1024 {
		clear(h.said)
	}
	if h.said[what] != err.Error() {
		h.said[what] = err.Error()
		h.log.Warn(text, append(args, "what", what, "err", err)...)
	}
}

// addresses are all that are to be listened on.
func (h *Hook) addresses() []string {
	out := append([]string(nil), h.cfg.Listen...)
	for _, a := range h.cfg.Alias {
		out = append(out, a.Listen)
	}
	return out
}

// Bound tells where an address of the configuration is listened on; empty: it is not. It tells the
// port when the configuration says 0.
func (h *Hook) Bound(at string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ports[at] != nil {
		return ""
	}
	return h.bound[at]
}

// Client is a connection as status shows it.
type Client struct {
	UPS      string // that it counts as a host of; empty: it only looks
	Addr     netip.Addr
	User     string
	LoggedIn bool // false: it counts because its address is listed, as of clients that never log in
	TLS      bool
	SawFSD   bool
	Since    time.Time
}

// Clients lists the connections.
func (h *Hook) Clients() []Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []Client
	for c := range h.conns {
		k := Client{Addr: c.addr, User: c.name, TLS: c.secure, Since: c.since, LoggedIn: c.login != nil}
		for z := range c.counts {
			k.UPS, k.SawFSD = z.cfg.Name, c.told[z]
		}
		out = append(out, k)
	}
	return out
}

func loadCert(cert, key string) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert and key: %w", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}, nil
}
