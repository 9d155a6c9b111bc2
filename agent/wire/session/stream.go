package session

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Limits of the stream.
const (
	maxTopic  = 1<<16 - 1
	maxPacket = 1 << 24  // of the broker's, that is taken; 16 MiB is more than any message has
	writeSize = 64 << 10 // so much, about, goes with one write
	maxBehind = 1024     // packets beside messages that a broker may not have read yet
)

var (
	errProtocol = errors.New("the broker breaks the protocol")
	errPing     = errors.New("the broker does not answer a ping")
	errBehind   = errors.New("the broker does not read what it asks for")
)

// write is the goroutine that writes: all that waits with one call, and a ping when one is due.
func (s *Session) write() {
	defer s.wg.Done()
	timer := time.NewTimer(s.cfg.KeepAlive)
	defer timer.Stop()
	var buf []byte
	for {
		var sent []*Ack
		if buf, sent = s.gather(buf[:0]); len(buf) == 0 {
			select {
			case <-s.lost:
				return
			case <-s.wake:
			case now := <-timer.C:
				timer.Reset(s.ping(now))
			}
			continue
		}
		if _, err := s.conn.Write(buf); err != nil {
			s.fail(fmt.Errorf("write: %w", err))
			return
		}
		s.wrote.Store(time.Now().UnixNano())
		if len(sent) > 0 { // of QoS 0: that they were written is all that will be known
			s.mu.Lock()
			for _, a := range sent {
				s.settled(a)
			}
			s.mu.Unlock()
		}
		if cap(buf) > 4*writeSize {
			buf = nil
		}
	}
}

// gather takes what waits, as bytes; sent is what of it nobody will acknowledge. Ids are given here:
// a PUBACK for what was never written acknowledges nothing.
func (s *Session) gather(buf []byte) (out []byte, sent []*Ack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if s.holds {
		return buf, nil
	}
	for ; n < len(s.pending) && len(buf) < writeSize; n++ {
		p := &s.pending[n]
		if p.ack == nil {
			buf = append(buf, p.raw...)
			continue
		}
		id := uint16(0)
		if p.ack.qos > 0 {
			id = s.newID()
			s.flying[id] = p.ack
		} else {
			sent = append(sent, p.ack)
		}
		buf = appendPublish(buf, p.ack, id)
	}
	rest := copy(s.pending, s.pending[n:])
	clear(s.pending[rest:])
	s.pending = s.pending[:rest]
	return buf, sent
}

// ping asks the broker for a sign of life when nothing was written or heard for the keepalive, and
// returns when to look again.
func (s *Session) ping(now time.Time) time.Duration {
	if at := s.pinged.Load(); at != 0 {
		if d := s.cfg.PingTimeout - now.Sub(time.Unix(0, at)); d > 0 {
			return d
		}
		s.fail(errPing)
		return s.cfg.KeepAlive
	}
	quiet := now.Sub(time.Unix(0, min(s.wrote.Load(), s.heard.Load())))
	if d := s.cfg.KeepAlive - quiet; d > 0 {
		return d
	}
	s.pinged.Store(now.UnixNano())
	s.mu.Lock()
	s.post(sending{raw: []byte{packets.Pingreq << 4, 0}})
	s.mu.Unlock()
	return min(s.cfg.PingTimeout, s.cfg.KeepAlive)
}

// read is the goroutine that reads.
func (s *Session) read() {
	defer s.wg.Done()
	for {
		if id, ok := puback(s.conn.br); ok {
			s.heard.Store(time.Now().UnixNano())
			s.acked(id)
			continue
		}
		p, err := next(s.conn.br)
		if err != nil {
			s.fail(fmt.Errorf("read: %w", err))
			return
		}
		s.heard.Store(time.Now().UnixNano())
		if err := s.take(p); err != nil {
			s.fail(err)
			return
		}
	}
}

// take does what a packet asks for.
func (s *Session) take(p packets.ControlPacket) error {
	switch p := p.(type) {
	case *packets.PubackPacket:
		s.acked(p.MessageID)
	case *packets.PingrespPacket:
		s.pinged.Store(0)
	case *packets.SubackPacket:
		if len(p.ReturnCodes) != 1 {
			return fmt.Errorf("%w: %d answers to one subscription", errProtocol, len(p.ReturnCodes))
		}
		s.mu.Lock()
		answer := s.asked[p.MessageID]
		delete(s.asked, p.MessageID)
		s.mu.Unlock()
		if answer != nil {
			answer <- p.ReturnCodes[0]
		}
	case *packets.PublishPacket:
		return s.deliver(p)
	default:
		return fmt.Errorf("%w: it sends a packet of type %T", errProtocol, p)
	}
	return nil
}

