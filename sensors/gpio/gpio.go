// Package gpio reads contacts on GPIO lines of the kernel's character devices (/dev/gpiochipN), through
// go-gpiocdev, as inputs only: nothing is ever driven.
//
// A contact that is wired over two lines is supervised: its other contact (or the far end of its loop) is
// on the line `guard`, which must always read the opposite. Both alike is a cut or shorted wire, and the
// point is bad: never "normal".
//
// Concurrency: a Poller belongs to one goroutine; Close may come from another. Failure: lines that cannot be
// had are asked for again at the next poll; a chip that is unplugged closes them. A read is one ioctl of
// a chip of the board and does not wait; a chip behind I2C may hang with its bus, and then the owner of
// this bus says so.
package gpio

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"github.com/warthog618/go-gpiocdev"
	"golang.org/x/sys/unix"
)

// lines are requested lines of one chip.
type lines interface {
	Values(values []int) error
	Close() error
}

// request is what is asked of the kernel.
type request struct {
	chip    string
	offsets []int
	pulls   []string // by offset: "", up or down
}

// Poller reads the contacts of one device.
type Poller struct {
	dec  *profile.Decoder
	ask  func(request) (lines, error)
	req  request
	line []int // by channel: its place in req.offsets
	pair []int // that of its guard; -1: none
	raw  []profile.Raw
	vals []int

	mu     sync.Mutex // guards what follows, never held while lines are asked for or read
	have   lines
	closed bool
}

// New makes the poller of a device whose channels are lines of chip ("/dev/gpiochip0"). points are those
// that p.Expand made, with their IDs. The lines are asked for at the first poll.
func New(chip string, p *profile.Profile, points []sensors.Point) (*Poller, error) {
	return newPoller(chip, p, points, kernel)
}

func newPoller(chip string, p *profile.Profile, points []sensors.Point, ask func(request) (lines, error)) (*Poller, error) {
	if p == nil || p.Bus != profile.GPIO {
		return nil, errors.New("a GPIO poller needs the profile of contacts")
	}
	dec, err := profile.NewDecoder(p, points)
	if err != nil {
		return nil, err
	}
	d := &Poller{dec: dec, ask: ask, req: request{chip: chip}, raw: make([]profile.Raw, len(points))}
	at := map[int]int{}
	place := func(offset int, pull string) int {
		k, ok := at[offset]
		if !ok {
			k = len(d.req.offsets)
			at[offset] = k
			d.req.offsets, d.req.pulls = append(d.req.offsets, offset), append(d.req.pulls, pull)
		}
		return k
	}
	for i := range p.Channels {
		c := &p.Channels[i]
		d.line = append(d.line, place(int(c.Address), c.Pull))
		guard := -1
		if c.Guarded {
			guard = place(int(c.Guard), c.Pull)
		}
		d.pair = append(d.pair, guard)
	}
	if n := len(d.req.offsets); n > maxLines {
		return nil, fmt.Errorf("%d lines: the kernel hands out %d at once", n, maxLines)
	}
	d.vals = make([]int, len(d.req.offsets))
	return d, nil
}

const maxLines = 64 // GPIO_V2_LINES_MAX

// kernel asks for lines as inputs.
func kernel(r request) (lines, error) {
	chip, err := filepath.EvalSymlinks(r.chip) // the library refuses a name that udev has given, which alone stays the same
	if err != nil {
		return nil, err
	}
	opts := []gpiocdev.LineReqOption{gpiocdev.AsInput, gpiocdev.WithConsumer("firebreak")}
	for i, pull := range r.pulls {
		switch pull {
		case "up":
			opts = append(opts, gpiocdev.WithLines([]int{r.offsets[i]}, gpiocdev.WithPullUp))
		case "down":
			opts = append(opts, gpiocdev.WithLines([]int{r.offsets[i]}, gpiocdev.WithPullDown))
		}
	}
	l, err := gpiocdev.RequestLines(chip, r.offsets, opts...)
	if err != nil {
		return nil, err // not l: a nil pointer in an interface is not nil
	}
	return l, nil
}

// Poll reads all lines at once: a contact and its guard are of one instant.
func (d *Poller) Poll(_ context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	at := now()
	l, err := d.open()
	if err == nil {
		if err = l.Values(d.vals); err != nil {
			d.drop()
		}
	}
	if err != nil {
		return out, fmt.Errorf("lines %v of %s: %w%s", d.req.offsets, d.req.chip, err, hint(err))
	}
	for i := range d.raw {
		v := d.vals[d.line[i]]
		d.raw[i] = profile.Raw{Words: []uint16{uint16(v)}, At: at}
		if g := d.pair[i]; g >= 0 && d.vals[g] == v {
			d.raw[i] = profile.Raw{Fail: sensors.Sentinel, At: at} // a cut or shorted wire
		}
	}
	return d.dec.Decode(d.raw, out), nil
}

func (d *Poller) open() (lines, error) {
	d.mu.Lock()
	l, closed := d.have, d.closed
	d.mu.Unlock()
	if closed {
		return nil, errors.New("closed")
	}
	if l != nil {
		return l, nil
	}
	l, err := d.ask(d.req)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		l.Close()
		return nil, errors.New("closed")
	}
	d.have = l
	return l, nil
}

func (d *Poller) drop() {
	d.mu.Lock()
	l := d.have
	d.have = nil
	d.mu.Unlock()
	if l != nil {
		l.Close()
	}
}

// Close gives the lines back.
func (d *Poller) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.drop()
	return nil
}

// hint says what an errno of a request means.
func hint(err error) string {
	switch {
	case errors.Is(err, unix.EBUSY):
		return ": another program or a kernel driver holds a line, see `gpioinfo`"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
		return ": the chip is not there, see `gpiodetect`"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return ": put the agent's user into the group that owns the chip"
	case errors.Is(err, unix.EINVAL):
		return ": the chip has no such line, or cannot set its pull"
	}
	return ""
}
