package i2c

import (
	"fmt"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fakeKernel answers the ioctls as i2c-dev does, from the memory that it is pointed to. It checks
// how requests are built; what a real adapter does with them is not tested here.
type fakeKernel struct {
	funcs  uintptr
	fail   map[uint]error // by request
	log    []string
	sets   map[uint]uintptr
	answer []byte // what reads return, from the first byte on
	before func() // while the kernel holds the addresses
	closed bool
}

func (k *fakeKernel) note(format string, args ...any) {
	k.log = append(k.log, fmt.Sprintf(format, args...))
}

func (k *fakeKernel) set(req uint, v uintptr) error {
	if err := k.fail[req]; err != nil {
		return err
	}
	if k.sets == nil {
		k.sets = map[uint]uintptr{}
	}
	k.sets[req] = v
	if req == ioSlave {
		k.note("slave %#x", v)
	}
	return nil
}

func (k *fakeKernel) call(req uint, arg unsafe.Pointer) error {
	if k.before != nil {
		k.before()
	}
	if err := k.fail[req]; err != nil {
		return err
	}
	switch req {
	case ioFuncs:
		*(*uintptr)(arg) = k.funcs
	case ioRdwr:
		d := (*rdwr)(arg)
		for _, m := range unsafe.Slice(d.msgs, d.nmsgs) {
			b := unsafe.Slice(m.buf, m.len)
			if m.flags == flagRead {
				k.note("read %#x %d", m.addr, copy(b, k.answer))
			} else {
				k.note("write %#x %x flags %d", m.addr, b, m.flags)
			}
		}
	case ioSMBus:
		k.smbus((*smbusCall)(arg))
	default:
		return unix.ENOTTY
	}
	return nil
}

func (k *fakeKernel) smbus(c *smbusCall) {
	b := c.data.bytes[:]
	if c.readWrite == smbusWrite {
		switch c.size {
		case smbusWordData:
			k.note("smbus write word %#x %04x", c.command, *(*uint16)(unsafe.Pointer(&b[0])))
		case smbusI2CBlock:
			k.note("smbus write block %#x %x", c.command, b[1:1+b[0]])
		default:
			k.note("smbus write %d %#x %x", c.size, c.command, b[0])
		}
		return
	}
	k.note("smbus read %d %#x", c.size, c.command)
	switch c.size {
	case smbusWordData: // low byte first on the wire
		*(*uint16)(unsafe.Pointer(&b[0])) = uint16(k.answer[0]) | uint16(k.answer[1])<<8
	case smbusI2CBlock:
		b[0] = byte(copy(b[1:1+b[0]], k.answer))
	default:
		b[0] = k.answer[0]
	}
}

func (k *fakeKernel) close() error { k.closed = true; return nil }

func openFake(t *testing.T, k *fakeKernel) *Adapter {
	t.Helper()
	a, err := open("/dev/i2c-7", k, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}
