package modbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// Writer is a link that can write. In an agent Poller.Send is the only caller; the other one is a person with
// firebreak bus set-address.
type Writer interface {
	Write(ctx context.Context, r Request, c *profile.Command) error
}

// command finds a command of the profile by name.
func (d *Poller) command(name string) (*profile.Command, error) {
	c := d.p.Command(name)
	if c == nil {
		return nil, fmt.Errorf("%w: profile %q has no command %q: it has %s", sensors.ErrNotSent, d.p.Name, name, strings.Join(d.p.CommandNames(), ", "))
	}
	return c, nil
}

// Settle is how long the device takes for a command, in its own time; zero where nothing is read back.
func (d *Poller) Settle(name string) (time.Duration, error) {
	c, err := d.command(name)
	if err != nil {
		return 0, err
	}
	return c.Settle, nil
}

// Inspect reads what the command changes, and tells whether the device is in the state that it
// leads to. It writes nothing. A command without read back has no readings and is never done.
func (d *Poller) Inspect(ctx context.Context, now func() sensors.Mono, name string) (out []sensors.Reading, done bool, err error) {
	c, err := d.command(name)
	if err != nil {
		return nil, false, err
	}
	if err := d.right(ctx); err != nil {
		return nil, false, err
	}
	return d.state(ctx, now, c)
}

// Send brings the device into the state of a command: it reads that state, and writes, once, if
// the device is not there yet. done says that the state was read and is there. Without done and
// without an error the device has acknowledged; ErrUnconfirmed says that the answer was lost. A write
// is never sent again from here: who wants to reads the state first.
func (d *Poller) Send(ctx context.Context, now func() sensors.Mono, name string) (out []sensors.Reading, done bool, err error) {
	c, err := d.command(name)
	if err != nil {
		return nil, false, err
	}
	w, ok := d.link.(Writer)
	if !ok {
		return nil, false, fmt.Errorf("%w: this way to the device cannot write", sensors.ErrNotSent)
	}
	if why := d.p.Detects(); why != "" { // the parser refuses it already; nothing that is sent rests on one look (S25)
		return nil, false, fmt.Errorf("%w: nothing is written to a detector: %s", sensors.ErrNotSent, why)
	}
	d.identified = 0 // a write goes to the right device or nowhere
	if err := d.right(ctx); err != nil {
		return nil, false, unsent(err)
	}
	if d.identified <= 0 {
		return nil, false, fmt.Errorf("%w: the device does not tell its identity now: it is busy or says that it failed", sensors.ErrNotSent)
	}
	if out, done, err = d.state(ctx, now, c); err != nil || done {
		return out, done, unsent(err)
	}
	for try := 0; ; try++ {
		err = w.Write(ctx, d.request(c.Span(), true), c)
		if try == busyRetries || !errors.Is(err, ErrBusy) || accepted(err) || ctx.Err() != nil {
			return out, false, judge(err)
		}
	}
}

// right checks that the device that is meant answers.
func (d *Poller) right(ctx context.Context) error {
	if err := d.identify(ctx, true); err != nil {
		return err
	}
	if d.wrong {
		return errors.New("another device answers at this address: look at its identity and the wiring")
	}
	return nil
}

// state reads the read-back channel of c. A device that has no value for it is not done; it is
// written to all the same, because it answers.
func (d *Poller) state(ctx context.Context, now func() sensors.Mono, c *profile.Command) (out []sensors.Reading, done bool, err error) {
	if c.ReadBack < 0 {
		return nil, false, nil
	}
	ch := &d.p.Channels[c.ReadBack]
	s := ch.Span()
	at := now()
	data, err := d.read(ctx, d.request(s, true))
	if err != nil {
		return nil, false, fmt.Errorf("state of %s: %w", ch.Name, err)
	}
	words := make([]uint16, s.Count)
	for k := range words {
		words[k] = wordAt(s.Func, data, k)
	}
	v, q := ch.Decode(words)
	out = []sensors.Reading{{Point: d.ids[c.ReadBack], Value: v, Quality: q, At: at}}
	return out, q.Usable() && c.Done(v), nil
}

// unsent marks an error from before the write.
func unsent(err error) error {
	if err == nil || errors.Is(err, sensors.ErrNotSent) {
		return err
	}
	return fmt.Errorf("%w: %w", sensors.ErrNotSent, err)
}

// accepted is exception 5: the device has taken the write on and needs time.
func accepted(err error) bool {
	var e *Exception
	return errors.As(err, &e) && e.Code == 5
}

// judge says what is known after a write. A refusal is known only from a device that has looked at
// the request: exceptions 4, 8 and 11 may come from one that failed half way, or was never heard.
func judge(err error) error {
	var e *Exception
	switch {
	case err == nil, errors.Is(err, sensors.ErrNotSent):
		return err
	case !errors.As(err, &e):
		return fmt.Errorf("%w: %w", sensors.ErrUnconfirmed, err)
	}
	switch e.Code {
	case 5:
		return nil
	case 1, 2, 3, 6, 7, 10:
		return fmt.Errorf("%w: %w", sensors.ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", sensors.ErrUnconfirmed, err)
}
