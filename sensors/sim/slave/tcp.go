package slave

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	idleLimit  = 2 * time.Minute // a silent client is let go
	writeLimit = 5 * time.Second
	mbapSize   = 7
	maxClients = 32 // a further one is closed at once
)

// TCP serves banks, by unit id, on one TCP endpoint. A unit that does not exist is answered with
// "gateway target failed to respond".
type TCP struct {
	ln    net.Listener
	units map[byte]*Bank
	fault atomic.Pointer[FaultFunc]
	count atomic.Uint64
	done  chan struct{}
	wg    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// ListenTCP serves units on address, for instance "127.0.0.1:0".
func ListenTCP(address string, units map[byte]*Bank) (*TCP, error) {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("simulated Modbus server: %w", err)
	}
	s := &TCP{ln: ln, units: units, done: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	s.wg.Go(s.accept)
	return s, nil
}

// Addr is the address that the server listens on.
func (s *TCP) Addr() string { return s.ln.Addr().String() }

// Requests is the number of requests taken so far.
func (s *TCP) Requests() uint64 { return s.count.Load() }

// SetFault makes f decide the fault of every later request; nil ends that.
func (s *TCP) SetFault(f FaultFunc) {
	if f == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&f)
}

// DropAll closes every connection; the listener stays.
func (s *TCP) DropAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Close ends the listener and all connections, and waits for their goroutines.
func (s *TCP) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.done)
	err := s.ln.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return err
}

func (s *TCP) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			select {
			case <-s.done:
				return
			default:
			}
			if !pause(50*time.Millisecond, s.done) { // out of descriptors, for instance
				return
			}
			continue
		}
		s.mu.Lock()
		if s.closed || len(s.conns) >= maxClients {
			s.mu.Unlock()
			c.Close()
			continue
		}
		s.conns[c] = struct{}{}
		s.wg.Go(func() {
			s.serve(c)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			c.Close()
		})
		s.mu.Unlock()
	}
}

// serve answers one connection, in order, until it ends.
func (s *TCP) serve(c net.Conn) {
	hung := false
	for {
		var head [mbapSize]byte
		if c.SetReadDeadline(time.Now().Add(idleLimit)) != nil {
			return
		}
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		size := int(binary.BigEndian.Uint16(head[4:]))
		if binary.BigEndian.Uint16(head[2:]) != 0 || size < 2 || size > 254 {
			return // not Modbus
		}
		pdu := make([]byte, size-1)
		if _, err := io.ReadFull(c, pdu); err != nil {
			return
		}
		req := parse(head[6], pdu, s.count.Add(1)-1)
		var f Fault
		if hook := s.fault.Load(); hook != nil {
			f = (*hook)(req)
		}
		hung = hung || f.Hang
		if !pause(f.Delay, s.done) || f.Drop {
			return
		}
		if hung || f.Silent {
			continue
		}
		if _, ok := s.units[req.Unit]; !ok && f.Exception == 0 {
			f.Exception = GatewayNoAnswer
		}
		frame := tcpFrame(binary.BigEndian.Uint16(head[:])+f.TxShift, req.Unit, answer(s.units[req.Unit], req, pdu, f), f)
		if c.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
			return
		}
		if _, err := c.Write(frame); err != nil {
			return
		}
	}
}

func tcpFrame(tx uint16, unit byte, pdu []byte, f Fault) []byte {
	if f.Unit != 0 {
		unit = f.Unit
	}
	frame := binary.BigEndian.AppendUint16(nil, tx)
	frame = append(frame, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(pdu)+1))
	frame = append(append(frame, unit), pdu...)
	if f.Truncate > 0 && f.Truncate < len(frame) {
		frame = frame[:f.Truncate]
	}
	return frame
}
