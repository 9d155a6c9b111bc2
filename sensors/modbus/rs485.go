package modbus

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RS485 makes the kernel's driver switch the transmitter by RTS (Documentation/driver-api/serial/serial-rs485.rst).
// Most USB adapters switch by themselves and need none of it; a UART of a board does.
type RS485 struct {
	Enabled     bool
	Inverted    bool          // RTS is low while sending
	DelayBefore time.Duration // from RTS to the first bit, whole milliseconds
	DelayAfter  time.Duration // from the last bit to RTS
}

// serialRS485 is struct serial_rs485 of linux/serial.h.
type serialRS485 struct {
	flags       uint32
	delayBefore uint32 // ms
	delayAfter  uint32 // ms
	padding     [5]uint32
}

const (
	tiocsRS485 = 0x542F // asm-generic/ioctls.h: amd64, arm, arm64

	rs485Enabled   = 1 << 0
	rs485OnSend    = 1 << 1
	rs485AfterSend = 1 << 2
)

func ioctlRS485(fd int, arg *serialRS485) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), tiocsRS485, uintptr(unsafe.Pointer(arg))); errno != 0 {
		return errno
	}
	return nil
}

// apply hands the settings to the driver; without them it asks nothing of it.
func (r RS485) apply(fd int, ioctl func(fd int, arg *serialRS485) error) error {
	if !r.Enabled {
		return nil
	}
	arg := &serialRS485{flags: rs485Enabled | rs485OnSend, delayBefore: milliseconds(r.DelayBefore), delayAfter: milliseconds(r.DelayAfter)}
	if r.Inverted {
		arg.flags = rs485Enabled | rs485AfterSend
	}
	if err := ioctl(fd, arg); err != nil {
		return fmt.Errorf("RS-485 settings: %w: the driver of this port has none; leave rs485 out if the adapter switches by itself", err)
	}
	return nil
}

// milliseconds rounds up: a delay that is too short cuts bits off.
func milliseconds(d time.Duration) uint32 {
	return uint32((d + time.Millisecond - 1) / time.Millisecond)
}
