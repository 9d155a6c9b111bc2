package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/goburrow/modbus"
)

// Pipeliner is a link that can have several reads under way. Only Modbus TCP can: its replies carry
// the transaction id of their request, so they may come in any order.
type Pipeliner interface {
	// ReadAll sends all of rs, window of them at a time, and returns a reply to each, in their order.
	ReadAll(ctx context.Context, rs []Request, window int) []Reply
}

// Reply is the end of one of several reads.
type Reply struct {
	Data []byte
	Err  error
}

// asked is a request that is under way.
type asked struct {
	i        int
	pk       modbus.Packager
	adu      []byte
	deadline time.Time
}

// transaction names a request on a connection: the library counts ids for each unit.
type transaction struct {
	unit byte
	id   uint16
}

// ReadAll keeps the rules of Read: a failure of the stream ends it, and with it all reads that are
// under way or still to be sent.
func (l *TCPLink) ReadAll(ctx context.Context, rs []Request, window int) []Reply {
	out := make([]Reply, len(rs))
	if len(rs) == 0 {
		return out
	}
	fail := func(err error) []Reply {
		for i := range out {
			if out[i].Data == nil && out[i].Err == nil {
				out[i].Err = fmt.Errorf("%s: %w", rs[i], err)
			}
		}
		return out
	}
	for i := range rs {
		rs[i] = rs[i].reading()
		out[i].Err = rs[i].check()
	}
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return fail(fmt.Errorf("%w: %w", ErrTimeout, ctx.Err()))
	}
	for {
		conn, fresh, err := l.connect(ctx, false)
		if err != nil {
			return fail(err)
		}
		received, err := l.pump(ctx, conn, rs, out, max(window, 1))
		if err == nil {
			l.retry.ok()
			return out
		}
		l.drop()
		hungUp := isHangup(err)
		if hungUp && !fresh && !received && ctx.Err() == nil {
			continue // as in exchange: reads only, once, on a fresh connection
		}
		if hungUp {
			l.retry.failed(time.Now(), true)
		}
		l.lastErr = err
		return fail(l.explain(ctx, Request{Timeout: rs[0].Timeout}, err))
	}
}

// pump sends and receives until all of rs without an error is answered; its error is of the stream.
// All replies before such an error are thrown away: a frame that lacks bytes takes them from the ones
// behind it, and if it lacks just as many as they have, nothing shows it but a reply that never comes.
func (l *TCPLink) pump(ctx context.Context, conn net.Conn, rs []Request, out []Reply, window int) (received bool, err error) {
	defer l.relax(conn, rs[0].timeout())()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	pending := make(map[transaction]asked, window)
	var taken []int
	defer func() {
		for _, i := range taken {
			if err != nil {
				out[i] = Reply{}
			}
		}
	}()
	for next := 0; next < len(rs) || len(pending) > 0; {
		for ; next < len(rs) && len(pending) < window; next++ {
			if out[next].Err != nil {
				continue // refused before anything is sent
			}
			a, err := l.ask(ctx, conn, rs[next])
			if err != nil {
				return received, err
			}
			a.i = next
			pending[transaction{rs[next].answers(), binary.BigEndian.Uint16(a.adu)}] = a
		}
		if len(pending) == 0 {
			continue
		}
		oldest := time.Time{}
		for _, a := range pending {
			if oldest.IsZero() || a.deadline.Before(oldest) {
				oldest = a.deadline
			}
		}
		if err := conn.SetReadDeadline(oldest); err != nil {
			return received, err
		}
		i, n, err := receive(conn, rs, out, pending)
		received = received || n > 0
		if err != nil {
			return received, err
		}
		taken = append(taken, i)
	}
	return received, nil
}

// ask sends one request.
func (l *TCPLink) ask(ctx context.Context, conn net.Conn, r Request) (asked, error) {
	a := asked{pk: l.packagers[r.Unit], deadline: time.Now().Add(r.timeout())}
	if d, ok := ctx.Deadline(); ok && d.Before(a.deadline) {
		a.deadline = d
	}
	if a.pk == nil {
		a.pk = newTCPPackager(r.Unit)
		l.packagers[r.Unit] = a.pk
	}
	if r.ReplyUnit != 0 {
		a.pk = tcpRenamed(a.pk, r.ReplyUnit)
	}
	var err error
	if a.adu, err = a.pk.Encode(r.pdu()); err != nil {
		return a, err
	}
	if err := conn.SetWriteDeadline(a.deadline); err != nil {
		return a, err
	}
	_, err = conn.Write(a.adu)
	return a, err
}

// receive takes the next reply, whichever it is. One that nobody waits for, or that is not what its
// request asked for, is a failure of the stream.
func receive(conn io.Reader, rs []Request, out []Reply, pending map[transaction]asked) (i, n int, err error) {
	head := make([]byte, mbapSize)
	if n, err = io.ReadFull(conn, head); err != nil {
		return -1, n, err
	}
	id := transaction{head[mbapSize-1], binary.BigEndian.Uint16(head)}
	a, ok := pending[id]
	if !ok {
		return -1, n, fmt.Errorf("%w: unit %d answers transaction %d, which nobody waits for", ErrGarbled, id.unit, id.id)
	}
	delete(pending, id)
	r := rs[a.i]
	// No byte behind this frame is taken: it is of the next one.
	rest := io.LimitReader(conn, int64(binary.BigEndian.Uint16(head[4:]))-1)
	reply, _, err := readADU(io.MultiReader(bytes.NewReader(head), rest), a.adu, r)
	if err != nil {
		return -1, n, err
	}
	if out[a.i].Data, err = a.data(reply, r); !trusted(err) {
		return -1, n, err
	}
	out[a.i].Err = err
	return a.i, n, nil
}

// data takes the data bytes out of a reply that readADU has checked.
func (a asked) data(reply []byte, r Request) ([]byte, error) {
	if err := a.pk.Verify(a.adu, reply); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGarbled, err)
	}
	pdu, err := a.pk.Decode(reply)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrGarbled, err)
	case pdu.FunctionCode != r.code():
		return nil, &Exception{r, pdu.Data[0]}
	case r.identifies():
		return pdu.Data, nil
	}
	return pdu.Data[1:], nil
}
