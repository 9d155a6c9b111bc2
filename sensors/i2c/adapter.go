// Package i2c reads chips on a Linux I2C adapter: our own /dev/i2c-N behind periph's i2c.BusCloser,
// and one file per chip, each of which takes any i2c.Bus. Periph's own sysfs bus is not used: it has
// no time-out, loses the errno, does not work on SMBus-only adapters, and hands the kernel addresses
// that a growing stack may have moved.
//
// Concurrency: an Adapter may be used from any goroutine, one transfer at a time; the goroutine that
// owns the bus (sensors/bus) is meant to be the only user. A Poller belongs to one goroutine.
//
// Failure: an error keeps its errno (errors.Is with unix.ENXIO works) and says what to look at. The
// kernel cannot be told to give a transfer up: its time-out (I2C_TIMEOUT) is the bound, and a
// context is looked at between transfers only. Close never waits for a transfer under way.
package i2c

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
)

// Options of an adapter. The zero value is usable.
type Options struct {
	// Timeout bounds the wait of the kernel for one transfer, in steps of 10 ms; 0 is 100 ms,
	// which leaves room for a chip that stretches the clock. It holds for the whole adapter.
	Timeout time.Duration
	// Retries is how often the kernel repeats after lost arbitration; 0 is one.
	Retries int
}

const maxMessage = 8192 // of the kernel's i2c-dev, per message

// kernel is the ioctl layer of one open adapter.
type kernel interface {
	set(req uint, v uintptr) error           // the argument is a number
	call(req uint, arg unsafe.Pointer) error // the argument points to a structure on the heap
	close() error
}

// Adapter is one open /dev/i2c-N.
type Adapter struct {
	path  string
	k     kernel
	funcs uint32
	file  os.FileInfo // what the path was when it was opened

	mu      sync.Mutex
	owned   [128]bool // addresses that no kernel driver holds
	slave   uint16    // address set by I2C_SLAVE, for SMBus
	slaveOK bool
	frame   frame
}

var _ i2c.BusCloser = (*Adapter)(nil)

// Open opens an adapter, "/dev/i2c-1", checks what it can do, and sets its time-out and retries.
func Open(path string, opt Options) (*Adapter, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil, fmt.Errorf("i2c adapter: %w: load the module i2c-dev, enable the bus in the device tree, see `i2cdetect -l`", err)
		case errors.Is(err, os.ErrPermission):
			return nil, fmt.Errorf("i2c adapter: %w: put the agent's user into the group i2c", err)
		}
		return nil, fmt.Errorf("i2c adapter: %w", err)
	}
	a, err := open(path, fileKernel{f}, opt)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	a.file, _ = f.Stat() // nil: then Gone does not know
	return a, nil
}

// Gone tells that the path does not lead to the open adapter any more: a USB adapter was pulled out, or came back
// under another number. It has to be closed then: until it is, the kernel keeps the old one and its number.
func (a *Adapter) Gone() bool {
	if a.file == nil {
		return false
	}
	now, err := os.Stat(a.path)
	return errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(a.file, now)
}

func open(path string, k kernel, opt Options) (*Adapter, error) {
	if opt.Timeout == 0 {
		opt.Timeout = 100 * time.Millisecond
	}
	if opt.Retries == 0 {
		opt.Retries = 1
	}
	if opt.Timeout < 0 || opt.Timeout > time.Minute || opt.Retries < 0 || opt.Retries > 100 {
		return nil, fmt.Errorf("i2c adapter %s: time-out %v, retries %d: give 10 ms to 1 min, 1 to 100", path, opt.Timeout, opt.Retries)
	}
	a := &Adapter{path: path, k: k}
	word := new(uint64) // the kernel writes an unsigned long: 4 or 8 bytes
	if err := k.call(ioFuncs, unsafe.Pointer(word)); err != nil {
		return nil, fmt.Errorf("i2c adapter %s: reading its functions: %w: is it an i2c-dev device?", path, err)
	}
	a.funcs = funcsOf(word)
	if a.funcs&(funcI2C|funcByteData|funcWordData|funcBlockData) == 0 {
		return nil, fmt.Errorf("i2c adapter %s: can neither I2C nor SMBus reads (functions %#x): use another adapter", path, a.funcs)
	}
	ticks := max(1, int64(math.Ceil(float64(opt.Timeout)/float64(10*time.Millisecond))))
	if err := k.set(ioTimeout, uintptr(ticks)); err != nil {
		return nil, fmt.Errorf("i2c adapter %s: setting its time-out: %w", path, err)
	}
	if err := k.set(ioRetries, uintptr(opt.Retries)); err != nil {
		return nil, fmt.Errorf("i2c adapter %s: setting its retries: %w", path, err)
	}
	return a, nil
}

