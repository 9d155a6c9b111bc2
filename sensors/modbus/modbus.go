// Package modbus reads devices over Modbus TCP, RTU, ASCII, and RTU or ASCII over TCP. The packagers of goburrow/modbus encode
// and check frames; the transports are our own, since those of the library take a late reply for
// the next one's. Reads are function codes 1 to 4. The only writes are the commands of a device's
// profile: fixed values, sent by Poller.Send alone, and none to a detector (S25); the tool that gives
// a unit its number, which no agent imports, is the one exception.
//
// A Link is one TCP endpoint or one serial line; a Poller is one device on it. The bus package
// owns both and calls them from one goroutine; a second concurrent Read waits its turn. Close may
// come from any goroutine and interrupts a request at once.
//
// Failure: every request has an absolute deadline. After any failure but a Modbus exception the
// stream is not trusted: a TCP socket is closed, a serial line is drained for the device's
// worst-case turnaround, and then has to prove that no late reply is under way. A reply counts only when its unit, function and length are those of the
// request; nothing else ever becomes a value.
package modbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebreak/sensors/profile"

	"github.com/goburrow/modbus"
)

// Link sends one read request at a time. Read returns exactly the data bytes that the request
// asks for, or an error.
type Link interface {
	Read(ctx context.Context, r Request) ([]byte, error)
	Close() error
}

// Request is one read. Timing comes from the device's profile, since one line may carry slow and
// quick devices.
type Request struct {
	Unit       byte
	ReplyUnit  byte // that a reply bears, if another; 0: Unit
	Func       profile.Function
	Address    uint16
	Quantity   uint16
	Timeout    time.Duration  // for the reply, time on the wire apart
	Turnaround time.Duration  // RTU: how long a reply may still come after a failure
	FrameGap   time.Duration  // RTU: silence before the request, if longer than the line's own
	Witness    []profile.Span // RTU: short reads that the profile allows, of different functions and lengths
	Once       bool           // a person or a plan waits: do not sit out a back-off, try now, once

	write *profile.Command // set by Write alone: what is written instead
}

func (r Request) String() string {
	if w := r.write; w != nil {
		return fmt.Sprintf("unit %d function %d, %s %d = %d", r.Unit, w.Code(), w.Func, w.Address, w.Values)
	}
	return fmt.Sprintf("unit %d %s %d+%d", r.Unit, r.Func, r.Address, r.Quantity)
}

const defaultTimeout = time.Second

func (r Request) timeout() time.Duration {
	if r.Timeout <= 0 {
		return defaultTimeout // never no deadline
	}
	return r.Timeout
}

// code is the function code on the wire.
func (r Request) code() byte {
	if r.write != nil {
		return r.write.Code()
	}
	return byte(r.Func)
}

// answers is the unit of the reply.
func (r Request) answers() byte {
	if r.ReplyUnit != 0 {
		return r.ReplyUnit
	}
	return r.Unit
}

// replyLen is the number of bytes in the PDU of a good reply; of an identification it is the most.
func (r Request) replyLen() int {
	if r.write != nil {
		return echoLen
	}
	if r.identifies() {
		return maxPDU
	}
	return 2 + r.dataLen()
}

// dataLen is the number of data bytes in a good reply to a read.
func (r Request) dataLen() int {
	if r.Func.Bits() {
		return (int(r.Quantity) + 7) / 8
	}
	return 2 * int(r.Quantity)
}

// Failures of a link. Those of the device are an *Exception.
var (
	ErrClosed   = errors.New("link closed")
	ErrTimeout  = errors.New("no reply in time")
	ErrLinkDown = errors.New("link down")
	ErrGarbled  = errors.New("reply not for this request")
	ErrRefused  = errors.New("request refused here")
)

// What an *Exception is, for errors.Is.
var (
	ErrIllegalAddress = errors.New("illegal data address")                      // 2: that point is bad, not the device
	ErrConfig         = errors.New("device does not accept the request")        // 1, 3: no retry
	ErrBusy           = errors.New("device busy")                               // 5, 6: retry
	ErrTargetDown     = errors.New("gateway gets no reply from device")         // 10, 11: the device is down, the link is not
	ErrDeviceFault    = errors.New("device cannot answer: failure in the unit") // 4, 8 and the rest
)

// Exception is the device's or gateway's refusal.
type Exception struct {
	Request Request
	Code    byte
}

func (e *Exception) kind() error {
	switch e.Code {
	case modbus.ExceptionCodeIllegalDataAddress:
		return ErrIllegalAddress
	case modbus.ExceptionCodeIllegalFunction, modbus.ExceptionCodeIllegalDataValue:
		return ErrConfig
	case modbus.ExceptionCodeAcknowledge, modbus.ExceptionCodeServerDeviceBusy:
		return ErrBusy
	case modbus.ExceptionCodeGatewayPathUnavailable, modbus.ExceptionCodeGatewayTargetDeviceFailedToRespond:
		return ErrTargetDown
	}
	return ErrDeviceFault
}

func (e *Exception) Error() string {
	return fmt.Sprintf("%s: exception %d: %v", e.Request, e.Code, e.kind())
}

