// Package hub is an MQTT broker: nats-server's MQTT gateway, as a library. `firebreak hub` serves a site
// with it, alone or as one of a cluster; the demo and tests have one inside. Nothing on the safety path
// knows it.
//
// Concurrency: the server runs its own goroutines, and the hub one that keeps the history of alarms;
// Close ends them and waits. Failure: Open says why it could not; a hub that dies is one more broker
// that is away. A client that is not who it says it is has no session, and takes none over.
package hub

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"firebreak/agent/wire"
)

// startLimit bounds how long the server may take to be ready; in a cluster it waits for another node first.
const (
	startLimit   = 10 * time.Second
	clusterLimit = 2 * time.Minute
	closeLimit   = 10 * time.Second
)

// Limits of the server.
const (
	maxMemory    = 64 << 20
	maxFilters   = 256             // of one session
	syncEvery    = time.Second     // of what is stored: the server acknowledges before that
	handshake    = 5.0             // s, TLS and CONNECT each
	writeLimit   = 5 * time.Second // a client that does not read is left
	maxPending   = 16 << 20        // bytes that wait for one client
	defaultConns = 10_000
	defaultStore = 1 << 30
)

// Config of a hub.
type Config struct {
	Name           string        // unique in a cluster
	Listen         string        // host:port; port 0 takes any
	Dir            string        // sessions, what is retained, history
	TLS            *TLS          // nil: plain text, and nobody is asked who he is; for loopback
	Users          Users         `json:"-"` // of certificates; without TLS it is not asked
	MaxConnections int           // 0: 10,000
	MaxStore       int64         // bytes of Dir; 0: 1 GiB. A quarter of it is the history's
	HistoryAge     time.Duration // 0: no history is kept
	Cluster        *Cluster      // nil: alone
	Log            *slog.Logger  `json:"-"`
}

// Cluster is what joins hubs into one.
type Cluster struct {
	Name   string
	Listen string   // for the other nodes
	Routes []string // host:port of the others
	Peers  []string // common names of the certificates that nodes show; with TLS
}

// Hub is a running broker.
type Hub struct {
	s       *server.Server
	log     *slog.Logger
	port    int
	secret  string // of the hub's own sessions with its server
	history string // name of the stream; empty: none is kept

	lock *os.File // of the directory
	stop func()
	work sync.WaitGroup
}

// Start opens a broker on a free loopback port that keeps its sessions below dir: for the demo and tests.
func Start(dir string) (*Hub, error) {
	return Open(Config{Name: "firebreak-hub", Listen: "127.0.0.1:0", Dir: dir, MaxStore: 256 << 20})
}

// Open starts a hub.
func Open(c Config) (*Hub, error) {
	h := &Hub{log: c.Log, secret: random()}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	opts, err := h.options(&c)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if h.lock, err = lockDir(c.Dir); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if h.s, err = server.NewServer(opts); err != nil {
		h.lock.Close()
		return nil, fmt.Errorf("hub: %w", err)
	}
	if b, ok := opts.CustomClientAuthentication.(*binder); ok {
		b.server = h.s
	}
	fatal := make(chan string, 1)
	h.s.SetLoggerV2(&logger{h.log, fatal}, false, false, false)
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.work.Go(h.s.Start)
	limit := startLimit
	if c.Cluster != nil {
		limit = clusterLimit
	}
	if err := h.ready(fatal, limit); err != nil {
		h.Close()
		return nil, err
	}
	h.port = opts.MQTT.Port // the server has put the port that it took there
	if c.HistoryAge > 0 {
		h.history = historyStream
		h.work.Go(func() { h.keepHistory(ctx, &c) })
	}
	return h, nil
}

func (h *Hub) ready(fatal <-chan string, limit time.Duration) error {
	for late := time.Now().Add(limit); ; {
		ready := h.s.ReadyForConnections(startLimit / 100)
		select {
		case text := <-fatal:
			return fmt.Errorf("hub: %s", text)
		default:
		}
		switch {
		case ready:
			return nil
		case time.Now().After(late):
			return errors.New("hub: the broker is not ready; is its directory writable, its address free, and in a cluster another hub there?")
		}
	}
}

