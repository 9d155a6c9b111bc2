package hub

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds what the server may answer, which it holds to itself.
const maxAnswer = 8 << 20

// inside is a connection to the server without a network, for the few questions that its library answers no
// otherwise: NATS' own protocol, one question at a time.
type inside struct {
	nc    net.Conn
	br    *bufio.Reader
	inbox string
}

func (h *Hub) inside() (*inside, error) {
	nc, err := h.s.InProcessConn()
	if err != nil {
		return nil, err
	}
	s := &inside{nc, bufio.NewReader(nc), "_INBOX." + random()}
	_ = nc.SetDeadline(time.Now().Add(askLimit))
	hello, _ := json.Marshal(map[string]any{"verbose": false, "pedantic": false, "name": "hub", "user": "hub", "pass": h.secret, "lang": "go", "version": "0", "protocol": 1})
	if _, err = s.line(); err == nil { // INFO
		_, err = fmt.Fprintf(nc, "CONNECT %s\r\nSUB %s 1\r\n", hello, s.inbox)
	}
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("the hub's own connection: %w", err)
	}
	return s, nil
}

func (s *inside) close() { _ = s.nc.Close() }

// ask publishes a question and decodes its answer.
func (s *inside) ask(subject string, question []byte, answer any) error {
	_ = s.nc.SetDeadline(time.Now().Add(askLimit))
	if _, err := fmt.Fprintf(s.nc, "PUB %s %s %d\r\n%s\r\n", subject, s.inbox, len(question), question); err != nil {
		return err
	}
	for {
		l, err := s.line()
		if err != nil {
			return fmt.Errorf("no answer to %s: %w", subject, err)
		}
		f := strings.Fields(l)
		switch {
		case len(f) == 1 && f[0] == "PING":
			if _, err := io.WriteString(s.nc, "PONG\r\n"); err != nil {
				return err
			}
		case len(f) > 1 && f[0] == "-ERR":
			return fmt.Errorf("%s: %s", subject, l)
		case len(f) > 3 && f[0] == "MSG":
			n, err := strconv.Atoi(f[len(f)-1])
			if err != nil || n < 0 || n > maxAnswer {
				return fmt.Errorf("%s: an answer of %q bytes", subject, f[len(f)-1])
			}
			body := make([]byte, n+2)
			if _, err := io.ReadFull(s.br, body); err != nil {
				return err
			}
			return json.Unmarshal(body[:n], answer)
		}
	}
}

func (s *inside) line() (string, error) {
	l, err := s.br.ReadString('\n')
	return strings.TrimSpace(l), err
}
