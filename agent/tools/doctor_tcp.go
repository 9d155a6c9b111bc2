package tools

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"firebreak/sensors/modbus"
	"firebreak/sensors/profile"
)

// tcp looks at an endpoint: does it answer, does it bear a second client, and does the first one live on.
func (d *Doctor) tcp(ctx context.Context, w io.Writer, spans []profile.Span) (found []Finding, err error) {
	dials := 0
	first := modbus.NewTCP(d.Target.TCP, modbus.TCPOptions{DialTimeout: 3 * time.Second, Dial: func(ctx context.Context) (net.Conn, error) {
		dials++ // in the goroutine of the read
		return new(net.Dialer).DialContext(ctx, "tcp", d.Target.TCP)
	}})
	defer first.Close()
	all, err := d.ask(ctx, w, &polite{Link: first, pace: 20 * time.Millisecond}, spans, nil)
	if err != nil {
		return nil, err
	}
	if found = judgeTCP(all); len(found) > 0 && all[0].ok == 0 {
		return found, nil
	}
	second := modbus.NewTCP(d.Target.TCP, modbus.TCPOptions{DialTimeout: 3 * time.Second})
	defer second.Close()
	one := func(l modbus.Link) error {
		r := d.request(profile.Span{Func: spans[0].Func, First: spans[0].First, Count: 1})
		r.Once = true
		_, err := l.Read(ctx, r)
		return err
	}
	before := dials
	e2, e1 := one(second), one(first)
	if ctx.Err() != nil {
		return found, ctx.Err()
	}
	// A link sends a read again, on a fresh connection, when its idle one was closed: that shows in the count.
	cut := dials > before
	fmt.Fprintf(w, "a second client beside the first: %s; the first one then: %s, on %s connection\n", said(e2), said(e1), map[bool]string{true: "a NEW", false: "its own"}[cut])
	if !answered(e2) || !answered(e1) || cut {
		found = append(found, Finding{"it takes one client at a time",
			"give the bus connection = \"close\" if another client must come in between, or let nobody but the agent connect; a gateway's page often sets how many it takes"})
	}
	return found, nil
}

func said(err error) string {
	if answered(err) {
		return "answered"
	}
	return err.Error()
}

func judgeTCP(all []tally) (found []Finding) {
	var sum tally
	for i := range all {
		t := &all[i]
		sum.sent, sum.ok, sum.silent, sum.garbled, sum.gateway, sum.slow = sum.sent+t.sent, sum.ok+t.ok, sum.silent+t.silent, sum.garbled+t.garbled+t.cut, sum.gateway+t.gateway, sum.slow+t.slow
		if t.lastErr != nil {
			sum.lastErr = t.lastErr
		}
	}
	switch {
	case sum.gateway > 0:
		found = append(found, Finding{fmt.Sprintf("the gateway answers, the unit behind it does not (%d of %d)", sum.gateway, sum.sent),
			"look at the gateway's serial side: power of the unit, A and B, its number, speed and parity there; with a laptop on that line, firebreak doctor bus rtu://..."})
	case sum.ok == 0:
		found = append(found, Finding{fmt.Sprintf("no answer: %v", sum.lastErr),
			"refused: nothing listens there, or it takes one client and has one; no reply: a firewall, the wrong address, or a gateway whose line is dead"})
	case sum.garbled+sum.silent > 0:
		found = append(found, Finding{fmt.Sprintf("%d of %d requests failed; last: %v", sum.garbled+sum.silent, sum.sent, sum.lastErr),
			"a gateway that is asked for too much or by too many: poll less often, look who else is connected"})
	}
	if 10*sum.slow > sum.sent {
		found = append(found, Finding{fmt.Sprintf("%d of %d replies took more than half of the time-out", sum.slow, sum.sent),
			"the next one that is late is lost: raise the profile's timeout, or ask for less"})
	}
	return found
}
