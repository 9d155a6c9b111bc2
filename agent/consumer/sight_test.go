package consumer_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/agent/consumer"
	"firebreak/agent/wire/brokertest"
)

// Who watches at night sees that he is blind, and that he is so no more; and the log of a broker that stays away for 10 min is
// no wall of lines. A broker that ends the session is one: the reason is likely here.
func TestBlindAndSightedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		pipe := brokertest.Pipes(t, func(n int, c *brokertest.Conn) {
			if n == 1 {
				_ = c.SetDeadline(begun.Add(22 * time.Second))
			}
			for err := c.Accept(0); err == nil; _, err = c.Next() {
			}
		})
		var log bytes.Buffer
		var told []string
		c, err := consumer.New(consumer.Config{Name: "noc", Unsigned: true, Brokers: []consumer.Broker{{Name: "hub", URL: "mqtt://127.0.0.1:1"}},
			Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})), Heard: func(n consumer.Note) { told = append(told, n.Kind.String()) },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				if at := time.Since(begun); at > 22*time.Second-time.Millisecond && at < 10*time.Minute {
					return nil, errors.New("no route")
				}
				return pipe(), nil
			}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, end := context.WithTimeout(t.Context(), 11*time.Minute)
		defer end()
		if err := c.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told, []string{"blind", "sighted"}) {
			t.Errorf("it was told %v", told)
		}
		if n := strings.Count(log.String(), "\n"); n < 8 || n > 11 || !strings.Contains(log.String(), "no route") || !strings.Contains(log.String(), "the broker has ended the session of noc: does another one come") {
			t.Errorf("in 10 min %d lines:\n%s", n, &log)
		}
	})
}
