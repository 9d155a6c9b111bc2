package chips

import (
	"encoding/binary"
	"math"
	"sync"
	"syscall"
	"time"
)

// Registers and values of the TMP117, TI SNOSD82D, register map and result page.
const (
	tmpResult = 0x00
	tmpConfig = 0x01
	tmpHigh   = 0x02
	tmpLow    = 0x03
	tmpUnlock = 0x04
	tmpID     = 0x0F

	tmpNotReady  = 0x8000 // -256 C: from reset until the end of the first conversion
	tmpReset     = 0x0220 // continuous, 8 averages, 1 s cycle
	tmpDataReady = 1 << 13
	tmpShutdown  = 1 << 10
	tmpSoftReset = 1 << 1
	tmpWritable  = 0x0FFC
	tmpIdentity  = 0x0117

	tmpStart  = 1500 * time.Microsecond
	tmpSingle = 15500 * time.Microsecond
)

// TMP117 is the register model of the chip. Its conversions happen on the clock that it was given:
// between two of them the result stands still, and data-ready rises once for each.
type TMP117 struct {
	now  func() time.Duration
	read func() float64

	mu      sync.Mutex
	pointer byte
	regs    [16]uint16
	started time.Duration // the conversions run from here
	done    int64         // conversions taken into the result register
}

// NewTMP117 returns a chip powered on at now(). read gives the temperature at the chip in C; it is
// called once for each conversion that is looked at.
func NewTMP117(now func() time.Duration, read func() float64) *TMP117 {
	t := &TMP117{now: now, read: read}
	t.resetLocked()
	return t
}

func (t *TMP117) resetLocked() {
	t.pointer = 0
	t.regs = [16]uint16{tmpResult: tmpNotReady, tmpConfig: tmpReset, tmpHigh: 0x6000, tmpLow: 0x8000, tmpID: tmpIdentity}
	t.started, t.done = t.now(), 0
}

// PowerCycle is a loss of supply and its return: the result is not ready again.
func (t *TMP117) PowerCycle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.resetLocked()
}

// SetIdentity makes the chip answer with another device id, as a wrong part would.
func (t *TMP117) SetIdentity(id uint16) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.regs[tmpID] = id
}

// Tx implements Chip: the first byte written is the pointer, two more write the register.
func (t *TMP117) Tx(w, r []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.convertLocked()
	switch len(w) {
	case 0:
	case 1, 3:
		if w[0] > tmpID {
			return syscall.EREMOTEIO
		}
		t.pointer = w[0]
		if len(w) == 3 {
			t.writeLocked(binary.BigEndian.Uint16(w[1:]))
		}
	default:
		return syscall.EREMOTEIO
	}
	if len(r) == 0 {
		return nil
	}
	var word [2]byte
	binary.BigEndian.PutUint16(word[:], t.regs[t.pointer])
	for i := range r {
		r[i] = 0xFF // the chip drives two bytes; after them the bus idles high
	}
	copy(r, word[:])
	if t.pointer == tmpResult || t.pointer == tmpConfig {
		t.regs[tmpConfig] &^= tmpDataReady
	}
	return nil
}

// convertLocked takes over the newest finished conversion.
func (t *TMP117) convertLocked() {
	cfg := t.regs[tmpConfig]
	if cfg&tmpShutdown != 0 {
		return
	}
	averages := [...]time.Duration{1, 8, 32, 64}[cfg>>5&3]
	cycle := [...]time.Duration{0, 125, 250, 500, 1000, 4000, 8000, 16000}[cfg>>7&7] * time.Millisecond
	first := tmpStart + averages*tmpSingle
	cycle = max(cycle, averages*tmpSingle)
	since := t.now() - t.started - first
	if since < 0 {
		return
	}
	if n := int64(since/cycle) + 1; n > t.done {
		t.done = n
		code := math.Round(t.read() / 0.0078125)
		t.regs[tmpResult] = uint16(int16(max(-32768, min(32767, code))))
		t.regs[tmpConfig] |= tmpDataReady
	}
}

func (t *TMP117) writeLocked(v uint16) {
	switch t.pointer {
	case tmpConfig:
		if v&tmpSoftReset != 0 {
			t.resetLocked()
			return
		}
		t.regs[tmpConfig] = t.regs[tmpConfig]&^tmpWritable | v&tmpWritable
		t.started, t.done = t.now(), 0
	case tmpHigh, tmpLow, tmpUnlock, 0x05, 0x06, 0x07, 0x08:
		t.regs[t.pointer] = v
	}
}
