package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/hub"
	"firebreak/agent/wire"
	"firebreak/agent/wire/secret"
	"firebreak/plugins/reread"
	"firebreak/plugins/service"
)

// historyConns bounds who reads the history at once, historyIdle for how long a reader may read nothing.
const (
	historyConns = 4
	historyIdle  = 10 * time.Second
)

// RunHub serves a site until ctx ends. ready is called once clients can connect; nil: nobody waits for it.
func RunHub(ctx context.Context, c *config.Hub, log *slog.Logger, ready func(*hub.Hub)) error {
	h, err := hub.Open(hubConfig(c, log))
	if err != nil {
		return err
	}
	defer h.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if c.HistoryAge > 0 {
		ln, err := listenSocket(c.Control, "hub")
		if err != nil {
			log.Error("the history of alarms cannot be asked for; all else is served", "err", err)
		} else {
			wg.Go(func() { serveHistory(ctx, ln, h, log) })
		}
	}
	note := service.NewNotifier()
	note.Send("READY=1")
	log.Info("the hub serves", "name", c.Name, "listen", c.Listen, "tls", c.Cert != "", "version", Version())
	if ready != nil {
		ready(h)
	}
	<-ctx.Done()
	note.Send("STOPPING=1")
	return nil
}

func hubConfig(c *config.Hub, log *slog.Logger) hub.Config {
	out := hub.Config{Name: c.Name, Listen: c.Listen, Dir: c.Dir, MaxConnections: c.MaxConnections, MaxStore: c.MaxStore, HistoryAge: c.HistoryAge, Log: log}
	if c.Cert != "" {
		out.TLS = &hub.TLS{Cert: secret.Path(c.Cert), Key: secret.Path(c.Key), CA: secret.Path(c.CA)}
		out.Users = hubUsers(c, log)
	}
	if k := c.Cluster; k != nil {
		out.Cluster = &hub.Cluster{Name: k.Name, Listen: k.Listen, Routes: k.Routes, Peers: k.Nodes}
	}
	return out
}

// hubUsers gives rights by the trusted keys, which are read anew at each connection, and by [[hub.user]].
func hubUsers(c *config.Hub, log *slog.Logger) hub.Users {
	extra := map[string]hub.Rights{}
	for _, u := range c.Users {
		extra[u.Name] = hub.Rights{Write: u.Write, Read: u.Read}
	}
	ring := reread.New(func() (*wire.Ring, error) { return wire.ReadRing(c.Trusted) })
	return func(name string) (hub.Rights, bool) {
		r, known := extra[name]
		keys, have, err := ring.Get()
		if err != nil {
			log.Warn("the trusted keys cannot be read; those that were read last count", "err", err)
		}
		if have {
			more, trusted := rightsOf(keys, name)
			known = known || trusted
			r = hub.Rights{Write: append(append([]string(nil), r.Write...), more.Write...), Read: append(append([]string(nil), r.Read...), more.Read...)}
		}
		return r, known
	}
}

// historyQuestion is a line of JSON; the answer is one line for each record, and at the end one that says how
// it ended.
type historyQuestion struct {
	Since time.Time `json:"since"`
}

type historyLine struct {
	*hub.Record
	Error string `json:"error,omitempty"`
	End   bool   `json:"end,omitempty"`
}

func serveHistory(ctx context.Context, ln net.Listener, h *hub.Hub, log *slog.Logger) {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	room := make(chan struct{}, historyConns)
	for {
		room <- struct{}{}
		conn, err := ln.Accept()
		if err != nil {
			if <-room; ctx.Err() == nil {
				log.Error("the history of alarms cannot be asked for any more; all else is served", "err", err)
			}
			return
		}
		wg.Go(func() {
			defer func() { <-room }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			answerHistory(ctx, conn, h)
		})
	}
}

func answerHistory(ctx context.Context, conn net.Conn, h *hub.Hub) {
	var q historyQuestion
	_ = conn.SetDeadline(time.Now().Add(controlWait))
	if json.NewDecoder(io.LimitReader(conn, controlBytes)).Decode(&q) != nil {
		return
	}
	enc := json.NewEncoder(conn)
	err := h.History(ctx, q.Since, func(r hub.Record) error {
		_ = conn.SetDeadline(time.Now().Add(historyIdle))
		return enc.Encode(historyLine{Record: &r})
	})
	last := historyLine{End: true}
	if err != nil {
		last.Error = err.Error()
	}
	_ = conn.SetDeadline(time.Now().Add(historyIdle))
	_ = enc.Encode(last) // whoever has gone misses it
}

// HubHistory prints what a running hub has heard since, a line of JSON each, without the echoes.
func HubHistory(c *config.Hub, since time.Time, w io.Writer) error {
	conn, err := net.DialTimeout("unix", c.Control, time.Second)
	if err != nil {
		next := "start it (systemctl start firebreak-hub), or name its configuration with -c"
		if errors.Is(err, fs.ErrPermission) {
			next = "only its own user and root may ask it"
		}
		return fmt.Errorf("no hub answers on %s: %w: %s", c.Control, err, next)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(historyQuestion{since}); err != nil {
		return err
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 4*wire.MaxPayload)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(historyIdle))
		if !lines.Scan() {
			return fmt.Errorf("the hub has broken off: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
		}
		var l historyLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return err
		}
		if l.End {
			if l.Error != "" {
				return errors.New(l.Error)
			}
			return nil
		}
		if strings.HasSuffix(l.Topic, "/"+wire.EchoName) {
			continue // an agent that tries what it may: nothing has happened
		}
		if _, err := fmt.Fprintf(w, "%s\n", lines.Bytes()); err != nil {
			return err
		}
	}
}
