package modbus

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/goburrow/modbus"
	"golang.org/x/sys/unix"
)

// framing is how a frame stands on a line without a length of its own: RTU or ASCII.
type framing struct {
	packager func(unit byte) modbus.Packager
	renamed  func(p modbus.Packager, unit byte) modbus.Packager
	check    func(r Request, frame []byte) (done bool, err error)
	size     func(pdu int) int // characters of a frame
}

func rtuFraming() framing {
	as := func(p modbus.Packager, unit byte) modbus.Packager { return renamed{p, 0, []byte{unit}} }
	return framing{newRTUPackager, as, Request.checkRTU, func(pdu int) int { return pdu + 3 }}
}

func asciiFraming() framing {
	as := func(p modbus.Packager, unit byte) modbus.Packager {
		return renamed{p, len(":"), fmt.Appendf(nil, "%02X", unit)}
	}
	return framing{newASCIIPackager, as, Request.checkASCII, asciiSize}
}

func asciiSize(pdu int) int { return len(":") + 2*(1+pdu+1) + len("\r\n") }

// checkRTU judges the bytes received so far: the first that does not belong to a reply to r is an
// error. done means that the frame is whole; its CRC is the codec's to check.
func (r Request) checkRTU(frame []byte) (done bool, err error) {
	n := len(frame)
	if n >= 1 && frame[0] != r.answers() {
		return false, fmt.Errorf("%w: unit %d answers", ErrGarbled, frame[0])
	}
	if n < 2 {
		return false, nil
	}
	whole := 5 // unit, function, code, CRC
	switch frame[1] {
	case r.code() | 0x80:
	case r.code():
		if r.identifies() { // its length shows as it comes
			size, err := r.identSize(frame[1:])
			if err != nil || size == 0 {
				return false, err
			}
			whole = 3 + size
			break
		}
		whole = 3 + r.replyLen()
		if r.write == nil && n >= 3 && int(frame[2]) != r.dataLen() {
			return false, fmt.Errorf("%w: %d data bytes announced, %d were asked for", ErrGarbled, frame[2], r.dataLen())
		}
		if r.write != nil && n >= whole-2 {
			if err := r.checkEcho(frame[1 : whole-2]); err != nil {
				return false, err
			}
		}
	default:
		return false, fmt.Errorf("%w: function %d", ErrGarbled, frame[1])
	}
	if n > whole {
		return false, fmt.Errorf("%w: %d bytes more than the frame has", ErrGarbled, n-whole)
	}
	return n == whole, nil
}

// checkASCII is checkRTU for the other framing. The LRC is the codec's to check; what is not a
// hexadecimal digit of the frame that is awaited never reaches it.
func (r Request) checkASCII(frame []byte) (done bool, err error) {
	if len(frame) == 0 {
		return false, nil
	}
	if frame[0] != ':' {
		return false, fmt.Errorf("%w: byte 0x%02X before the colon", ErrGarbled, frame[0])
	}
	end := bytes.IndexByte(frame, '\n')
	body := frame[1:]
	if end >= 0 {
		if end < 2 || frame[end-1] != '\r' {
			return false, fmt.Errorf("%w: the frame does not end with CR LF", ErrGarbled)
		}
		body = frame[1 : end-1]
	}
	if limit := asciiSize(max(r.replyLen(), 2)); len(frame) > limit {
		return false, fmt.Errorf("%w: more than %d characters", ErrGarbled, limit)
	}
	if end < 0 {
		return false, nil
	}
	raw := make([]byte, hex.DecodedLen(len(body)))
	if _, err := hex.Decode(raw, body); err != nil || len(raw) < 4 { // unit, function, code, LRC
		return false, fmt.Errorf("%w: %d characters that are no frame", ErrGarbled, len(body))
	}
	if raw[0] != r.answers() {
		return false, fmt.Errorf("%w: unit %d answers", ErrGarbled, raw[0])
	}
	if end+1 != len(frame) {
		return false, fmt.Errorf("%w: %d characters more than the frame has", ErrGarbled, len(frame)-end-1)
	}
	return true, r.checkPDU(raw[1 : len(raw)-1])
}

// ErrEcho: the transceiver listens while it sends. What fails with it is ErrGarbled too.
var ErrEcho = errors.New("the request itself comes back: the adapter hears what it sends: switch its local echo off (its receiver while it sends, RE tied to DE)")

const echoSeen = 3 // so many bytes as in the request are no chance: of a reply the third says how long it is

// send writes the frame and reads the reply, all before one absolute deadline.
func (l *SerialLink) send(ctx context.Context, adu []byte, r Request) ([]byte, error) {
	deadline := time.Now().Add(r.timeout() + wireTime(l.opt.Baud, len(adu)+l.frame.size(r.replyLen())))
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	for rest := adu; len(rest) > 0; {
		n, err := unix.Write(l.port.fd, rest)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := l.waitFor(ctx, l.port, unix.POLLOUT, deadline); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, fmt.Errorf("write: %w", err)
		default:
			rest = rest[n:]
		}
	}
	l.tap(true, adu)
	n := 0
	for {
		if err := l.waitFor(ctx, l.port, unix.POLLIN, deadline); err != nil {
			if err == ErrTimeout {
				err = fmt.Errorf("%w: %d bytes in %s", ErrTimeout, n, r.timeout())
			}
			return nil, err
		}
		k, err := l.port.read(l.buf[n:])
		if err != nil {
			return nil, err
		}
		n += k
		l.lastByte = time.Now()
		l.tap(false, l.buf[n-k:n])
		done, err := l.frame.check(r, l.buf[:n])
		if err != nil {
			if bytes.HasPrefix(adu, l.buf[:min(n, len(adu))]) && n >= echoSeen {
				err = fmt.Errorf("%w: %w", ErrEcho, err)
			}
			return nil, err
		}
		if done {
			return append([]byte(nil), l.buf[:n]...), nil
		}
	}
}

func (l *SerialLink) tap(sent bool, b []byte) {
	if l.opt.Tap != nil && len(b) > 0 {
		l.opt.Tap(sent, b)
	}
}
