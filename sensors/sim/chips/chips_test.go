package chips

import (
	"encoding/binary"
	"errors"
	"syscall"
	"testing"
	"time"
)

// rig is a TMP117 at 0x48 on a bus, with a hand-moved clock and temperature.
type rig struct {
	bus  *Bus
	chip *TMP117
	now  time.Duration
	temp float64
}

func newRig() *rig {
	r := &rig{bus: NewBus("test"), temp: 25}
	r.chip = NewTMP117(func() time.Duration { return r.now }, func() float64 { return r.temp })
	r.bus.Attach(0x48, r.chip)
	return r
}

func (r *rig) read(t *testing.T, reg byte) uint16 {
	t.Helper()
	var b [2]byte
	if err := r.bus.Tx(0x48, []byte{reg}, b[:]); err != nil {
		t.Fatal(err)
	}
	return binary.BigEndian.Uint16(b[:])
}

func (r *rig) want(t *testing.T, what string, reg byte, want uint16) {
	t.Helper()
	if got := r.read(t, reg); got != want {
		t.Errorf("%s: register %#02x is %#04x, want %#04x", what, reg, got, want)
	}
}

func TestTMP117PowerUp(t *testing.T) {
	r := newRig()
	r.want(t, "identity", 0x0F, 0x0117)
	r.want(t, "reset", 0x01, 0x0220)
	r.want(t, "reset", 0x02, 0x6000)
	r.want(t, "reset", 0x03, 0x8000)
	r.want(t, "before the first conversion", 0x00, 0x8000)
	r.now = 120 * time.Millisecond
	r.want(t, "still averaging", 0x00, 0x8000)
	r.now = 130 * time.Millisecond
	r.want(t, "data ready", 0x01, 0x2220)
	r.want(t, "reading the configuration clears it", 0x01, 0x0220)
	r.want(t, "25 C", 0x00, 0x0C80)
}

func TestTMP117Cycle(t *testing.T) {
	r := newRig()
	r.now = time.Second
	r.want(t, "first", 0x00, 0x0C80)
	r.temp = -25
	r.want(t, "within the cycle", 0x00, 0x0C80)
	r.want(t, "not ready again", 0x01, 0x0220)
	r.now = 1130 * time.Millisecond
	r.want(t, "ready", 0x01, 0x2220)
	r.want(t, "-25 C", 0x00, 0xF380)
	r.temp, r.now = 1e6, 10*time.Second
	r.want(t, "saturates", 0x00, 0x7FFF)
	r.chip.PowerCycle()
	r.want(t, "power cycle", 0x00, 0x8000)
	r.temp, r.now = 25, 20*time.Second
	r.read(t, 0)
	if err := r.bus.Tx(0x48, []byte{0x01, 0x02, 0x22}, nil); err != nil {
		t.Fatal(err)
	}
	r.want(t, "soft reset", 0x00, 0x8000)
}

func TestTMP117Shutdown(t *testing.T) {
	r := newRig()
	if err := r.bus.Tx(0x48, []byte{0x01, 0x06, 0x20}, nil); err != nil {
		t.Fatal(err)
	}
	r.now = time.Hour
	r.want(t, "shut down: no conversion", 0x00, 0x8000)
}

func TestTMP117PointerStays(t *testing.T) {
	r := newRig()
	r.read(t, 0x0F)
	var b [2]byte
	if err := r.bus.Tx(0x48, nil, b[:]); err != nil || b != [2]byte{0x01, 0x17} {
		t.Errorf("plain read after a pointer write: %x, %v", b, err)
	}
	if err := r.bus.Tx(0x48, []byte{0x10}, b[:]); !errors.Is(err, syscall.EREMOTEIO) {
		t.Errorf("no such register: %v", err)
	}
	r.chip.SetIdentity(0x1116)
	r.want(t, "wrong part", 0x0F, 0x1116)
}

func TestBusFaults(t *testing.T) {
	r := newRig()
	if err := r.bus.Tx(0x49, []byte{0}, nil); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("nobody there: %v", err)
	}
	fail := syscall.ETIMEDOUT
	r.bus.SetFault(0x48, func() error { return fail })
	if err := r.bus.Tx(0x48, []byte{0}, nil); !errors.Is(err, fail) {
		t.Errorf("injected: %v", err)
	}
	r.bus.SetFault(0x48, nil)
	r.want(t, "healed", 0x0F, 0x0117)
	r.bus.Attach(0x48, nil)
	if err := r.bus.Tx(0x48, []byte{0}, nil); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("taken off: %v", err)
	}
	if err := r.bus.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.bus.Tx(0x48, []byte{0}, nil); !errors.Is(err, syscall.EBADF) {
		t.Errorf("closed: %v", err)
	}
	r.bus.Attach(0x48, r.chip)
	r.bus.Reopen()
	r.want(t, "opened again", 0x0F, 0x0117)
	if r.bus.Transactions() != 6 {
		t.Errorf("%d transactions counted", r.bus.Transactions())
	}
}
