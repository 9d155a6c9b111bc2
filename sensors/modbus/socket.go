package modbus

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// dialLine opens a TCP connection to a serial server, as a descriptor that is read and waited for
// like a terminal: the same code keeps the deadlines, the quarantine and the wake-ups of both.
func dialLine(ctx context.Context, address string) (*line, error) {
	conn, err := tcpDialer().DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	defer conn.Close() // the duplicate lives on
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	fd, dupErr := -1, error(nil)
	err = raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, dupErr); err != nil {
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return &line{fd: fd, socket: true}, nil // non-blocking, as the runtime has made it
}