// Is lets errors.Is(err, ErrIllegalAddress) and the like match.
func (e *Exception) Is(target error) bool { return target == e.kind() }

// transport carries one request: goburrow's client asks it to send an encoded frame, and it
// returns a frame whose function and length are already those of r.
type transport func(adu []byte) ([]byte, error)

func (t transport) Send(adu []byte) ([]byte, error) { return t(adu) }

// The packagers of the library are not exported, but its handlers promote them. A handler of no
// address is only that; its unit is never changed, since the library reads it without a lock.
func newTCPPackager(unit byte) modbus.Packager {
	h := modbus.NewTCPClientHandler("")
	h.SlaveId = unit
	return h
}

func newASCIIPackager(unit byte) modbus.Packager {
	h := modbus.NewASCIIClientHandler("")
	h.SlaveId = unit
	return h
}

func newRTUPackager(unit byte) modbus.Packager {
	h := modbus.NewRTUClientHandler("")
	h.SlaveId = unit
	return h
}

// renamed is the packager of a device that answers under another unit than the one it is asked under. The
// transport has held the reply to that unit already; the library compares both frames once more, and is shown
// the request as it were under the unit that answers. Nobody sends that.
type renamed struct {
	modbus.Packager
	at   int    // where the unit stands in a frame
	unit []byte // as it stands there
}

func (p renamed) Verify(sent, reply []byte) error {
	twin := append([]byte(nil), sent...)
	copy(twin[p.at:], p.unit)
	return p.Packager.Verify(twin, reply)
}

func tcpRenamed(p modbus.Packager, unit byte) modbus.Packager {
	return renamed{p, mbapSize - 1, []byte{unit}}
}

// exchange runs r through goburrow's client. One client a call costs nothing and binds the
// request's context and deadline, which its interface lacks.
func exchange(pk modbus.Packager, t transport, r Request) ([]byte, error) {
	if r.identifies() {
		return exchangeObjects(pk, t, r)
	}
	c := modbus.NewClient2(pk, t)
	var data []byte
	var err error
	if r.write != nil {
		return nil, named(r, r.sendWrite(c))
	}
	switch r.Func {
	case profile.Coil:
		data, err = c.ReadCoils(r.Address, r.Quantity)
	case profile.Discrete:
		data, err = c.ReadDiscreteInputs(r.Address, r.Quantity)
	case profile.Holding:
		data, err = c.ReadHoldingRegisters(r.Address, r.Quantity)
	case profile.Input:
		data, err = c.ReadInputRegisters(r.Address, r.Quantity)
	}
	switch err = named(r, err); {
	case err != nil:
		return nil, err
	case len(data) != r.dataLen():
		return nil, fmt.Errorf("%s: %w: %d data bytes instead of %d", r, ErrGarbled, len(data), r.dataLen())
	}
	return data, nil
}

// named makes an exception of the library ours.
func named(r Request, err error) error {
	if err == nil {
		return nil
	}
	var me *modbus.ModbusError
	if errors.As(err, &me) {
		return &Exception{r, me.ExceptionCode}
	}
	return err
}

// check refuses what must never be sent: other functions (S25), broadcast, sizes out of range.
func (r Request) check() error {
	if r.write != nil {
		return r.checkWrite()
	}
	if r.identifies() {
		return r.checkIdentification()
	}
	limit := 125
	if r.Func.Bits() {
		limit = 2000
	}
	switch {
	case r.Func < profile.Coil || r.Func > profile.Input:
		return fmt.Errorf("%s: %w: only function codes 1 to 4, and 43 for an identification, are sent", r, ErrRefused)
	case r.Quantity < 1 || int(r.Quantity) > limit || int(r.Address)+int(r.Quantity) > 0x10000:
		return fmt.Errorf("%s: %w: the quantity is out of range", r, ErrRefused)
	}
	return nil
}

// checkPDU compares a reply's function and length with the request. Without it the library takes
// any other function for an exception whose code is a byte count.
func (r Request) checkPDU(pdu []byte) error {
	f := r.code()
	switch {
	case len(pdu) == 2 && pdu[0] == f|0x80:
		return nil
	case r.identifies() && len(pdu) > 0 && pdu[0] == f:
		return r.identPDU(pdu)
	case r.write != nil && len(pdu) == echoLen && pdu[0] == f:
		return r.checkEcho(pdu)
	case r.write == nil && len(pdu) == r.replyLen() && pdu[0] == f && int(pdu[1]) == r.dataLen():
		return nil
	case len(pdu) >= 1 && pdu[0] != f && pdu[0] != f|0x80:
		return fmt.Errorf("%w: function %d", ErrGarbled, pdu[0])
	}
	return fmt.Errorf("%w: %d bytes instead of %d", ErrGarbled, len(pdu), r.replyLen())
}

// trusted tells whether the stream is still in step after err: only when the device answered.
func trusted(err error) bool {
	if err == nil {
		return true
	}
	var e *Exception
	return errors.As(err, &e) || errors.Is(err, ErrRefused)
}
