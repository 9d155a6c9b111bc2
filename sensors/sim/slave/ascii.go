package slave

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// ASCII serves banks as RTU does, in frames of characters: a colon, two for each byte with their longitudinal check at the end, CR
// and LF (Modbus over serial line V1.02, 2.5.2).
type ASCII struct{ RTU }

const asciiLimit = 1 + 2*255 + 2 // of a frame

// ServeASCII serves units on line, which it owns from now on.
func ServeASCII(line Line, units map[byte]*Bank) *ASCII {
	s := &ASCII{}
	s.line, s.units, s.done = line, units, make(chan struct{})
	s.wg.Go(s.serve)
	return s
}

// serve takes frames; what stands outside of one, or breaks off, is dropped.
func (s *ASCII) serve() {
	var buf []byte
	chunk := make([]byte, 256)
	for {
		if s.line.SetReadDeadline(time.Now().Add(idleLimit)) != nil {
			return
		}
		n, err := s.line.Read(chunk)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
		buf = append(buf, chunk[:n]...)
		for {
			if at := bytes.LastIndexByte(buf[:max(0, bytes.Index(buf, []byte("\r\n")))], ':'); at > 0 {
				buf = buf[at:] // a colon begins a frame anew
			}
			frame, rest, whole := bytes.Cut(buf, []byte("\r\n"))
			if !whole {
				break
			}
			buf = rest
			if text, ok := bytes.CutPrefix(frame, []byte(":")); ok && !s.take(string(text)) {
				return
			}
		}
		if len(buf) > asciiLimit {
			buf = buf[:0]
		}
	}
}

// take answers one frame; false means that the line is gone.
func (s *ASCII) take(text string) bool {
	frame, err := hex.DecodeString(text)
	if err != nil || len(frame) < 3 || lrc(frame) != 0 {
		return true
	}
	bank, ok := s.units[frame[0]]
	if !ok {
		return true
	}
	pdu := frame[1 : len(frame)-1]
	req := parse(frame[0], pdu, s.count.Add(1)-1)
	var f Fault
	if hook := s.fault.Load(); hook != nil {
		f = (*hook)(req)
	}
	if !pause(f.Delay, s.done) {
		return false
	}
	if f.Silent || f.Drop || f.Hang {
		return true
	}
	reply := append([]byte{req.Unit}, answer(bank, req, pdu, f)...)
	check := -lrc(reply)
	if f.BadCRC {
		check++
	}
	if s.line.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
		return false
	}
	_, err = fmt.Fprintf(s.line, ":%s%02X\r\n", strings.ToUpper(hex.EncodeToString(reply)), check)
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// lrc is the sum of all bytes: zero over a frame with its check.
func lrc(b []byte) (sum byte) {
	for _, c := range b {
		sum += c
	}
	return sum
}