// String names the adapter.
func (a *Adapter) String() string { return "i2c(" + a.path + ")" }

// SetSpeed is refused: on Linux the speed belongs to the device tree or the adapter's module.
func (a *Adapter) SetSpeed(f physic.Frequency) error {
	return fmt.Errorf("%v: cannot set its speed to %v: set clock-frequency in the device tree: %w", a, f, errors.ErrUnsupported)
}

// Close closes the adapter. A transfer under way ends by itself, later ones fail with os.ErrClosed.
func (a *Adapter) Close() error {
	if err := a.k.close(); err != nil {
		return fmt.Errorf("%v: %w", a, err)
	}
	return nil
}

// Tx writes w, then reads len(r) bytes after a repeated start, as one transfer.
func (a *Adapter) Tx(addr uint16, w, r []byte) error {
	if addr > 0x7f {
		return fmt.Errorf("%v: address %#x: give a 7-bit address", a, addr)
	}
	if len(w) == 0 && len(r) == 0 {
		return fmt.Errorf("%v: transfer with %#02x of nothing: give bytes to write or to read", a, addr)
	}
	if len(w) > maxMessage || len(r) > maxMessage {
		return fmt.Errorf("%v: transfer with %#02x of %d and %d bytes: the kernel takes %d at once", a, addr, len(w), len(r), maxMessage)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.claim(addr); err != nil {
		return a.explain(addr, err)
	}
	var err error
	if a.funcs&funcI2C != 0 {
		err = a.frame.transfer(a.k, addr, w, r)
	} else {
		err = a.smbus(w, r)
	}
	if err != nil {
		return a.explain(addr, err)
	}
	return nil
}

// claim asks the kernel whether a driver of its own holds addr, since I2C_RDWR would not, and a
// chip must not be trampled under its driver. For SMBus it also selects the address.
func (a *Adapter) claim(addr uint16) error {
	if a.funcs&funcI2C != 0 && a.owned[addr] || a.slaveOK && a.slave == addr {
		return nil
	}
	a.slaveOK = false
	if err := a.k.set(ioSlave, uintptr(addr)); err != nil {
		return err
	}
	a.owned[addr], a.slave, a.slaveOK = true, addr, true
	return nil
}

// explain adds to an errno what it means on an I2C bus and what to look at. See the kernel's
// Documentation/i2c/fault-codes.rst.
func (a *Adapter) explain(addr uint16, err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EREMOTEIO):
		hint = "no device acknowledges: check its address switches, wiring and power, see `i2cdetect`"
	case errors.Is(err, unix.ETIMEDOUT):
		hint = "the bus does not answer in time: a chip stretches the clock or holds a line low; check pull-ups, power-cycle the sensors"
	case errors.Is(err, unix.EAGAIN):
		hint = "arbitration lost: another master or a stuck line; check that nothing else drives the bus"
	case errors.Is(err, unix.EBUSY):
		hint = "a kernel driver holds the address, or the bus is stuck: unbind the driver (see /sys/bus/i2c/devices), check that both lines are high"
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EPROTO):
		hint = "the transfer failed: check wiring, length and pull-ups of the bus"
	case errors.Is(err, unix.EOPNOTSUPP):
		hint = "the adapter cannot do this transfer: use an adapter with plain I2C"
	}
	if hint == "" {
		return fmt.Errorf("%v: address %#02x: %w", a, addr, err)
	}
	return fmt.Errorf("%v: address %#02x: %w: %s", a, addr, err, hint)
}
