package tools

import (
	"context"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/i2c"
	"firebreak/sensors/sim/chips"
)

// Chips on a bus are listed with what they may be; one is asked through its driver, which sees whether it is
// the chip that was named.
func TestScanI2C(t *testing.T) {
	b := chips.NewBus("i2c-sim")
	up := time.Duration(0)
	b.Attach(0x49, chips.NewTMP117(func() time.Duration { up += time.Second; return up }, func() float64 { return 23.5 }))
	survey := func(ctx context.Context) ([]uint16, []uint16, error) { return i2c.Survey(ctx, b) }
	var out strings.Builder
	if err := ScanI2C(context.Background(), &out, "/dev/i2c-1", survey); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "nothing is written") || !strings.Contains(out.String(), "0x49  answers; may be ads1115, ina226, lm75, tmp117\n") || strings.Count(out.String(), " answers;") != 1 {
		t.Error(out.String())
	}
	ask := func(chip string) (string, error) {
		t.Helper()
		p, addr, err := ParseChip(Library{}, chip)
		if err != nil {
			return "", err
		}
		var out strings.Builder
		err = AskChip(context.Background(), &out, p, addr, func(points []sensors.Point) (chipPoller, error) {
			return i2c.NewPoller(p.Chip, b, addr, points)
		})
		return out.String(), err
	}
	if out, err := ask("tmp117@0x49"); err != nil || !strings.Contains(out, "temperature  23.5 C, good") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := ask("ads1115@0x49"); err == nil {
		t.Errorf("another chip was taken for the one that was named:\n%s", out)
	}
	for _, bad := range []string{"tmp117", "tmp117@73", "tmp117@0x99", "xy-md02@0x48", "none@0x48"} {
		if _, err := ask(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	b.Attach(0x49, nil)
	if err := ScanI2C(context.Background(), &out, "/dev/i2c-1", survey); err == nil {
		t.Error("an empty bus is no fault")
	}
}
