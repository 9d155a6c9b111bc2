package modbus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"firebreak/sensors/profile"

	"pgregory.net/rapid"
)

// A device that answers under another unit than it is asked under is heard under that one, and under no other; whoever keeps
// the specification is heard under its own alone. By each way.
func TestReplyUnit(t *testing.T) {
	names := ways()
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom([]string{"TCP", "RTU", "ASCII", "RTU over TCP", "ASCII over TCP"}).Draw(rt, "way")
		asked := rapid.ByteRange(1, 247).Draw(rt, "asked")
		expected := rapid.ByteRange(0, 247).Draw(rt, "expected")
		right := expected
		if expected == 0 {
			right = asked
		}
		answering := rapid.OneOf(rapid.Just(right), rapid.Just(asked), rapid.ByteRange(0, 255)).Draw(rt, "answering")
		r := Request{Unit: asked, ReplyUnit: expected, Func: profile.Holding, Address: 100, Quantity: 3, Timeout: long}
		w := names[name]
		pdu := goodPDU([]byte{3, 0, 100, 0, 3})
		data, err := judgeReply(w, name, r, answering, pdu)
		switch {
		case answering == right && (err != nil || wrongData(r, data)):
			rt.Fatalf("%s: % x, %v", name, data, err)
		case answering != right && (!errors.Is(err, ErrGarbled) || data != nil):
			rt.Fatalf("%s: unit %d was asked, %d expected, %d taken: % x, %v", name, asked, right, answering, data, err)
		}
	})
}

// judgeReply takes a reply as the transport of a way does, without the line between.
func judgeReply(w way, name string, r Request, answering byte, pdu []byte) ([]byte, error) {
	f := rtuFraming()
	if strings.HasPrefix(name, "ASCII") {
		f = asciiFraming()
	}
	pk := f.packager(r.Unit)
	if name == "TCP" {
		pk = newTCPPackager(r.Unit)
	}
	if r.ReplyUnit != 0 {
		if pk = f.renamed(pk, r.ReplyUnit); name == "TCP" {
			pk = tcpRenamed(newTCPPackager(r.Unit), r.ReplyUnit)
		}
	}
	data, err := exchange(pk, func(adu []byte) ([]byte, error) {
		reply := w.frame(adu, answering, pdu)
		if name == "TCP" {
			reply, _, err := readADU(bytes.NewReader(reply), adu, r)
			return reply, err
		}
		done, err := f.check(r, reply)
		if err == nil && !done {
			err = fmt.Errorf("%w: not whole", ErrGarbled)
		}
		return reply, err
	}, r)
	return data, err
}

// The same over real ways, with a second unit that answers in its place; the debts of a unit are kept under the
// number that it answers under.
func TestReplyUnitOnTheWire(t *testing.T) {
	for name, w := range ways() {
		t.Run(name, func(t *testing.T) {
			l := w.serve(t, func(n int, c io.ReadWriteCloser, req []byte) {
				unit, pdu := w.ask(req)
				answers := unit - 48
				if n == 1 {
					answers = unit // as a strict device would
				}
				c.Write(w.frame(req, answers, goodPDU(pdu)))
			})
			r := holding(100, 10)
			r.Unit, r.ReplyUnit = 0x81, 0x51
			mustRead(t, l, r)
			r.Address = 200
			mustFail(t, l, r, ErrGarbled)
			r.Address, r.Quantity = 300, 9
			mustRead(t, l, r)
			if s, ok := l.(*SerialLink); ok && (s.debts[0x51] == nil || s.debts[0x81] != nil) {
				t.Errorf("the debts are kept under %v", s.debts)
			}
		})
	}
}
