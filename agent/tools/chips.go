package tools

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/i2c"
	"firebreak/sensors/profile"
)

// SurveyFunc is i2c.Survey on an open adapter.
type SurveyFunc func(context.Context) (there, held []uint16, err error)

// ScanI2C lists the addresses that answer, and what may stand there.
func ScanI2C(ctx context.Context, w io.Writer, where string, survey SurveyFunc) error {
	fmt.Fprintf(w, `plan: ask each address of %s, 0x%02x to 0x%02x, for one byte; nothing is written
  takes about a second. The chips of Sensirion (SHT, SCD4x, SGP, SPS30) answer only when they have measured and are not found:
  ask for one with --chip sht4x@0x44
`, where, i2c.First, i2c.Last)
	there, held, err := survey(ctx)
	for _, a := range held {
		fmt.Fprintf(w, "0x%02x  is held by a driver of the kernel, and was not asked: see /sys/bus/i2c/devices\n", a)
	}
	for _, a := range there {
		may := "nothing that is known here"
		if names := i2c.ChipsAt(a); names != nil {
			may = strings.Join(names, ", ")
		}
		if a >= 0x70 {
			may += "; or a switch TCA9548A, whose channels are not opened here"
		}
		fmt.Fprintf(w, "0x%02x  answers; may be %s\n", a, may)
	}
	if err == nil && len(there) > 0 {
		fmt.Fprintln(w, "which chip it is, its driver finds out: --chip NAME@ADDRESS. That writes to the address, so be sure that no other chip stands there")
	}
	if err == nil && len(there)+len(held) == 0 {
		return fmt.Errorf("%s: nobody answers: look at power, pull-ups, SDA and SCL", where)
	}
	return err
}

// chipPoller is i2c.Poller.
type chipPoller interface {
	Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error)
}

// AskChip lets a driver measure a few times, and prints what it says.
func AskChip(ctx context.Context, w io.Writer, p *profile.Profile, addr uint16, open func([]sensors.Point) (chipPoller, error)) error {
	points := p.Expand(sensors.Device{Name: "chip"}, time.Minute)
	for i := range points {
		points[i].ID = sensors.PointID(i)
	}
	d, err := open(points)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%s at 0x%02x: its driver checks the identity and measures, which writes to the chip\n", p.Name, addr)
	began := time.Now()
	now := func() sensors.Mono { return sensors.Mono(time.Since(began)) + 1 }
	var rs []sensors.Reading
	for try := range 3 { // some answer with what an earlier poll began
		if try > 0 && !sleep(ctx, max(time.Second, p.Refresh)) {
			return ctx.Err()
		}
		if rs, err = d.Poll(ctx, now, nil); err != nil {
			return err
		}
		if allUsable(rs) {
			break
		}
	}
	bad := 0
	for _, r := range rs {
		c := &p.Channels[r.Point]
		v := r.Quality.String()
		if r.Quality.Usable() {
			v = value(r.Value, c.Unit) + ", " + v
		} else {
			bad++
		}
		fmt.Fprintf(w, "  %s  %s\n", c.Name, v)
	}
	if bad == len(rs) {
		return fmt.Errorf("%s at 0x%02x: no usable value: another chip, or not ready yet", p.Name, addr)
	}
	return nil
}

func allUsable(rs []sensors.Reading) bool {
	for _, r := range rs {
		if !r.Quality.Usable() {
			return false
		}
	}
	return len(rs) > 0
}

// ParseChip reads "sht4x@0x44".
func ParseChip(l Library, s string) (*profile.Profile, uint16, error) {
	name, at, ok := strings.Cut(s, "@")
	var addr uint16
	if _, err := fmt.Sscanf(at, "0x%x", &addr); !ok || err != nil || addr < i2c.First || addr > i2c.Last {
		return nil, 0, fmt.Errorf("chip %q: write PROFILE@ADDRESS, such as sht4x@0x44", s)
	}
	p, _, err := l.Load(name)
	if err == nil && p.Bus != profile.I2C {
		err = fmt.Errorf("profile %q is of a device on %s, and not on I2C", name, p.Bus)
	}
	return p, addr, err
}

// ScanAdapter opens an adapter, and scans it or asks one chip on it.
func ScanAdapter(ctx context.Context, w io.Writer, path string, l Library, chip string) error {
	var p *profile.Profile
	var addr uint16
	if chip != "" {
		var err error
		if p, addr, err = ParseChip(l, chip); err != nil {
			return err
		}
	}
	a, err := i2c.Open(path, i2c.Options{})
	if err != nil {
		return err
	}
	defer a.Close()
	if p == nil {
		return ScanI2C(ctx, w, path, func(ctx context.Context) ([]uint16, []uint16, error) { return i2c.Survey(ctx, a) })
	}
	return AskChip(ctx, w, p, addr, func(points []sensors.Point) (chipPoller, error) { return i2c.NewPoller(p.Chip, a, addr, points) })
}
