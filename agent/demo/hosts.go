package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"
)

// The racks' hosts as clients of the agent's NUT server. Each connects from a loopback address of its
// own, because for the server a host is its address, and stands for a quarter of the hosts.
const (
	hosts     = 4
	nutUPS    = "racks"
	nutUser   = "racks"
	nutListen = "127.0.0.1:0"
	nutPoll   = time.Second     // POLLFREQ, of simulated time
	nutWait   = 5 * time.Second // for one answer, real time
)

// The step whose work the hosts are: they start it when they see FSD.
const osStop = "os-stop"

func hostAddress(i int) string { return fmt.Sprintf("127.0.0.%d", 11+i) }

func hostAddresses() []string {
	var out []string
	for i := range hosts {
		out = append(out, hostAddress(i))
	}
	return out
}

// host does what upsmon does on one of them: it logs in as a secondary, asks for the status, and at
// FSD shuts down and logs out. It ends with that, or with ctx.
func (t *targets) host(ctx context.Context, i int, at func() string) {
	for ctx.Err() == nil {
		if addr := at(); addr != "" {
			if t.monitor(ctx, i, addr) == nil {
				return
			}
		}
		pause(ctx, 10*time.Millisecond+rand.N(retryMax))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// monitor is one connection; nil says that the host has gone down.
func (t *targets) monitor(ctx context.Context, i int, addr string) error {
	d := net.Dialer{Timeout: nutWait, LocalAddr: &net.TCPAddr{IP: net.ParseIP(hostAddress(i))}}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	c := &nutClient{nc, bufio.NewReader(nc)}
	for _, line := range []string{"USERNAME " + nutUser, "PASSWORD " + t.password, "LOGIN " + nutUPS} {
		if got, err := c.ask(line); err != nil {
			return err
		} else if !strings.HasPrefix(got, "OK") {
			return errors.New(got)
		}
	}
	for {
		status, err := c.ask("GET VAR " + nutUPS + " ups.status")
		if err != nil {
			return err
		}
		if strings.Contains(status, "FSD") {
			break
		}
		pause(ctx, t.clock.Real(nutPoll))
	}
	t.start(osStop, time.Now())
	if !t.shutDown(ctx, i) {
		return ctx.Err()
	}
	_, err = c.ask("LOGOUT")
	return err
}

// shutDown waits until the host is down. One that loses its power before says nothing any more, and
// its connection stays as it was; false when ctx ends.
func (t *targets) shutDown(ctx context.Context, i int) bool {
	every := time.NewTicker(look)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-every.C:
		}
		if l := t.world.Snapshot().Load; l.CrashedHosts == 0 && l.Hosts <= l.HostsAll*(hosts-1-i)/hosts {
			return true
		}
	}
}

// nutClient speaks RFC 9271, one line a request.
type nutClient struct {
	nc net.Conn
	r  *bufio.Reader
}

func (c *nutClient) ask(line string) (string, error) {
	_ = c.nc.SetDeadline(time.Now().Add(nutWait))
	if _, err := fmt.Fprintf(c.nc, "%s\n", line); err != nil {
		return "", err
	}
	got, err := c.r.ReadString('\n')
	return strings.TrimSpace(got), err
}