func (h *Hub) options(c *Config) (*server.Options, error) {
	host, port, err := split(c.Listen)
	if err != nil {
		return nil, err
	}
	opts := &server.Options{ServerName: c.Name, DontListen: true, NoSigs: true,
		JetStream: true, StoreDir: c.Dir, JetStreamMaxMemory: maxMemory, JetStreamMaxStore: orDefault(c.MaxStore, defaultStore), SyncInterval: syncEvery,
		MQTT:    server.MQTTOpts{Host: host, Port: port, AuthTimeout: handshake, TLSTimeout: handshake},
		MaxConn: orDefault(c.MaxConnections, defaultConns), MaxSubs: maxFilters, MaxPending: maxPending, WriteDeadline: writeLimit,
		MaxPayload: 2 * wire.MaxPayload, // more ends the connection, without a PUBACK
		// Each subscription at QoS 1 is a consumer; the default of 1000 a stream is refused as
		// SUBACK 0x80.
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
	}
	if c.TLS != nil {
		if opts.MQTT.TLSConfig, err = c.TLS.forClients(); err != nil {
			return nil, err
		}
		opts.CustomClientAuthentication = &binder{users: c.Users, secret: h.secret, log: h.log}
	}
	if c.Cluster != nil {
		err = c.Cluster.apply(opts, c.TLS)
	}
	return opts, err
}

func (c *Cluster) apply(opts *server.Options, t *TLS) error {
	host, port, err := split(c.Listen)
	if err != nil {
		return err
	}
	if t == nil {
		for _, at := range append([]string{c.Listen}, c.Routes...) {
			if h, _, err := net.SplitHostPort(at); err != nil || !net.ParseIP(h).IsLoopback() {
				return fmt.Errorf("the cluster is to speak with %s, and in plain text it may with a loopback address alone: whoever reaches a node would be one; give the hub cert, key and ca", at)
			}
		}
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	// A server that listens to no NATS client never starts its routes (2.15.2). Nobody but the hub itself has
	// the word for this one.
	opts.DontListen, opts.Host, opts.Port = false, "127.0.0.1", server.RANDOM_PORT
	// Said outright: by itself the server takes as many as it sees when the first client comes, and two of two
	// have no majority once one is gone.
	opts.MQTT.StreamReplicas = c.replicas()
	opts.Cluster = server.ClusterOpts{Name: c.Name, Host: host, Port: port, NoAdvertise: true, ConnectBackoff: true, TLSTimeout: handshake, AuthTimeout: handshake}
	scheme := "nats"
	if t != nil {
		scheme = "tls"
		if opts.Cluster.TLSConfig, err = t.forNodes(c.Peers); err != nil {
			return err
		}
	}
	for _, r := range c.Routes {
		opts.Routes = append(opts.Routes, &url.URL{Scheme: scheme, Host: r})
	}
	return nil
}

// replicas is how many hubs keep each session, retained message and line of the history.
func (c *Cluster) replicas() int { return min(3, len(c.Routes)+1) }

// split reads host:port; port 0 is the server's -1 for MQTT: any.
func split(listen string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(p); err == nil && port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, err
}

func orDefault[T int | int64](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// URL is where an MQTT client on this host connects in plain text.
func (h *Hub) URL() string { return "mqtt://127.0.0.1:" + strconv.Itoa(h.port) }

// Port is the one that was taken for MQTT.
func (h *Hub) Port() int { return h.port }

// Close ends the broker and waits for it, but not for ever: a disk that hangs is left behind.
func (h *Hub) Close() {
	h.stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.s.Shutdown()
		h.s.WaitForShutdown()
		h.work.Wait()
	}()
	select {
	case <-ended:
		h.lock.Close()
	case <-time.After(closeLimit):
		h.log.Error("the broker does not end; it is left behind")
	}
}
