// Package console is a page for the engineer at the box or behind an ssh tunnel: what the running agent says of itself,
// read-only. `firebreak console` serves it from a process of its own, which has no more of the agent than the answers
// to two questions.
//
// Concurrency: one goroutine asks, once a second whatever the number of browsers; handlers hand out what it
// keeps. Failure: an agent that is gone, hangs or talks rubbish is told as NO ANSWER, with since when; what it said last is
// never handed out as what it says. Nothing here can give an order.
package console

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"firebreak/plugins"
)

// Times of the asking.
const (
	askEvery  = time.Second
	askWait   = 3 * time.Second // then the agent is not waited for
	goneAfter = 3 * time.Second // since the last answer: what it said is old
)

// Config is what a console needs.
type Config struct {
	Who   Who
	Words string // for the foot (S26)
	// Ask asks the agent, and returns soon after ctx ends. One goroutine calls it.
	Ask func(ctx context.Context) (*Answer, error)
	Log *slog.Logger
}

// Who is the agent that is asked.
type Who struct {
	Site  string `json:"site"`
	Zone  string `json:"zone"`
	Agent string `json:"agent"`
	File  string `json:"file,omitempty"` // its configuration, for the commands to type; empty where they find it
}

// Answer is what the agent says.
type Answer struct {
	Plans   []plugins.PlanState  `json:"plans"`
	Alarms  []plugins.AlarmState `json:"alarms"`
	Buses   map[string]Bus       `json:"buses"`
	Telling []string             `json:"telling"` // what keeps from being heard, a line each
	Points  []Point              `json:"points"`
}

// Bus is how a bus keeps up.
type Bus struct {
	Utilisation float64 `json:"utilisation"`
	Missed      uint64  `json:"missed"`
	Failures    uint64  `json:"failures"`
	Silent      int     `json:"silent"`
	Stuck       bool    `json:"stuck"`
}

// Point is the last reading of a point.
type Point struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Kind    string  `json:"kind"`
	Value   float64 `json:"value"`
	Quality string  `json:"quality"`
	Usable  bool    `json:"usable"`
	Stale   bool    `json:"stale"`
	Votes   bool    `json:"votes"`
	AgeMs   int64   `json:"age_ms"`
}

// Console keeps the last answer.
type Console struct {
	cfg Config

	mu    sync.Mutex
	since time.Time // of the last answer, or of the start
	body  []byte    // that answer as JSON; nil: none yet
	fault string    // why there is none now
	trend trend
}

// New makes a console that has asked nothing yet.
func New(cfg Config) *Console {
	now := time.Now()
	return &Console{cfg: cfg, since: now, fault: "the agent has not been asked yet", trend: trend{gen: now.UnixMilli()}}
}

// Run listens at an address that Address has let pass and serves until ctx ends. ready is told the address once browsers can
// connect; nil: nobody waits for it.
func (c *Console) Run(ctx context.Context, listen string, ready func(net.Addr)) error {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("the console cannot listen: %w: --listen 127.0.0.1:PORT takes another port", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { c.askOn(ctx) })
	if ready != nil {
		ready(ln.Addr())
	}
	return c.serve(ctx, ln)
}

// Address holds an address to this machine alone: whoever reaches the page is asked for no name.
func Address(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err == nil && host == "localhost" {
		host = "127.0.0.1" // what else the name may lead to is not looked up
	}
	ip, bad := netip.ParseAddr(host)
	if err != nil || bad != nil || !ip.Unmap().IsLoopback() {
		return "", fmt.Errorf("--listen %s: the console asks nobody for a name, so it listens on this machine alone: take 127.0.0.1:8642, and from elsewhere "+
			"ssh -L 8642:127.0.0.1:8642 THIS-MACHINE, or a reverse proxy with a login on this machine", listen)
	}
	return net.JoinHostPort(host, port), nil
}

// askOn asks until ctx ends. A question that takes longer than a second skips those that were due meanwhile.
func (c *Console) askOn(ctx context.Context) {
	t := time.NewTicker(askEvery)
	defer t.Stop()
	for {
		c.ask(ctx)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (c *Console) ask(ctx context.Context) {
	limit, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	a, err := c.cfg.Ask(limit)
	var body []byte
	if err == nil {
		body, err = json.Marshal(a)
	}
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		if c.fault == "" || c.body == nil {
			c.cfg.Log.Warn("the agent gives no answer", "err", err)
		}
		c.fault, a = err.Error(), nil
	} else {
		if c.fault != "" {
			c.cfg.Log.Info("the agent answers")
		}
		c.since, c.body, c.fault = now, body, ""
	}
	c.trend.note(now, a)
}

// state is one answer to a browser: how old the last one of the agent is, and that.
func (c *Console) state() []byte {
	c.mu.Lock()
	silent := time.Since(c.since)
	head, err := json.Marshal(struct {
		OK       bool   `json:"ok"`
		Fault    string `json:"fault,omitempty"`
		SilentMs int64  `json:"silent_ms"` // since the last answer, or the start
		Ever     bool   `json:"ever"`      // there was one
		Gen      int64  `json:"gen"`
		Seq      int64  `json:"seq"`
		Who      Who    `json:"who"`
	}{c.fault == "" && silent <= goneAfter, c.fault, silent.Milliseconds(), c.body != nil, c.trend.gen, c.trend.seq, c.cfg.Who})
	body := c.body // nobody changes it
	c.mu.Unlock()
	if err != nil {
		return []byte(`{"ok":false}`)
	}
	if body == nil {
		body = []byte("null")
	}
	return append(append(append(head[:len(head)-1:len(head)-1], `,"answer":`...), body...), '}')
}
