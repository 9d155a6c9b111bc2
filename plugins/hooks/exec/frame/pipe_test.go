package frame

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// connection gives both ends of a Unix socket.
func connection(t *testing.T) (asker, helper *net.UnixConn) {
	t.Helper()
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); h.Close() })
	return a.(*net.UnixConn), h.(*net.UnixConn)
}

func open(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// A pipe goes along with a request of any size; what is no pipe does not come through, and nothing stays open.
func TestPipeGoesAlong(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	plain, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, c := range []struct {
		name string
		size int
		send *os.File
		pipe bool
	}{{"small", 10, r, true}, {"large", 900_000, r, true}, {"none", 10, nil, false}, {"no pipe", 10, plain, false}} {
		asker, helper := connection(t)
		before := open(t)
		want := Request{V: Version, Op: Poise, ID: strings.Repeat("x", c.size)}
		sent := make(chan error, 1)
		go func() { sent <- WriteRequest(asker, want, c.send) }()
		var got Request
		pipe, err := ReadRequest(helper, &got)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if err != nil || !reflect.DeepEqual(got, want) || (pipe != nil) != c.pipe {
			t.Errorf("%s: pipe %v, error %v, %d bytes", c.name, pipe, err, len(got.ID))
		}
		if pipe != nil {
			if _, err := w.Write([]byte{1}); err != nil {
				t.Fatal(err)
			}
			if n, err := pipe.Read(make([]byte, 2)); n != 1 || err != nil {
				t.Errorf("%s: %d bytes through the pipe, %v", c.name, n, err)
			}
			pipe.Close()
		}
		if after := open(t); after != before {
			t.Errorf("%s: %d descriptors are open, %d were", c.name, after, before)
		}
	}
}

// More than one are none too many to close, and a request that is none keeps nothing open.
func TestManyDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for name, text := range map[string]string{"garbage": "garbage!", "half a head": "fb", "nothing more": mark + "\x00\x00\x00\x10{"} {
		asker, helper := connection(t)
		before := open(t)
		fd := int(r.Fd())
		if _, _, err := asker.WriteMsgUnix([]byte(text), unix.UnixRights(fd, fd, fd, fd, fd), nil); err != nil {
			t.Fatal(err)
		}
		_ = asker.CloseWrite()
		pipe, err := ReadRequest(helper, new(Request))
		if err == nil || pipe != nil {
			t.Errorf("%s: taken", name)
		}
		if after := open(t); after != before {
			t.Errorf("%s: %d descriptors are open, %d were", name, after, before)
		}
	}
}
