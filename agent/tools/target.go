package tools

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors/modbus"
)

// Target is a way to Modbus units: a TCP endpoint, or a serial line with its settings.
type Target struct {
	Scheme string               // tcp, rtu, ascii, rtu+tcp, ascii+tcp
	TCP    string               // host:port of tcp
	Serial modbus.SerialOptions // of all others
}

const schemes = "tcp://HOST[:502], rtu:///dev/ttyUSB0, ascii:///dev/ttyUSB0, or rtu+tcp://HOST:PORT of a serial server that hands bytes on unchanged"

// ParseTarget reads "tcp://10.0.3.20" and the like.
func ParseTarget(s string) (Target, error) {
	scheme, where, ok := strings.Cut(s, "://")
	t := Target{Scheme: scheme}
	switch {
	case !ok || where == "":
	case scheme == "tcp":
		if _, _, err := net.SplitHostPort(where); err != nil {
			where = net.JoinHostPort(strings.Trim(where, "[]"), "502")
		}
		t.TCP = where
		return t, nil
	case (scheme == "rtu" || scheme == "ascii") && strings.HasPrefix(where, "/"):
		t.Serial = modbus.SerialOptions{Path: where, ASCII: scheme == "ascii", Baud: 9600, Parity: "none"}
		return t, nil
	case scheme == "rtu+tcp" || scheme == "ascii+tcp":
		if _, _, err := net.SplitHostPort(where); err != nil {
			return t, fmt.Errorf("target %q: %w: write %s://HOST:PORT", s, err, scheme)
		}
		t.Serial = modbus.SerialOptions{Address: where, ASCII: scheme == "ascii+tcp", Baud: 9600}
		return t, nil
	}
	return t, fmt.Errorf("target %q: give %s", s, schemes)
}

// Line is true for everything on which replies carry no number: one line, one master.
func (t *Target) Line() bool { return t.Scheme != "tcp" }

func (t *Target) String() string {
	switch {
	case !t.Line():
		return "tcp://" + t.TCP
	case t.Serial.Address != "":
		return t.Scheme + "://" + t.Serial.Address
	}
	parity := t.Serial.Parity
	if parity == "" {
		parity = "none"
	}
	return fmt.Sprintf("%s://%s, %d baud, parity %s, %d stop", t.Scheme, t.Serial.Path, t.Serial.Baud, parity, max(1, t.Serial.StopBits))
}

// link is what the tools need of a way to units.
type link interface {
	modbus.Link
	modbus.Writer
}

// open makes the link; it is dialled or opened at the first request.
func (t *Target) open() (link, error) {
	if !t.Line() {
		return modbus.NewTCP(t.TCP, modbus.TCPOptions{DialTimeout: 3 * time.Second}), nil
	}
	o := t.Serial
	o.DialTimeout = 3 * time.Second
	return modbus.NewSerial(o)
}

// polite is a link that keeps a pause before each request, does not sit out a back-off, and counts.
type polite struct {
	modbus.Link
	pace time.Duration
	sent int
	last time.Time
}

// Read waits, then reads.
func (p *polite) Read(ctx context.Context, r modbus.Request) ([]byte, error) {
	if wait := time.Until(p.last.Add(p.pace)); p.sent > 0 && wait > 0 && !sleep(ctx, wait) {
		return nil, ctx.Err()
	}
	r.Once = true
	p.sent++
	data, err := p.Link.Read(ctx, r)
	p.last = time.Now()
	return data, err
}

// ParseUnits reads "1-16,255".
func ParseUnits(s string) (units []byte, err error) {
	for _, part := range strings.Split(s, ",") {
		lo, hi, many := strings.Cut(strings.TrimSpace(part), "-")
		if !many {
			hi = lo
		}
		a, errA := strconv.ParseUint(lo, 10, 8)
		b, errB := strconv.ParseUint(hi, 10, 8)
		if errors.Join(errA, errB) != nil || a > b {
			return nil, fmt.Errorf("units %q: write numbers and ranges from 0 to 255, such as 1-16,255", s)
		}
		for u := a; u <= b; u++ {
			if !slices.Contains(units, byte(u)) {
				units = append(units, byte(u))
			}
		}
	}
	return units, nil
}

// answered tells whether a unit itself spoke: with data, or with an exception of its own and not with
// that of a gateway that finds nobody.
func answered(err error) bool {
	var e *modbus.Exception
	return err == nil || errors.As(err, &e) && !errors.Is(err, modbus.ErrTargetDown)
}

// refused is a unit that has no such register, or not that function.
func refused(err error) bool {
	return errors.Is(err, modbus.ErrIllegalAddress) || errors.Is(err, modbus.ErrConfig)
}

// sleep waits; false: the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
