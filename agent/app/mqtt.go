package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/uplink"
	"firebreak/agent/wire"
	"firebreak/agent/wire/session"
	"firebreak/plugins/hooks/mqtt"
	"firebreak/plugins/reread"
	"firebreak/sensors"
)

func brokerOf(b config.Broker) uplink.Broker {
	return uplink.Broker{Name: b.Name, URL: b.URL, UsernameFile: b.UsernameFile, PasswordFile: b.PasswordFile,
		CAFile: b.CA, CertFile: b.Cert, KeyFile: b.Key, TelemetryCertFile: b.TelemetryCert, TelemetryKeyFile: b.TelemetryKey, Sessions: b.Sessions}
}

// mqttHook makes a hook that commands through brokers of the configuration. It has a session of its
// own with each: what is told there, however much, does not stand before a command.
func mqttHook(c *config.Config, name string, k mqtt.Config, now func() time.Time, log *slog.Logger) (*mqtt.Hook, error) {
	k.Site, k.Agent = c.Site, c.Agent
	k.Simulated = c.Rules != nil && c.Rules.Hazard.Origin != sensors.Real
	k.Levels = strings.Join([]string{wire.TopicName(c.Site), wire.TopicName(c.Zone), wire.TopicName(c.Agent), wire.TopicName(name)}, "/")
	var brokers []mqtt.Broker
	for _, n := range k.Brokers {
		i := slices.IndexFunc(c.Brokers, func(b config.Broker) bool { return b.Name == n })
		if i < 0 {
			return nil, fmt.Errorf("hook %q: there is no broker %q", name, n)
		}
		// No name holds a colon, so that it is nobody else's; NATS refuses a dot.
		brokers = append(brokers, mqtt.Broker{Name: n, Connect: sessions(brokerOf(c.Brokers[i]), c.Agent+":h:"+name, now)})
	}
	return mqtt.New(name, k, brokers, log)
}

// sessions connects to a broker. What its files say is read anew each time; a disk that hangs leaves what
// was read last in force, and does not hold it up.
func sessions(b uplink.Broker, clientID string, now func() time.Time) func(context.Context) (mqtt.Session, error) {
	files := reread.New(func() (session.Config, error) { return b.Session(clientID, now) })
	return func(ctx context.Context) (mqtt.Session, error) {
		sc, have, err := files.Get()
		if !have {
			return nil, fmt.Errorf("the files of broker %s: %w", b.Name, err)
		}
		s, err := session.Connect(ctx, sc)
		if err != nil {
			return nil, err // not a session that holds nil
		}
		return &commands{s}, nil
	}
}

// commands is a session as the hook needs it.
type commands struct{ s *session.Session }

const farewell = time.Second

func (c *commands) Publish(ctx context.Context, topic string, payload []byte) error {
	ack := c.s.Publish(topic, 1, false, payload)
	select {
	case <-ack.Done():
		return ack.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Subscribe asks for QoS 1: an answer that is lost costs a time-out.
func (c *commands) Subscribe(ctx context.Context, filter string, got func(topic string, payload []byte, retained bool)) error {
	return c.s.Subscribe(ctx, filter, 1, got)
}

func (c *commands) Lost() <-chan struct{} { return c.s.Lost() }

func (c *commands) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = c.s.Close(ctx) // whoever closes it has no use for what becomes of it
}
