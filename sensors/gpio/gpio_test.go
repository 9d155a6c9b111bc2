package gpio

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"golang.org/x/sys/unix"
)

const contacts = `name = "contacts"
title = "contacts of a fire panel"
bus = "gpio"
source = "wiring"
[[channel]]
name = "fire.alarm"
address = 4
guard = 5
pull = "up"
physics = "smoke"
hazard = 1
panel = true
[[channel]]
name = "door.open"
address = 7
invert = true
`

// fakeLines stands where the kernel's ioctl would: this machine has no GPIO chip.
type fakeLines struct {
	values []int
	err    error
	closed bool
}

func (f *fakeLines) Values(v []int) error { copy(v, f.values); return f.err }
func (f *fakeLines) Close() error         { f.closed = true; return nil }

func newFake(t *testing.T, ask func(request) (lines, error)) *Poller {
	t.Helper()
	p, err := profile.Parse("contacts.toml", []byte(contacts))
	if err != nil {
		t.Fatal(err)
	}
	points := p.Expand(sensors.Device{Name: "panel"}, time.Second)
	for i := range points {
		points[i].ID = sensors.PointID(10 + i)
	}
	d, err := newPoller("/dev/gpiochip0", p, points, ask)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func said(t *testing.T, d *Poller) string {
	t.Helper()
	rs, err := d.Poll(context.Background(), func() sensors.Mono { return 5 }, nil)
	if err != nil {
		return err.Error()
	}
	var s []string
	for i, r := range rs {
		if r.Point != sensors.PointID(10+i) || r.At != 5 {
			t.Errorf("%+v", r)
		}
		s = append(s, fmt.Sprint(r.Value, " ", r.Quality))
	}
	return strings.Join(s, ", ")
}

// A supervised contact is normal or in alarm only while its guard reads the opposite: a cut and a
// shorted wire are bad, whichever way the contact is wired, and never normal.
func TestSupervisedContact(t *testing.T) {
	f := &fakeLines{}
	d := newFake(t, func(r request) (lines, error) {
		if got := fmt.Sprint(r); got != "{/dev/gpiochip0 [4 5 7] [up up ]}" {
			t.Errorf("asked for %s", got)
		}
		return f, nil
	})
	for _, c := range []struct {
		values []int
		want   string
	}{
		{[]int{0, 1, 1}, "0 good, 0 good"},
		{[]int{1, 0, 0}, "1 good, 1 good"},
		{[]int{1, 1, 1}, "0 bad:sentinel, 0 good"},
		{[]int{0, 0, 0}, "0 bad:sentinel, 1 good"},
	} {
		f.values = c.values
		if got := said(t, d); got != c.want {
			t.Errorf("lines %v: %s, want %s", c.values, got, c.want)
		}
	}
}

// A chip that is absent, held or unplugged: no reading, a word what to look at, and it is asked again.
func TestLinesThatCannotBeHad(t *testing.T) {
	var answer error
	var given []*fakeLines
	d := newFake(t, func(request) (lines, error) {
		if answer != nil {
			return nil, answer
		}
		given = append(given, &fakeLines{values: []int{0, 1, 1}})
		return given[len(given)-1], nil
	})
	for errno, want := range map[unix.Errno]string{unix.EBUSY: "gpioinfo", unix.ENOENT: "gpiodetect", unix.EACCES: "group", unix.EINVAL: "pull", unix.EIO: "input/output"} {
		answer = errno
		if got := said(t, d); !strings.Contains(got, want) || !strings.Contains(got, "/dev/gpiochip0") {
			t.Errorf("%v: %s", errno, got)
		}
	}
	answer = nil
	if got := said(t, d); got != "0 good, 0 good" {
		t.Errorf("after a failure: %s", got)
	}
	given[0].err = unix.ENODEV // unplugged
	if got := said(t, d); !strings.Contains(got, "gpiodetect") || !given[0].closed {
		t.Errorf("unplugged: %s, closed %v", got, given[0].closed)
	}
	if got := said(t, d); got != "0 good, 0 good" || len(given) != 2 {
		t.Errorf("plugged in again: %s", got)
	}
	d.Close()
	if got := said(t, d); !strings.Contains(got, "closed") || !given[1].closed {
		t.Errorf("after Close: %s", got)
	}
}

// The real way to the kernel, as far as it goes without a chip.
func TestKernelWithoutChip(t *testing.T) {
	p, err := profile.Parse("contacts.toml", []byte(contacts))
	if err != nil {
		t.Fatal(err)
	}
	d, err := New("/dev/null", p, p.Expand(sensors.Device{Name: "panel"}, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Poll(context.Background(), func() sensors.Mono { return 0 }, nil); err == nil {
		t.Error("/dev/null was taken as a GPIO chip")
	}
	if _, err := New("/dev/gpiochip0", &profile.Profile{Bus: profile.I2C}, nil); err == nil {
		t.Error("the profile of a chip was accepted")
	}
}

func TestContactFaults(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"guard = 5\n", "", "counts as supervised"},
		{"guard = 5", "guard = 4", "cannot guard itself"},
		{`pull = "up"`, `pull = "left"`, `pull is "left"`},
		{"address = 7\n", "", "address"},
		{"address = 7\n", "address = 7\nfunction = \"coil\"\n", "belongs to Modbus"},
		{"address = 7\n", "address = 7\ntype = \"u16\"\n", "u16"},
		{`bus = "gpio"`, `bus = "gpios"`, `"gpio"`},
	} {
		if _, err := profile.Parse("contacts.toml", []byte(strings.Replace(contacts, c.old, c.new, 1))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.new, err, c.want)
		}
	}
}

// Timeline 17: a supervised contact that is wired the other way round says alarm at rest, from the first moment on. Whichever of
// its wires is cut or shorted then, it is a fault, and never normal.
func TestContactWiredTheOtherWayRound(t *testing.T) {
	f := &fakeLines{values: []int{1, 0, 1}}
	d := newFake(t, func(request) (lines, error) { return f, nil })
	if got := said(t, d); got != "1 good, 0 good" {
		t.Errorf("at rest: %s", got)
	}
	for _, cut := range [][]int{{1, 1, 1}, {0, 0, 1}} {
		f.values = cut
		if got := said(t, d); got != "0 bad:sentinel, 0 good" {
			t.Errorf("lines %v: %s", cut, got)
		}
	}
}
