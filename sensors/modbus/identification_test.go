package modbus

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"pgregory.net/rapid"
)

func identify(from uint16) Request {
	return Request{Unit: 1, Func: profile.Identification, Address: from, Quantity: 1, Timeout: long, Turnaround: short}
}

// objectsPDU is a reply with the given head after the function, and objects.
func objectsPDU(code, more, next byte, objects ...string) []byte {
	pdu := []byte{0x2B, 0x0E, code, code, more, next, byte(len(objects))}
	for _, o := range objects {
		pdu = append(pdu, o[0], byte(len(o)-1))
		pdu = append(pdu, o[1:]...)
	}
	return pdu
}

// The request is what Network UPS Tools sends to a Huawei UPS2000, and the reply begins as it expects.
func TestIdentificationFrame(t *testing.T) {
	sent := make(chan []byte, 1)
	m, path := openPTY(t)
	serveLine(t, m, readFixed, func(_ int, c io.ReadWriteCloser, req []byte) {
		sent <- req
		pdu := append(unhex(t, "2B 0E 03 03 00 00 02 87 04 00 00 00 01 88 12"), "1=UPS2000;2=V1R1;3"...)
		c.Write(rtuFrame(1, pdu))
	})
	objects, err := Identify(context.Background(), newRTU(t, path), identify(0x0387), []byte{0x87, 0x88})
	if got := <-sent; !bytes.Equal(got, unhex(t, "01 2B 0E 03 87 31 75")) {
		t.Errorf("sent % X", got)
	}
	if err != nil || !bytes.Equal(objects[0x87], []byte{0, 0, 0, 1}) || string(objects[0x88]) != "1=UPS2000;2=V1R1;3" {
		t.Errorf("%q, %v", objects, err)
	}
}

// A list in several parts, over each way, with a reply in pieces; what is asked for decides when it is enough.
func TestIdentificationParts(t *testing.T) {
	parts := map[byte][]byte{
		0: objectsPDU(1, 0xFF, 1, "\x00Maker"), 1: objectsPDU(1, 0xFF, 2, "\x01"+strings.Repeat("x", 200)), 2: objectsPDU(1, 0, 0, "\x02V1", "\x01twice"),
	}
	for name, w := range ways() {
		t.Run(name, func(t *testing.T) {
			asked := make(chan byte, 8)
			l := w.serve(t, func(_ int, c io.ReadWriteCloser, req []byte) {
				unit, pdu := w.ask(req)
				asked <- pdu[3]
				frame := w.frame(req, unit, parts[pdu[3]])
				c.Write(frame[:len(frame)/2])
				c.Write(frame[len(frame)/2:])
			})
			objects, err := Identify(context.Background(), l, identify(0x0100), []byte{0, 2})
			if err != nil || string(objects[0]) != "Maker" || len(objects[1]) != 200 || string(objects[2]) != "V1" || len(asked) != 3 {
				t.Errorf("%q, %v, %d requests", objects, err, len(asked))
			}
			if objects, err = Identify(context.Background(), l, identify(0x0100), []byte{0}); err != nil || len(objects) != 1 || len(asked) != 4 {
				t.Errorf("the first part was enough: %q, %v, %d requests", objects, err, len(asked))
			}
		})
	}
}

// A list that promises more without an end costs four requests, and one that goes in a circle fewer.
func TestIdentificationWithoutEnd(t *testing.T) {
	for name, next := range map[string]func(n int) (object string, next byte){
		"endless":             func(n int) (string, byte) { return string([]byte{byte(0x80 + n), 'x'}), byte(0x81 + n) },
		"circle":              func(n int) (string, byte) { return string([]byte{byte(0x80 + n%2), 'x'}), byte(0x80 + (n+1)%2) },
		"back to basic":       func(n int) (string, byte) { return "\x80x", 0 },
		"the same and onward": func(n int) (string, byte) { return "\x80x", byte(0x90 + n) },
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			l := newTCP(t, tcpServer(t, func(n int, c io.ReadWriteCloser, req []byte) {
				asked++
				object, next := next(n)
				c.Write(mbap(req, req[6], objectsPDU(3, 0xFF, next, object)))
			}))
			objects, err := Identify(context.Background(), l, identify(0x0380), []byte{0xFF})
			if want := map[string]int{"endless": 4, "circle": 2, "back to basic": 1, "the same and onward": 2}[name]; err != nil || objects[0xFF] != nil || asked != want {
				t.Errorf("%q, %v after %d requests, want %d", objects, err, asked, want)
			}
		})
	}
}

