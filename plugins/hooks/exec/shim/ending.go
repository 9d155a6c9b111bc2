package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"firebreak/plugins"
)

// Ending is the stored end of a call. The output follows it in the file, raw.
type Ending struct {
	ID        string `json:"id"`
	Result    string `json:"result"`
	Detail    string `json:"detail"`
	ExitCode  int    `json:"exit_code"`
	ElapsedNs int64  `json:"elapsed_ns"` // since Do began
	StartedNs int64  `json:"started_ns"` // until the command had been started; 0: it was not
	Output    []byte `json:"-"`
}

// Outcome is it in the words of hooks.
func (e Ending) Outcome() plugins.Outcome {
	o := plugins.Outcome{Detail: e.Detail, ExitCode: e.ExitCode, Output: string(e.Output), Elapsed: time.Duration(e.ElapsedNs)}
	switch e.Result {
	case plugins.Done.String():
		o.Result = plugins.Done
	case plugins.Failed.String():
		o.Result = plugins.Failed
	}
	return o
}

const (
	endingHead  = "firebreak-outcome 1 %08x %d %d\n" // CRC32C of all that follows, length of the JSON, of the output
	endingExtra = 8 << 10                            // room for head and JSON
)

func (e Ending) encode() []byte {
	js := appendText([]byte(`{"id":`), e.ID)
	js = appendText(append(js, `,"result":`...), e.Result)
	js = appendText(append(js, `,"detail":`...), e.Detail)
	js = strconv.AppendInt(append(js, `,"exit_code":`...), int64(e.ExitCode), 10)
	js = strconv.AppendInt(append(js, `,"elapsed_ns":`...), e.ElapsedNs, 10)
	js = strconv.AppendInt(append(js, `,"started_ns":`...), e.StartedNs, 10)
	js = append(js, '}')
	body := append(js, e.Output...)
	return append(fmt.Appendf(nil, endingHead, sum32(body), len(js), len(e.Output)), body...)
}

// appendText appends a string of JSON. What encoding/json learns of a type before it writes the first
// value takes a shim longer than to write it by hand.
func appendText(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			b = append(b, `\u00`+string(digits[c>>4])+string(digits[c&15])...)
		default:
			b = append(b, c) // whoever reads it mends what is no UTF-8
		}
	}
	return append(b, '"')
}

func decodeEnding(b []byte, id string) (Ending, error) {
	var e Ending
	head, body, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return e, errors.New("no head line")
	}
	var sum uint32
	var nj, no int
	if _, err := fmt.Sscanf(string(head)+"\n", endingHead, &sum, &nj, &no); err != nil {
		return e, fmt.Errorf("head line: %w", err)
	}
	if nj < 0 || no < 0 || nj > len(body) || no != len(body)-nj || sum32(body) != sum {
		return e, errors.New("length or checksum is wrong")
	}
	if err := json.Unmarshal(body[:nj], &e); err != nil {
		return e, err
	}
	if e.ID != id {
		return e, fmt.Errorf("it is of call %q", e.ID)
	}
	e.Output = body[nj:]
	return e, nil
}

// ErrTorn: there is an outcome, and it cannot be believed.
var ErrTorn = errors.New("the stored outcome is damaged")

// ReadEnding gives the stored end, or os.ErrNotExist, or ErrTorn. Any other error says nothing of
// the call: a process short of descriptors must not take an end for a death.
func (d Dir) ReadEnding(id string) (Ending, error) {
	b, err := readFile(d.Path(OutcomeFile))
	if err != nil {
		return Ending{}, err
	}
	e, err := decodeEnding(b, id)
	if err != nil {
		return Ending{}, fmt.Errorf("%s: %w: %w", d.Path(OutcomeFile), ErrTorn, err)
	}
	return e, nil
}

// WriteEnding stores an end.
func (d Dir) WriteEnding(e Ending) error {
	return d.replace(OutcomeFile, e.encode())
}

// sum32 is CRC-32C. Each shim takes it once, of little: the table that hash/crc32 makes for it is for
// long texts, and costs more processor time than all else that a shim does at its end.
func sum32(b []byte) uint32 {
	const castagnoli = 0x82f63b78 // reversed, as in RFC 3720
	var t [256]uint32
	for i := range t {
		v := uint32(i)
		for range 8 {
			v = v>>1 ^ v&1*castagnoli
		}
		t[i] = v
	}
	sum := ^uint32(0)
	for _, c := range b {
		sum = t[byte(sum)^c] ^ sum>>8
	}
	return ^sum
}
