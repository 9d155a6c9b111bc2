package i2c

import (
	"context"
	"errors"
	"slices"
	"testing"

	"firebreak/sensors/sim/chips"

	"golang.org/x/sys/unix"
)

// readOnly is a chip that a written byte would change.
type readOnly struct{ t *testing.T }

func (c readOnly) Tx(w, r []byte) error {
	if len(w) > 0 {
		c.t.Errorf("% x was written", w)
	}
	return nil
}

func TestSurvey(t *testing.T) {
	b := chips.NewBus("b")
	for _, a := range []uint16{0x08, 0x21, 0x48, 0x77} {
		b.Attach(a, readOnly{t})
	}
	b.Attach(0x78, readOnly{t}) // reserved
	b.SetFault(0x50, func() error { return unix.EBUSY })
	there, held, err := Survey(context.Background(), b)
	if err != nil || !slices.Equal(there, []uint16{0x08, 0x21, 0x48, 0x77}) || !slices.Equal(held, []uint16{0x50}) {
		t.Errorf("%#x, held %#x, %v", there, held, err)
	}
	b.SetFault(0x30, func() error { return unix.ETIMEDOUT })
	if there, _, err := Survey(context.Background(), b); !errors.Is(err, unix.ETIMEDOUT) || len(there) != 2 {
		t.Errorf("a stuck bus: %#x, %v", there, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := Survey(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// Each driver has its addresses.
func TestAddresses(t *testing.T) {
	for _, n := range Chips() {
		r, ok := addresses()[n]
		if !ok || r[0] < First || r[1] > Last || r[0] > r[1] {
			t.Errorf("%s: %#x", n, r)
		}
	}
	if len(addresses()) != len(Chips()) {
		t.Error("an address of a chip without a driver")
	}
	if got := ChipsAt(0x44); !slices.Equal(got, []string{"hdc302x", "ina226", "sht3x", "sht4x"}) {
		t.Errorf("0x44: %v", got)
	}
}
