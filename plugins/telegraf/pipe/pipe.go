// Package pipe is what firebreak and its Telegraf companion say to each other: frames over the companion's
// standard input and output, each with a head of nine bytes, a mark, a kind and a length. The agent begins
// with Setup; the companion answers with Hello, or Fatal, and then both send as they have something.
//
// Concurrency: a Writer and a Reader belong to one goroutine each. Failure: both block as long as their
// file does, so whoever must not wait sets deadlines on it; what is not a whole frame of this version is an
// error, after which the pipe is of no more use. No length that a frame claims takes memory before the
// bytes are there.
package pipe

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"firebreak/plugins/telegraf/line"
)

// Version of what is said. A side that does not know the other's says so and ends.
const Version = 1

const mark = "fbt1" // of the head alone: it stays when the messages change

// Kind of a frame.
type Kind byte

const (
	SetupKind    Kind = 'S' // to the companion: Setup
	QuitKind     Kind = 'Q' // to the companion: write what waits, and end
	HelloKind    Kind = 'H' // from it: Hello
	FatalKind    Kind = 'F' // from it: Fatal, and then it ends
	BeatKind     Kind = 'B' // from it, every second: Beat
	GatheredKind Kind = 'G' // from it: Gathered
	MetricsKind  Kind = 'M' // both ways: Metrics
)

// Bounds of a frame's body.
const (
	MaxSetup = 2 << 20
	MaxFrame = 256 << 10
	MaxBatch = 500 // metrics in one frame: who takes it has no moment in between
)

func limit(k Kind) int {
	if k == SetupKind {
		return MaxSetup
	}
	return MaxFrame
}

// Setup is what the companion is to do.
type Setup struct {
	V     int      `json:"v"`
	Name  string   `json:"name"`            // of the agent, for logs
	Text  string   `json:"text"`            // a Telegraf configuration
	File  string   `json:"file,omitempty"`  // another one, read by the companion, since a disk may hang
	Want  []string `json:"want,omitempty"`  // measurements that the agent has points for; others stay there
	Cache int      `json:"cache,omitempty"` // metrics that wait for the pipe; 0: the default of the companion
	// HangMs is for how long a gather may last before the companion ends itself; 0: the default.
	HangMs int `json:"hang_ms,omitempty"`
}

// Hello is the answer to a Setup. Inputs and outputs are named "upsd", or "upsd::alias".
type Hello struct {
	V       int      `json:"v"`
	Version string   `json:"version"` // of Telegraf
	Inputs  []string `json:"inputs,omitempty"`
	Outputs []string `json:"outputs,omitempty"`
	Tied    bool     `json:"tied,omitempty"` // by companion.Tie: it may be made to stand still, since it would not do so for ever
}

// Fatal is why the companion ends.
type Fatal struct {
	V     int    `json:"v"`
	Error string `json:"error"`
}

// Beat says that the companion lives, and what is wrong with it.
type Beat struct {
	Dropped uint64   `json:"dropped,omitempty"` // metrics for the agent that found no room
	Hung    []string `json:"hung,omitempty"`    // inputs whose gather is late by more than their interval
	Failing []string `json:"failing,omitempty"` // outputs that could not write last, with the reason
	Lost    uint64   `json:"lost,omitempty"`    // metrics of the agent that found no room before the outputs
}

// Gathered is the end of one gather of one input.
type Gathered struct {
	Input   string   `json:"input"`
	Begun   int64    `json:"begun"` // Now of then
	Errors  []string `json:"errors,omitempty"`
	Metrics int      `json:"metrics"`
}

// Metrics are lines of the line protocol, with the time at which they were sent by two clocks: the wall
// clock, which their own times are of, and the monotonic one, which says how long they took.
type Metrics struct {
	Mono, Wall int64
	Lines      []byte
}

// Count is how many there are, by their ends, without reading them.
func (m *Metrics) Count() int {
	return bytes.Count(bytes.TrimSuffix(m.Lines, []byte{'\n'}), []byte{'\n'}) + 1
}

// Each calls take for each metric; it goes on after a line that is none, and returns the last error.
func (m *Metrics) Each(take func(line.Metric)) (err error) {
	for rest := m.Lines; len(rest) > 0; {
		one, after, _ := bytes.Cut(rest, []byte{'\n'})
		rest = after
		if len(one) == 0 {
			continue
		}
		got, bad := line.Parse(string(one))
		if bad != nil {
			err = bad
			continue
		}
		take(got)
	}
	return err
}