// What is no identification is refused, whatever way it comes, and the next reply counts again.
func TestIdentificationBadReplies(t *testing.T) {
	good := objectsPDU(3, 0, 0, "\x87\x00\x00\x00\x01", "\x881=UPS2000")
	for what, spoil := range map[string]func(pdu []byte) []byte{
		"other MEI type":      func(p []byte) []byte { p[1] = 0x0D; return p },
		"other read code":     func(p []byte) []byte { p[2] = 1; return p },
		"more is neither":     func(p []byte) []byte { p[4] = 1; return p },
		"an object too few":   func(p []byte) []byte { p[6] = 1; return p },
		"a text too short":    func(p []byte) []byte { p[8] = 3; return p },
		"texts beyond all":    func(p []byte) []byte { p[8] = 0xFF; return p },
		"a read of registers": func(p []byte) []byte { return []byte{3, 2, 0, 1} },
		"other exception":     func(p []byte) []byte { return []byte{0x83, 1} },
	} {
		for name, w := range ways() {
			t.Run(what+" "+name, func(t *testing.T) {
				var both pace
				l := w.serve(t, both.serve(func(n int, c io.ReadWriteCloser, req []byte) {
					unit, pdu := w.ask(req)
					switch {
					case pdu[0] == 3:
						pdu = goodPDU(pdu)
					case n == 0:
						pdu = spoil(bytes.Clone(good))
					default:
						pdu = good
					}
					c.Write(w.frame(req, unit, pdu))
				}))
				if line, ok := l.(*SerialLink); ok {
					both.of(line)
				}
				r := identify(0x0387)
				r.Witness = []profile.Span{{Func: profile.Holding, First: 5, Count: 1}}
				r.Timeout = 2 * short
				// A text that promises more than comes ends with the time-out, on a line.
				if data, err := l.Read(context.Background(), r); !errors.Is(err, ErrGarbled) && !errors.Is(err, ErrTimeout) {
					t.Fatalf("%v with % x", err, data)
				}
				await(t, "the spoilt reply is on the line", func() bool { return both.served.Load() >= max(both.sent.Load(), 1) })
				r.Timeout = long
				if data, err := l.Read(context.Background(), r); err != nil || !bytes.Equal(data, good[1:]) {
					t.Fatalf("the next reply: %v with % x", err, data)
				}
			})
		}
	}
}

// Of function 43 nothing else is asked for (S25), and a stream begins within its class.
func TestIdentificationRefused(t *testing.T) {
	l := newTCP(t, "127.0.0.1:1")
	for code := range 256 {
		for object := range 256 {
			r := identify(uint16(code<<8 | object))
			err := r.check()
			if want := code == 1 && object < 3 || code == 2 && object < 0x80 || code == 3 && object >= 0x80; (err == nil) != want {
				t.Errorf("read code %d, object %d: %v", code, object, err)
			}
		}
	}
	r := identify(0x0387)
	r.Quantity = 2
	mustFail(t, l, r, ErrRefused)
}

const identified = `
[[identity]]
function = "identification"
object   = 0x87
bytes    = ["00 00 00 01"]
[[identity]]
function = "identification"
object   = 0x88
from     = 0x87
field    = "1"
text     = ["UPS2000", "UPS2000A"]
`

// namedLink is a fakeLink that answers function 43 too.
type namedLink struct {
	fakeLink
	objects []string
	asked   int
	err     error
}

func (n *namedLink) Read(ctx context.Context, r Request) ([]byte, error) {
	if r.Func != profile.Identification {
		return n.fakeLink.Read(ctx, r)
	}
	n.asked++
	return objectsPDU(3, 0, 0, n.objects...)[1:], n.err
}

