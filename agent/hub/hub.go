// Package hub is an MQTT broker inside the process: nats-server's MQTT gateway, as a library. Today
// the demo and tests use it; nothing on the safety path knows it.
//
// Concurrency: the server runs its own goroutines; Close ends them. Failure: Start says why it
// could not; a hub that dies is one more broker that is away.
package hub

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// startLimit bounds how long the server may take to be ready.
const startLimit = 10 * time.Second

// Hub is a running broker.
type Hub struct {
	s    *server.Server
	port int
}

// Start opens a broker on a free loopback port that keeps its sessions below dir.
func Start(dir string) (*Hub, error) {
	opts := &server.Options{
		ServerName: "firebreak-hub", DontListen: true, NoLog: true, NoSigs: true,
		JetStream: true, StoreDir: dir, JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 256 << 20,
		MQTT: server.MQTTOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT},
		// Each subscription at QoS 1 is a consumer; the default of 1000 a stream is refused as
		// SUBACK 0x80.
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	s.Start()
	h := &Hub{s, opts.MQTT.Port} // the server has put the port that it took there
	if !s.ReadyForConnections(startLimit) {
		h.Close()
		return nil, errors.New("hub: the broker is not ready; is its directory writable?")
	}
	return h, nil
}

// URL is where an MQTT client connects.
func (h *Hub) URL() string { return "mqtt://127.0.0.1:" + strconv.Itoa(h.port) }

// Close ends the broker and waits for it.
func (h *Hub) Close() {
	h.s.Shutdown()
	h.s.WaitForShutdown()
}