// acked is a PUBACK. One for nothing that flies is passed over.
func (s *Session) acked(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.flying[id]; a != nil {
		delete(s.flying, id)
		s.settled(a)
	}
}

// deliver hands a message to whoever has subscribed, and then acknowledges it.
func (s *Session) deliver(p *packets.PublishPacket) error {
	if p.Qos > 1 {
		return fmt.Errorf("%w: a message of QoS %d, which nobody asked for", errProtocol, p.Qos)
	}
	s.mu.Lock()
	routes := s.routes // is never changed in place
	s.mu.Unlock()
	for _, r := range routes {
		if matches(r.filter, p.TopicName) {
			r.got(p.TopicName, p.Payload, p.Retain)
		}
	}
	if p.Qos == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) > s.cfg.MaxInFlight+maxBehind {
		return errBehind
	}
	s.post(sending{raw: binary.BigEndian.AppendUint16([]byte{packets.Puback << 4, 2}, p.MessageID)})
	return nil
}

// route is a subscription.
type route struct {
	filter string
	got    func(topic string, payload []byte, retained bool)
}

// withRoute is a copy of routes with one for the filter, in place of the one that was.
func withRoute(routes []route, filter string, got func(string, []byte, bool)) []route {
	out := make([]route, 0, len(routes)+1)
	for _, r := range routes {
		if r.filter != filter {
			out = append(out, r)
		}
	}
	return append(out, route{filter, got})
}

// matches tells whether a topic is one of those of a filter.
func matches(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	for {
		f, restF, moreF := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, restT, moreT := strings.Cut(topic, "/")
		switch {
		case f != "+" && f != t:
			return false
		case !moreT:
			return !moreF || restF == "#"
		case !moreF:
			return false
		}
		filter, topic = restF, restT
	}
}

// puback takes a PUBACK from the stream, if one is there whole: most packets are, and the library takes five
// allocations for it.
func puback(br *bufio.Reader) (id uint16, ok bool) {
	if br.Buffered() < 4 {
		if _, err := br.Peek(1); err != nil || br.Buffered() < 4 {
			return 0, false // the end, or another packet, or a part: the library's reader waits for it
		}
	}
	b, _ := br.Peek(4)
	if b[0] != packets.Puback<<4 || b[1] != 2 {
		return 0, false
	}
	_, _ = br.Discard(4)
	return binary.BigEndian.Uint16(b[2:]), true
}

// next reads a packet that is not larger than it may be.
func next(br *bufio.Reader) (packets.ControlPacket, error) {
	for i, size := 1, 0; ; i++ { // the length, before the library makes room for it
		b, err := br.Peek(i + 1)
		if err != nil {
			return nil, err
		}
		size |= int(b[i]&0x7f) << (7 * (i - 1))
		if size > maxPacket || i > 4 {
			return nil, fmt.Errorf("%w: a packet of %d bytes or more", errProtocol, size)
		}
		if b[i]&0x80 == 0 {
			break
		}
	}
	return packets.ReadPacket(br)
}

// appendPublish appends a message as a packet.
func appendPublish(buf []byte, a *Ack, id uint16) []byte {
	flags, size := a.qos<<1, 2+len(a.topic)+len(a.payload)
	if a.retained {
		flags |= 1
	}
	if a.qos > 0 {
		size += 2
	}
	buf = appendLength(append(buf, packets.Publish<<4|flags), size)
	buf = append(binary.BigEndian.AppendUint16(buf, uint16(len(a.topic))), a.topic...)
	if a.qos > 0 {
		buf = binary.BigEndian.AppendUint16(buf, id)
	}
	return append(buf, a.payload...)
}

// appendSubscribe appends a SUBSCRIBE of one filter.
func appendSubscribe(buf []byte, id uint16, filter string, qos byte) []byte {
	buf = appendLength(append(buf, packets.Subscribe<<4|2), 2+2+len(filter)+1)
	buf = binary.BigEndian.AppendUint16(buf, id)
	buf = append(binary.BigEndian.AppendUint16(buf, uint16(len(filter))), filter...)
	return append(buf, qos)
}

// appendLength appends a remaining length.
func appendLength(buf []byte, n int) []byte {
	for ; n >= 0x80; n >>= 7 {
		buf = append(buf, byte(n)|0x80)
	}
	return append(buf, byte(n))
}
