// Package brokertest is a scripted MQTT broker for tests: it does what a script says, which real
// brokers do only on their worst days. Standard library only.
//
// Concurrency: each connection runs the script on a goroutine of its own, and the broker waits for
// all of them when the test ends. Failure: a broken connection ends a script through the errors of
// its reads; nothing is fatal to the test by itself.
package brokertest

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Types of packets that a script meets.
const (
	Publish    = 3
	Subscribe  = 8
	PingReq    = 12
	Disconnect = 14
)

// Broker listens on a loopback port.
type Broker struct {
	ln    net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// Start begins to listen; n counts the connections from 1. It ends with the test.
func Start(t testing.TB, script func(n int, c *Conn)) *Broker {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{ln: ln, conns: map[net.Conn]bool{}}
	b.wg.Go(func() {
		for n := 1; ; n++ {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns[nc] = true
			b.mu.Unlock()
			b.wg.Go(func() {
				defer nc.Close()
				script(n, &Conn{Conn: nc, br: bufio.NewReader(nc)})
			})
		}
	})
	t.Cleanup(b.Stop)
	return b
}

// Pipes is a broker without a network, for tests in the fake time of testing/synctest: a client dials it by what
// this returns. Nothing lies between the two: whoever writes waits for who reads. It ends with the test.
func Pipes(t testing.TB, script func(n int, c *Conn)) (dial func() net.Conn) {
	var wg sync.WaitGroup
	var n atomic.Int32
	t.Cleanup(wg.Wait) // each script ends with the client's end of its pipe
	return func() net.Conn {
		near, far := net.Pipe()
		i := int(n.Add(1))
		wg.Go(func() {
			defer far.Close()
			script(i, &Conn{Conn: far, br: bufio.NewReader(far)})
		})
		return near
	}
}

// Stop closes everything and waits for the scripts.
func (b *Broker) Stop() {
	_ = b.ln.Close()
	b.mu.Lock()
	for c := range b.conns {
		_ = c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// URL is what a client connects to.
func (b *Broker) URL() string { return "mqtt://" + b.ln.Addr().String() }

// Conn is one connection of a client.
type Conn struct {
	net.Conn
	Connect []byte // body of the CONNECT, after Accept
	br      *bufio.Reader
}

// Packet is what a client sent.
type Packet struct {
	Type     byte
	Topic    string
	ID       uint16
	QoS      byte
	Retained bool
	Payload  []byte
}

// Accept reads the CONNECT and answers with a return code; 0 is yes.
func (c *Conn) Accept(code byte) error {
	p, err := c.read()
	if err != nil {
		return err
	}
	c.Connect = p.Payload
	_, err = c.Write([]byte{0x20, 2, 0, code})
	return err
}

// Next returns the next packet; subscriptions are answered, pings are answered and not returned.
func (c *Conn) Next() (Packet, error) {
	for {
		p, err := c.read()
		if err != nil {
			return p, err
		}
		switch p.Type {
		case PingReq:
			if _, err = c.Write([]byte{0xd0, 0}); err == nil {
				continue
			}
		case Subscribe:
			_, err = c.Write([]byte{0x90, 3, byte(p.ID >> 8), byte(p.ID), 0})
		}
		return p, err
	}
}

// Ack sends a PUBACK for a publish that wants one.
func (c *Conn) Ack(p Packet) error {
	if p.QoS == 0 {
		return nil
	}
	_, err := c.Write([]byte{0x40, 2, byte(p.ID >> 8), byte(p.ID)})
	return err
}

// Pass gives the client what it has published, as to a subscriber with QoS 0.
func (c *Conn) Pass(p Packet) error {
	body := binary.BigEndian.AppendUint16(nil, uint16(len(p.Topic)))
	body = append(append(body, p.Topic...), p.Payload...)
	head := binary.AppendUvarint([]byte{Publish << 4}, uint64(len(body)))
	_, err := c.Write(append(head, body...))
	return err
}

func (c *Conn) read() (Packet, error) {
	first, err := c.br.ReadByte()
	if err != nil {
		return Packet{}, err
	}
	size, err := binary.ReadUvarint(c.br) // MQTT's length is a varint of at most four bytes
	if err != nil {
		return Packet{}, err
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.br, body); err != nil {
		return Packet{}, err
	}
	p := Packet{Type: first >> 4, QoS: first >> 1 & 3, Retained: first&1 != 0, Payload: body}
	switch {
	case p.Type == Publish && len(body) >= 2:
		n := int(binary.BigEndian.Uint16(body))
		p.Topic, p.Payload = string(body[2:2+n]), body[2+n:]
		if p.QoS > 0 {
			p.ID, p.Payload = binary.BigEndian.Uint16(p.Payload), p.Payload[2:]
		}
	case p.Type == Subscribe && len(body) >= 2:
		p.ID = binary.BigEndian.Uint16(body)
	}
	return p, nil
}
