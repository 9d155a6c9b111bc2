package frame

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// WriteRequest writes one request. pipe goes along with its first byte, unless it is nil.
func WriteRequest(c *net.UnixConn, req Request, pipe *os.File) error {
	if pipe == nil {
		return Write(c, req, MaxRequest)
	}
	b, err := encode(req, MaxRequest)
	if err != nil {
		return err
	}
	n, _, err := c.WriteMsgUnix(b, unix.UnixRights(int(pipe.Fd())), nil)
	if err == nil && n < len(b) {
		_, err = c.Write(b[n:])
	}
	return err
}

// ReadRequest reads one request, and the pipe that came along with it, or nil. What else came along is closed. The
// pipe is the asker's: no more can be expected of it than that it is one, and that another pipe would be no worse.
func ReadRequest(c *net.UnixConn, req *Request) (*os.File, error) {
	b, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	var pipe *os.File
	for _, fd := range descriptors(oob[:max(oobn, 0)]) {
		if f := os.NewFile(uintptr(fd), "a pipe of the asker"); pipe == nil && isPipe(fd) {
			pipe = f
		} else {
			f.Close()
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = Read(io.MultiReader(bytes.NewReader(b[:max(n, 0)]), c), req, MaxRequest)
	} else {
		err = fmt.Errorf("no frame came: %w", err)
	}
	if err != nil && pipe != nil {
		pipe.Close()
		pipe = nil
	}
	return pipe, err
}

func descriptors(oob []byte) (fds []int) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for i := range msgs {
		if more, err := unix.ParseUnixRights(&msgs[i]); err == nil {
			fds = append(fds, more...)
		}
	}
	return fds
}

// isPipe keeps out what a file system or a device has a say in: a read of it may do anything.
func isPipe(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO
}