// Now is CLOCK_MONOTONIC: of one boot, and the same in every process.
func Now() int64 {
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return time.Now().UnixNano()
	}
	return ts.Nano()
}

// Writer writes frames.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer on w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

func (w *Writer) begin(k Kind) {
	w.buf = append(append(w.buf[:0], mark...), byte(k), 0, 0, 0, 0)
}

func (w *Writer) end(k Kind) error {
	n := len(w.buf) - headLen
	if n > limit(k) {
		return fmt.Errorf("the frame %c has %d bytes, at most %d", k, n, limit(k))
	}
	binary.BigEndian.PutUint32(w.buf[5:], uint32(n))
	_, err := w.w.Write(w.buf)
	return err
}

// JSON writes a frame whose body is v.
func (w *Writer) JSON(k Kind, v any) error {
	js, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.begin(k)
	w.buf = append(w.buf, js...)
	return w.end(k)
}

// Empty writes a frame without a body.
func (w *Writer) Empty(k Kind) error {
	w.begin(k)
	return w.end(k)
}

// Metrics writes metrics in as many frames as they need, and returns how many could not be written in line
// protocol.
func (w *Writer) Metrics(ms []line.Metric) (unfit int, err error) {
	for len(ms) > 0 {
		w.begin(MetricsKind)
		w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(Now()))
		w.buf = binary.BigEndian.AppendUint64(w.buf, uint64(time.Now().UnixNano()))
		for n := 0; len(ms) > 0 && n < MaxBatch && len(w.buf)+line.MaxLine+1-headLen <= MaxFrame; n++ {
			b, bad := ms[0].Append(w.buf)
			ms = ms[1:]
			if w.buf = b; bad != nil {
				unfit++
				continue
			}
			w.buf = append(w.buf, '\n')
		}
		if len(w.buf) == headLen+stampLen {
			continue
		}
		if err := w.end(MetricsKind); err != nil {
			return unfit, err
		}
	}
	return unfit, nil
}

const (
	headLen  = 9
	stampLen = 16
)

// Reader reads frames.
type Reader struct {
	r    io.Reader
	head [headLen]byte
	buf  bytes.Buffer
}

// NewReader returns a Reader on r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next reads one frame. The body is the Reader's until the next call. At the end of the pipe, between two
// frames, it returns io.EOF.
func (r *Reader) Next() (Kind, []byte, error) {
	if _, err := io.ReadFull(r.r, r.head[:]); err != nil {
		return 0, nil, err
	}
	if string(r.head[:4]) != mark {
		return 0, nil, errors.New("that is no frame of firebreak: something else writes to the pipe, or is at its other end")
	}
	k, n := Kind(r.head[4]), binary.BigEndian.Uint32(r.head[5:])
	if strings.IndexByte("SQHFBGM", byte(k)) < 0 {
		return 0, nil, fmt.Errorf("a frame of the unknown kind %q", byte(k))
	}
	if uint64(n) > uint64(limit(k)) {
		return 0, nil, fmt.Errorf("a frame %c claims %d bytes, at most %d", k, n, limit(k))
	}
	r.buf.Reset()
	if _, err := io.CopyN(&r.buf, r.r, int64(n)); err != nil { // grows with what comes
		return 0, nil, fmt.Errorf("the frame %c ends after %d of %d bytes: %w", k, r.buf.Len(), n, io.ErrUnexpectedEOF)
	}
	return k, r.buf.Bytes(), nil
}

// Decode reads the body of a frame that JSON wrote.
func Decode[T any](body []byte) (T, error) {
	var v T
	err := json.Unmarshal(body, &v)
	return v, err
}

// DecodeMetrics reads the body of a frame of metrics. Lines stay in body.
func DecodeMetrics(body []byte) (Metrics, error) {
	if len(body) < stampLen {
		return Metrics{}, errors.New("a frame of metrics without its times")
	}
	m := Metrics{Mono: int64(binary.BigEndian.Uint64(body)), Wall: int64(binary.BigEndian.Uint64(body[8:])), Lines: body[stampLen:]}
	if n := m.Count(); n > MaxBatch {
		return Metrics{}, fmt.Errorf("a frame of %d metrics, at most %d", n, MaxBatch)
	}
	return m, nil
}
