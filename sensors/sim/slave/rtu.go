package slave

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Line is the device's end of a serial line: the master of a pty pair, or one end of a net.Pipe.
type Line interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

const (
	requestSize = 8                     // a request of function codes 1 to 6, with its CRC
	identSize   = 7                     // one of function 0x2B
	frameGap    = 20 * time.Millisecond // a silence that ends a frame. t3.5 is 4 ms at 9600 baud; a pty has no baud rate and the scheduler may split a write.
)

// RTU serves banks, by unit id, on one serial line. A unit that does not exist stays silent, as on
// a real bus.
type RTU struct {
	line  Line
	units map[byte]*Bank
	fault atomic.Pointer[FaultFunc]
	count atomic.Uint64
	done  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup
	err   error
}

// ServeRTU serves units on line, which it owns from now on.
func ServeRTU(line Line, units map[byte]*Bank) *RTU {
	s := &RTU{line: line, units: units, done: make(chan struct{})}
	s.wg.Go(s.serve)
	return s
}

// Requests is the number of whole requests, with a right CRC, taken so far.
func (s *RTU) Requests() uint64 { return s.count.Load() }

// SetFault makes f decide the fault of every later request; nil ends that.
func (s *RTU) SetFault(f FaultFunc) {
	if f == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&f)
}

// Close closes the line and waits for the goroutine.
func (s *RTU) Close() error {
	s.once.Do(func() {
		close(s.done)
		s.err = s.line.Close()
	})
	s.wg.Wait()
	return s.err
}

// serve finds requests by their length and CRC: all that a bank can answer is 8 bytes long, or 7. What
// does not fit is dropped byte by byte, and whole after a silence.
func (s *RTU) serve() {
	var buf []byte
	chunk := make([]byte, 256)
	hung := false
	for {
		wait := idleLimit
		if len(buf) > 0 {
			wait = frameGap
		}
		if s.line.SetReadDeadline(time.Now().Add(wait)) != nil {
			return
		}
		n, err := s.line.Read(chunk)
		buf = append(buf, chunk[:n]...)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			buf = buf[:0]
		case err != nil:
			return
		}
		for len(buf) >= identSize {
			size := requestSize
			if buf[1] == identification {
				size = identSize
			}
			if len(buf) < size {
				break
			}
			frame := buf[:size]
			if CRC16(frame[:size-2]) != binary.LittleEndian.Uint16(frame[size-2:]) {
				buf = buf[1:]
				continue
			}
			if !s.handle(frame, &hung) {
				return
			}
			buf = buf[size:]
		}
	}
}

// handle answers one request; false means that the line is gone.
func (s *RTU) handle(frame []byte, hung *bool) bool {
	bank, ok := s.units[frame[0]]
	if !ok {
		return true
	}
	pdu := frame[1 : len(frame)-2]
	req := parse(frame[0], pdu, s.count.Add(1)-1)
	var f Fault
	if hook := s.fault.Load(); hook != nil {
		f = (*hook)(req)
	}
	*hung = *hung || f.Hang
	if !pause(f.Delay, s.done) {
		return false
	}
	if *hung || f.Silent || f.Drop {
		return true
	}
	unit := req.Unit
	if f.Unit != 0 {
		unit = f.Unit
	}
	reply := append([]byte{unit}, answer(bank, req, pdu, f)...)
	crc := CRC16(reply)
	if f.BadCRC {
		crc = ^crc
	}
	reply = binary.LittleEndian.AppendUint16(reply, crc)
	if f.Truncate > 0 && f.Truncate < len(reply) {
		reply = reply[:f.Truncate]
	}
	if s.line.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
		return false
	}
	_, err := s.line.Write(reply)
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}
