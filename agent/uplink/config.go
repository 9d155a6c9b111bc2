package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"firebreak/agent/journal"
	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/sensors"
)

// Config of the uplink. Zero bounds and durations take the defaults.
type Config struct {
	Site, Zone, Agent string
	Epoch             uint64 // max(stored + 1, unix seconds at start) (S14)
	Instance          string // random, of this process
	Boot, Version     string
	Started           time.Time
	Devices           []sensors.Device
	Points            []sensors.Point
	Exceptions        map[sensors.DeviceID]Exception // devices whose polls are told by exception
	Brokers           []Broker
	Peers             []Peer         // agents whose word on a plan is listened to
	Heard             func(PeerWord) // must not wait; called from the sessions' goroutines
	Twin              func(error)    // must not wait: another agent of this name lives; nil: not any more (S13)
	Tamper            func(error)    // must not wait: somebody else writes what only this agent may; nil: not any more
	Sources           []string       // agents of the site whose alarms and readings are heard
	Foreign           func(Foreign)  // must not wait: what one of them said
	Consumers         []string       // those whose receipts are awaited, in the order in which they are asked
	TrustedKeys       string         // file of the keys of persons and consumers; empty: nobody is listened to
	Unheard           func(error)    // must not wait: no consumer answers; nil: one does

	Order    func(context.Context, Order) error // carries out a verified command; nil: none is
	Answered func(wire.ReceiptMessage)          // must not wait: a consumer has it, accepts, declines, or is done

	Store         func() (journal.FS, func() error, error) // opens the directory of what waits for brokers, and may hang; nil: it waits in memory alone
	Memory        Memory                                   // has what a kill finds on its way to there; nil: it is lost then
	StoreReadings func() (journal.FS, func() error, error) // the same of the readings that wait; nil: in memory alone
	Unkept        func(error)                              // must not wait: what waits is in memory alone, and why; nil: it is on the disk again
	Mono          func() sensors.Mono                      // the clock of this boot, by which what waits is dated

	SigningKey string // file of the private key; empty: messages are not signed
	SignState  bool   // the readings too
	Drill      bool   // everything goes below drill (S7): the demo
	Log        *slog.Logger

	Window         int           // messages in flight; 64. A quarter is kept free of telemetry
	MaxQueued      int           // events and alarm transitions; 10000. They may take telemetry's place too
	MaxQueuedBytes int           // of these; 16 MiB
	MaxState       int           // polls kept; 50000
	MaxStateBytes  int           // of these; 16 MiB
	MaxStateAge    time.Duration // of polls that wait for a session; 24 h
	HistoryAfter   time.Duration // polls that have waited for a session for so long are history; 2 s
	ReplayRate     int           // of these, told a second after those of now; 500
	MaxLogBytes    int64         // of what waits, on disk; 64 MiB
	HelloEvery     time.Duration // 2 s, real time
	AckTimeout     time.Duration // 10 s: a broker that owes a PUBACK for longer is left
	StopTimeout    time.Duration // 2 s to tell what is queued, and 1 s to say farewell
	BackoffMin     time.Duration // 250 ms
	BackoffMax     time.Duration // 10 s

	Now      func() time.Time // wall clock for messages; nil: time.Now
	CertTime func() time.Time // against which certificates are checked (S14); nil: Now
	// Clock tells how far the wall clock can be trusted: synced, holdover or unset. It is asked for
	// each alarm, plan and event and must not wait. nil: unset.
	Clock func() string

	// Next is the real time until what recurs so often is due: all that does wakes together. nil: when it is asked, so much later.
	Next func(every time.Duration) time.Duration

	Attempt func() // called when a session is tried, which computes; must not wait; nil: nobody cares

	Buses func() map[string]wire.BusLoad // how the buses keep up, for the hello; must not wait
	// Dial replaces the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// mono is the clock of this boot; 0: none was given.
func (c *Config) mono() sensors.Mono {
	if c.Mono == nil {
		return 0
	}
	return c.Mono()
}

// Broker is one broker. The files are read at each connection, so that they can be changed.
type Broker struct {
	Name     string
	URL      string // mqtt:// or mqtts://
	ClientID string // empty: the agent's name, which brokers bind to its certificate
	Sessions int    // 1: telemetry goes by the session of the alarms; otherwise it has one of its own, AGENT:t

	UsernameFile, PasswordFile string
	CAFile, CertFile, KeyFile  string
	// Of the telemetry's session, where brokers bind the client id to the certificate; empty: the same.
	TelemetryCertFile, TelemetryKeyFile string
}

func (c *Config) defaults() {
	for _, d := range []struct {
		v *int
		d int
	}{{&c.Window, 64}, {&c.MaxQueued, 10000}, {&c.MaxQueuedBytes, 16 << 20}, {&c.MaxState, 50000}, {&c.MaxStateBytes, 16 << 20}, {&c.ReplayRate, 500}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&c.HelloEvery, 2 * time.Second}, {&c.MaxStateAge, 24 * time.Hour}, {&c.HistoryAfter, 2 * time.Second}, {&c.AckTimeout, 10 * time.Second}, {&c.StopTimeout, 2 * time.Second},
		{&c.BackoffMin, 250 * time.Millisecond}, {&c.BackoffMax, 10 * time.Second}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.MaxLogBytes <= 0 {
		c.MaxLogBytes = 64 << 20
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Next == nil {
		c.Next = func(every time.Duration) time.Duration { return every }
	}
	if c.CertTime == nil {
		c.CertTime = c.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func (c *Config) validate() error {
	var errs []error
	fault := func(format string, a ...any) { errs = append(errs, fmt.Errorf("uplink: "+format, a...)) }
	if c.Site == "" || c.Zone == "" || c.Agent == "" {
		fault("site %q, zone %q and agent %q must all be named", c.Site, c.Zone, c.Agent)
	}
	if c.Epoch == 0 || c.Instance == "" {
		fault("epoch and instance must be set at each start")
	}
	seen := map[string]bool{}
	for _, b := range c.Brokers {
		if b.Name == "" || seen[b.Name] {
			fault("broker name %q is empty or used twice", b.Name)
		}
		seen[b.Name] = true
		if err := session.CheckURL(b.URL); err != nil {
			fault("broker %s: %w", b.Name, err)
		}
		if (b.CertFile == "") != (b.KeyFile == "") || (b.TelemetryCertFile == "") != (b.TelemetryKeyFile == "") {
			fault("broker %s: cert and key belong together: give both or none", b.Name)
		}
	}
	return errors.Join(errs...)
}

// Session gives what a session with the broker needs, for others than the uplink. It reads the files.
func (b *Broker) Session(clientID string, now func() time.Time) (session.Config, error) {
	sc := session.Config{URL: b.URL, ClientID: clientID}
	f := session.Files{Username: b.UsernameFile, Password: b.PasswordFile, CA: b.CAFile, Cert: b.CertFile, Key: b.KeyFile}
	return sc, f.Apply(&sc, now)
}
