package console

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const patience = 30 * time.Second

// serving runs a console on a socket; end stops it, and says how it ended.
func serving(t *testing.T, ask func(context.Context) (*Answer, error)) (addr string, end func() error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	at, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- made(ask).Run(ctx, "127.0.0.1:0", func(a net.Addr) { at <- a }) }()
	t.Cleanup(stop)
	select {
	case a := <-at:
		addr = a.String()
	case err := <-ended:
		t.Fatal(err)
	}
	return addr, func() error {
		stop()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the console does not end")
		}
	}
}

// Browsers that connect and say nothing are held to maxConns, the next is turned away at once, and they keep nobody from ending it.
func TestHungBrowsers(t *testing.T) {
	addr, end := serving(t, func(ctx context.Context) (*Answer, error) { <-ctx.Done(); return nil, ctx.Err() }) // and the agent hangs
	var conns []net.Conn
	for range maxConns + 1 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
	}
	last := conns[maxConns] // the kernel hands them over in order
	_ = last.SetReadDeadline(time.Now().Add(headerWait - time.Second))
	if _, err := last.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("one more than %d is kept: %v", maxConns, err)
	}
	began := time.Now()
	if err := end(); err != nil {
		t.Error(err)
	}
	if d := time.Since(began); d > closeWait+3*time.Second {
		t.Errorf("it took %v to end", d)
	}
}

// A request line or a header without an end is cut off, and a slow one has until headerWait.
func TestLongHeaders(t *testing.T) {
	addr, end := serving(t, quiet)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() {
		_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\nA: %s\r\n\r\n", strings.Repeat("a", 64<<10))
	}()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || r.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%v %v", r, err)
	}
	resp, err := http.Get("http://" + addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.Contains(string(body), "What it is not") {
		t.Errorf("%s", body)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

// An address that another program has is told with what to do.
func TestAddressTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := made(quiet).Run(t.Context(), ln.Addr().String(), nil); err == nil || !strings.Contains(err.Error(), "another port") {
		t.Error(err)
	}
}
