package pipe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"firebreak/plugins/telegraf/line"
)

func TestFramesGoThrough(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	setup := Setup{V: Version, Name: "rack-1", Text: "[[inputs.upsd]]\n", File: "/etc/telegraf.conf", Want: []string{"upsd"}, Cache: 3}
	many := make([]line.Metric, 3000) // more than one frame holds
	for i := range many {
		many[i] = line.Metric{Name: "m", Fields: []line.Field{{Key: "text", Value: strings.Repeat("x", 200)}}, Time: int64(i)}
	}
	many[7].Fields = nil
	before := Now()
	unfit, err := 0, errors.Join(w.JSON(SetupKind, setup), w.Empty(QuitKind))
	if err == nil {
		unfit, err = w.Metrics(many)
	}
	if err != nil || unfit != 1 {
		t.Fatal(unfit, err)
	}
	r := NewReader(iotest.OneByteReader(&b))
	k, body, err := r.Next()
	got, bad := Decode[Setup](body)
	if k != SetupKind || err != nil || bad != nil || !reflect.DeepEqual(got, setup) {
		t.Errorf("%c %+v, %v, %v", k, got, err, bad)
	}
	if k, body, err = r.Next(); k != QuitKind || len(body) > 0 || err != nil {
		t.Errorf("%c %q, %v", k, body, err)
	}
	var times []int64
	frames := 0
	for {
		k, body, err = r.Next()
		if err != nil {
			break
		}
		m, bad := DecodeMetrics(body)
		if k != MetricsKind || bad != nil || m.Mono < before || m.Mono > Now() {
			t.Fatalf("%c %v, sent %d", k, bad, m.Mono)
		}
		frames++
		if err := m.Each(func(m line.Metric) { times = append(times, m.Time) }); err != nil {
			t.Error(err)
		}
	}
	if err != io.EOF || frames < 2 || len(times) != len(many)-1 || times[6] != 6 || times[7] != 8 || times[len(times)-1] != 2999 {
		t.Errorf("%v after %d frames with %d metrics", err, frames, len(times))
	}
}

func TestFramesAreBounded(t *testing.T) {
	head := func(k Kind, n uint32) []byte {
		return binary.BigEndian.AppendUint32(append([]byte(mark), byte(k)), n)
	}
	for _, c := range []struct {
		in   []byte
		want string
	}{
		{head(BeatKind, MaxFrame+1), "claims"}, {head(SetupKind, 1<<31), "claims"}, {head('x', 0), "unknown kind"},
		{[]byte("GET / HTTP/1.1\r\n"), "no frame"}, {append(head(BeatKind, 9), "short"...), "after 5 of 9"}, {head(BeatKind, 0)[:5], "unexpected EOF"},
	} {
		if k, _, err := NewReader(bytes.NewReader(c.in)).Next(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %c, %v; want %q", c.in, k, err, c.want)
		}
	}
	if err := NewWriter(io.Discard).JSON(FatalKind, Fatal{Error: strings.Repeat("x", MaxFrame)}); err == nil {
		t.Error("a frame above the limit was written")
	}
	if _, err := DecodeMetrics(make([]byte, 15)); err == nil {
		t.Error("metrics without times were taken")
	}
	many := append(make([]byte, stampLen), strings.Repeat("a v=1\n", MaxBatch+1)...)
	if _, err := DecodeMetrics(many); err == nil || !strings.Contains(err.Error(), "501 metrics") {
		t.Errorf("a frame of too many metrics: %v", err)
	}
	if m, err := DecodeMetrics(many[:len(many)-6]); err != nil || m.Count() != MaxBatch {
		t.Errorf("a full frame has %d metrics: %v", m.Count(), err)
	}
	m := Metrics{Lines: []byte("bad\n\na v=1\n")}
	n := 0
	if err := m.Each(func(line.Metric) { n++ }); err == nil || n != 1 {
		t.Errorf("one bad line of two: %d taken, %v", n, err)
	}
}

// FuzzPipe: whatever comes is frames or an error, and takes no more memory than was sent.
func FuzzPipe(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b)
	_ = w.JSON(HelloKind, Hello{V: Version, Inputs: []string{"upsd"}})
	_, _ = w.Metrics([]line.Metric{{Name: "m", Fields: []line.Field{{Key: "v", Value: 1.5}}}})
	f.Add(b.Bytes())
	f.Add(append([]byte(mark), 'M', 0xff, 0xff, 0xff, 0xff))
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		for {
			k, body, err := r.Next()
			if err != nil {
				return
			}
			if len(body) > len(in) {
				t.Fatalf("a body of %d bytes out of %d", len(body), len(in))
			}
			switch k {
			case MetricsKind:
				if m, err := DecodeMetrics(body); err == nil {
					_ = m.Each(func(line.Metric) {})
				}
			case HelloKind:
				_, _ = Decode[Hello](body)
			}
		}
	})
}