// A poller asks who answers, at the start and every hundredth poll; another one's points are bad.
func TestPollerIdentifies(t *testing.T) {
	var now sensors.Mono
	for _, c := range []struct{ model, want string }{
		{"\x881=UPS2000A;2=V1", "10"}, {"\x882=V1;1=UPS2000", "10"}, {"\x881=UPS2000B;2=V1", "bad:identity"}, {"\x882=UPS2000", "bad:identity"},
		{"\x881=UPS2000;1=UPS2000A", "bad:identity"}, {"\x891=UPS2000", "bad:identity"}, {"\x88UPS2000", "bad:identity"},
	} {
		link := &namedLink{objects: []string{"\x87\x00\x00\x00\x01", c.model}}
		d, _ := device(t, link, identified, "a 10")
		for range 101 {
			if got, err := poll(t, d, at(&now)); got != c.want || err != nil {
				t.Fatalf("%q: %s, %v, want %s", c.model, got, err, c.want)
			}
			if c.want != "10" {
				break
			}
		}
		if want := map[bool]int{true: 2, false: 1}[c.want == "10"]; link.asked != want { // both checks look at one answer
			t.Errorf("%q: asked %d times, want %d", c.model, link.asked, want)
		}
	}
	d, _ := device(t, &namedLink{err: &Exception{Code: 1}}, identified, "a 10")
	if got, err := poll(t, d, at(&now)); got != "bad:identity" || err != nil {
		t.Errorf("refused: %s, %v", got, err)
	}
	for err, want := range map[error]error{ErrTimeout: ErrTimeout, &Exception{Code: 4}: ErrDeviceFault} {
		d, _ := device(t, &namedLink{err: err}, identified, "a 10")
		if got, e := poll(t, d, at(&now)); got != "bad:comm" || !errors.Is(e, want) {
			t.Errorf("%v: %s, %v", err, got, e)
		}
	}
	d, _ = device(t, &namedLink{err: &Exception{Code: 1}}, strings.ReplaceAll(identified, "object ", "optional = true\nobject "), "a 10")
	if got, err := poll(t, d, at(&now)); got != "10" || err != nil {
		t.Errorf("optional: %s, %v", got, err)
	}
}

// No reply, however made, is taken for more than it holds, and none is read beyond its end.
func TestIdentificationAnyReply(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		pdu := rapid.SliceOfN(rapid.Byte(), 0, 260).Draw(rt, "reply")
		if rapid.Bool().Draw(rt, "likely") {
			pdu = append([]byte{0x2B, 0x0E, 3, 3, 0, 0}, pdu...)
		}
		r := identify(0x0387)
		whole, err := r.identSize(pdu)
		if err == nil && whole > maxPDU {
			rt.Fatalf("a reply of %d bytes", whole)
		}
		if _, err := r.identSize([]byte{0x2B, 0x0E, 3, 3, 0, 0, 1, 0x87, maxPDU - identHead - 1}); err == nil {
			rt.Fatal("an object that is longer than a frame")
		}
		if r.checkPDU(pdu) == nil && len(pdu) > 2 {
			objects := map[byte][]byte{}
			takeObjects(objects, pdu[1:])
			n := 0
			for _, o := range objects {
				n += 2 + len(o)
			}
			if n > len(pdu)-identHead {
				rt.Fatalf("%d bytes of objects in %d", n, len(pdu))
			}
		}
		for k := range pdu { // byte by byte, as a line is read
			if w, e := r.identSize(pdu[:k]); e == nil && w != 0 && err == nil && w != whole {
				rt.Fatalf("length %d after %d bytes, %d at the end", w, k, whole)
			}
		}
	})
}

// A late identification is not taken for that of the next request, which asks for other objects: a witness clears the line
// first.
func TestLateIdentification(t *testing.T) {
	for name, w := range ways() {
		if name == "TCP" {
			continue // its replies are numbered
		}
		t.Run(name, func(t *testing.T) {
			late := objectsPDU(3, 0, 0, "\x80late")
			l := w.serve(t, func(n int, c io.ReadWriteCloser, req []byte) {
				unit, pdu := w.ask(req)
				switch {
				case n == 0: // it takes its time
				case pdu[0] == 3:
					if n == 1 {
						c.Write(w.frame(req, unit, late))
					}
					c.Write(w.frame(req, unit, goodPDU(pdu)))
				default:
					c.Write(w.frame(req, unit, objectsPDU(3, 0, 0, "\x80now")))
				}
			})
			r := identify(0x0380)
			r.Timeout, r.Turnaround, r.Witness = short, short, []profile.Span{{Func: profile.Holding, First: 5, Count: 1}}
			mustFail(t, l, r, ErrTimeout)
			r.Timeout = long
			for range 5 {
				objects, err := Identify(context.Background(), l, r, []byte{0x80})
				if err == nil {
					if string(objects[0x80]) != "now" {
						t.Errorf("it calls itself %q", objects[0x80])
					}
					return
				}
			}
			t.Error("it is not heard again")
		})
	}
}
