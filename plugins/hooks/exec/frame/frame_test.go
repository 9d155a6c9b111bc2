package frame

import (
	"bytes"
	"encoding/binary"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestFrameGoesThrough(t *testing.T) {
	want := Request{V: Version, Op: Run, Action: "power", ID: "p/z/3/s/1/do/0", AskedNs: 1, TimeoutNs: 2, Body: []byte(`{"a":1}`), Open: map[string]uint64{"p": 3}}
	var b bytes.Buffer
	if err := Write(&b, want, MaxRequest); err != nil {
		t.Fatal(err)
	}
	var got Request
	if err := Read(iotest.OneByteReader(&b), &got, MaxRequest); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFrameIsBounded(t *testing.T) {
	if err := Write(io.Discard, Request{Op: strings.Repeat("x", 100)}, 99); err == nil {
		t.Error("a frame above the limit was written")
	}
	head := binary.BigEndian.AppendUint32([]byte(mark), 1<<31)
	if err := Read(bytes.NewReader(head), new(Request), MaxRequest); err == nil || !strings.Contains(err.Error(), "claims") {
		t.Errorf("a claim of 2 GiB: %v", err)
	}
	var b bytes.Buffer
	if err := Write(&b, Request{V: 1}, MaxRequest); err != nil {
		t.Fatal(err)
	}
	for i := range b.Len() {
		if err := Read(bytes.NewReader(b.Bytes()[:i]), new(Request), MaxRequest); err == nil {
			t.Errorf("cut at %d: taken", i)
		}
	}
}

// FuzzFrame: whatever comes is a frame or an error, and takes no more memory than was sent.
func FuzzFrame(f *testing.F) {
	var b bytes.Buffer
	_ = Write(&b, Request{V: Version, Op: Probe, Action: "a"}, MaxRequest)
	f.Add(b.Bytes())
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(append([]byte(mark), 0xff, 0xff, 0xff, 0xff))
	f.Add(append([]byte(mark), 0, 0, 0, 2, '{', '}'))
	f.Fuzz(func(t *testing.T, in []byte) {
		var req Request
		if err := Read(bytes.NewReader(in), &req, 1<<16); err != nil {
			return
		}
		var out bytes.Buffer
		if err := Write(&out, req, 1<<20); err != nil {
			t.Fatalf("%+v was read and cannot be written: %v", req, err)
		}
		var again Request
		if err := Read(&out, &again, 1<<20); err != nil || again.ID != req.ID || again.Op != req.Op {
			t.Errorf("%+v came back as %+v: %v", req, again, err)
		}
	})
}
