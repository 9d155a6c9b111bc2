package i2c

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linux/i2c-dev.h and linux/i2c.h.
const (
	ioRetries = 0x0701
	ioTimeout = 0x0702 // units of 10 ms
	ioSlave   = 0x0703
	ioFuncs   = 0x0705
	ioRdwr    = 0x0707
	ioSMBus   = 0x0720

	funcI2C           = 0x00000001
	funcByte          = 0x00020000 // reads; the write of the same size has the next bit
	funcWriteByte     = 0x00040000
	funcByteData      = 0x00080000
	funcWriteByteData = 0x00100000
	funcWordData      = 0x00200000
	funcWriteWordData = 0x00400000
	funcBlockData     = 0x04000000 // the I2C kind, whose length is not on the wire
	funcWriteBlock    = 0x08000000

	flagRead = 0x0001

	smbusWrite    = 0
	smbusRead     = 1
	smbusByte     = 1
	smbusByteData = 2
	smbusWordData = 3
	smbusI2CBlock = 8
	smbusBlockMax = 32
)

// message is struct i2c_msg, rdwr struct i2c_rdwr_ioctl_data, smbusCall struct
// i2c_smbus_ioctl_data. Real pointer types: the compiler lays them out like C on 32 and 64 bits,
// and the collector sees what they hold.
type message struct {
	addr  uint16
	flags uint16
	len   uint16
	buf   *byte
}

type rdwr struct {
	msgs  *message
	nmsgs uint32
}

type smbusCall struct {
	readWrite uint8
	command   uint8
	size      uint32
	data      *smbusData
}

// smbusData is union i2c_smbus_data; aligned for its word.
type smbusData struct {
	_     [0]uint16
	bytes [smbusBlockMax + 2]byte
}

// frame holds all that the kernel reads and writes during a transfer. It is part of an Adapter,
// hence on the heap: it neither moves nor goes away while the kernel has its address.
type frame struct {
	msgs [2]message
	rdwr rdwr
	call smbusCall
	data smbusData
	w, r []byte
}

// transfer does one I2C_RDWR of at most two messages.
func (f *frame) transfer(k kernel, addr uint16, w, r []byte) error {
	n := 0
	if len(w) > 0 {
		f.w = append(f.w[:0], w...)
		f.msgs[n] = message{addr: addr, len: uint16(len(w)), buf: &f.w[0]}
		n++
	}
	if len(r) > 0 {
		if cap(f.r) < len(r) {
			f.r = make([]byte, len(r))
		}
		f.r = f.r[:len(r)]
		clear(f.r) // never the bytes of an earlier transfer
		f.msgs[n] = message{addr: addr, flags: flagRead, len: uint16(len(r)), buf: &f.r[0]}
		n++
	}
	f.rdwr = rdwr{msgs: &f.msgs[0], nmsgs: uint32(n)}
	err := k.call(ioRdwr, unsafe.Pointer(&f.rdwr))
	runtime.KeepAlive(f)
	if err != nil {
		return err
	}
	copy(r, f.r) // f.r has the length of r whenever r is not empty
	return nil
}

// smbus does the transfer as an SMBus one, for adapters without plain I2C (the i801 of amd64 boards).
func (a *Adapter) smbus(w, r []byte) error {
	f := &a.frame
	f.data = smbusData{}
	f.call = smbusCall{data: &f.data}
	var need uint32
	var in []byte // where the answer stands
	switch nw, nr := len(w), len(r); {
	case nw == 0 && nr == 1:
		f.call.size, need, in = smbusByte, funcByte, f.data.bytes[:1]
	case nw == 1 && nr == 0:
		f.call.size, need = smbusByte, funcWriteByte
	case nw == 1 && nr == 1:
		f.call.size, need, in = smbusByteData, funcByteData, f.data.bytes[:1]
	case nw == 1 && nr == 2 && a.funcs&funcWordData != 0:
		f.call.size, need, in = smbusWordData, funcWordData, f.data.bytes[:2]
	case nw == 1 && nr >= 2 && nr <= smbusBlockMax:
		f.call.size, need, in = smbusI2CBlock, funcBlockData, f.data.bytes[1:1+nr]
		f.data.bytes[0] = byte(nr)
	case nw == 2 && nr == 0:
		f.call.size, need = smbusByteData, funcWriteByteData
		f.data.bytes[0] = w[1]
	case nw == 3 && nr == 0 && a.funcs&funcWriteWordData != 0:
		f.call.size, need = smbusWordData, funcWriteWordData
		f.data.setWord(w[1], w[2])
	case nw >= 3 && nw <= smbusBlockMax+1 && nr == 0:
		f.call.size, need = smbusI2CBlock, funcWriteBlock
		f.data.bytes[0] = byte(copy(f.data.bytes[1:], w[1:]))
	}
	if need == 0 || a.funcs&need == 0 {
		return fmt.Errorf("an SMBus-only adapter (functions %#x) cannot write %d and read %d bytes: use an adapter with plain I2C: %w",
			a.funcs, len(w), len(r), errors.ErrUnsupported)
	}
	if len(w) > 0 {
		f.call.command = w[0]
	}
	f.call.readWrite = smbusWrite
	if len(r) > 0 {
		f.call.readWrite = smbusRead
	}
	err := a.k.call(ioSMBus, unsafe.Pointer(&f.call))
	runtime.KeepAlive(f)
	if err != nil {
		return err
	}
	switch {
	case f.call.size == smbusWordData && len(r) == 2:
		r[0], r[1] = f.data.word()
	case f.call.size == smbusI2CBlock && len(r) > 0 && int(f.data.bytes[0]) < len(r):
		return fmt.Errorf("%d of %d bytes came: %w", f.data.bytes[0], len(r), unix.EPROTO)
	default:
		copy(r, in)
	}
	return nil
}

// The word is in the host's byte order in memory; on the wire its low byte goes first.
func (d *smbusData) setWord(first, second byte) {
	*(*uint16)(unsafe.Pointer(&d.bytes)) = uint16(first) | uint16(second)<<8
}

func (d *smbusData) word() (first, second byte) {
	v := *(*uint16)(unsafe.Pointer(&d.bytes))
	return byte(v), byte(v >> 8)
}

// funcsOf takes the functions out of the unsigned long that the kernel wrote to the start of word.
func funcsOf(word *uint64) uint32 {
	return uint32(*(*uintptr)(unsafe.Pointer(word)))
}

// fileKernel is the real kernel. The file counts its users, so that a Close beside a transfer
// never lets the transfer go to another file with the same number.
type fileKernel struct{ f *os.File }

func (k fileKernel) set(req uint, v uintptr) error {
	return k.control(func(fd uintptr) unix.Errno {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(req), v)
		return e
	})
}

func (k fileKernel) call(req uint, arg unsafe.Pointer) error {
	return k.control(func(fd uintptr) unix.Errno {
		_, _, e := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(req), uintptr(arg))
		return e
	})
}

func (k fileKernel) control(fn func(fd uintptr) unix.Errno) error {
	c, err := k.f.SyscallConn()
	if err != nil {
		return err
	}
	var e unix.Errno
	if c.Control(func(fd uintptr) { e = fn(fd) }) != nil {
		return os.ErrClosed // its only failure, by another error that nobody can name
	}
	if e != 0 {
		return e
	}
	return nil
}

func (k fileKernel) close() error { return k.f.Close() }
