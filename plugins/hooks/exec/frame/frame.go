// Package frame is what the exec hook and the helper say to each other over a Unix socket: one
// request and one reply on each connection, each a JSON object behind a head of eight bytes, a mark
// and a length.
//
// Concurrency: the functions keep no state. Failure: they block as long as their connection does,
// so the caller sets a deadline on it first; what is not a whole frame of this kind is an error, and
// no length that a frame claims takes memory before the bytes are there.
package frame

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// Version of the messages. It grows when a field is added that must not be passed over.
const Version = 1

// Bounds of a frame's JSON.
const (
	MaxRequest = 1 << 20
	MaxReply   = 2 << 20 // an output of 1 MiB in base64, and the rest
)

const mark = "fbx1" // of the head alone: it stays when the messages change

// Operations.
const (
	Run   = "run"   // an action under a key, or attach to it
	Poise = "poise" // get an action ready; it starts when a byte comes through the pipe that is sent along
	Probe = "probe" // whether an action could be started now
	Over  = "over"  // which episodes are open: ended keys of the others may go
)

// Request is what the agent asks.
type Request struct {
	V         int               `json:"v"`
	Op        string            `json:"op"`
	Action    string            `json:"action,omitempty"`
	ID        string            `json:"id,omitempty"`         // of the call: the key
	AskedNs   int64             `json:"asked_ns,omitempty"`   // CLOCK_MONOTONIC, when the hook was called
	TimeoutNs int64             `json:"timeout_ns,omitempty"` // from then
	Body      json.RawMessage   `json:"body,omitempty"`       // of the call, for standard input
	Open      map[string]uint64 `json:"open,omitempty"`       // plan -> its open episode
}

// Reply is what the helper answers. Exactly one of Error, Outcome, Probe and Over is there.
type Reply struct {
	V       int      `json:"v"`
	Error   string   `json:"error,omitempty"` // it was not looked at; it says nothing of the key
	Outcome *Outcome `json:"outcome,omitempty"`
	Probe   *Probed  `json:"probe,omitempty"`
	Over    *Swept   `json:"over,omitempty"`
}

// Outcome is the end of a call, as far as it is known.
type Outcome struct {
	Result    string `json:"result"` // done, failed, unknown, as in plugins
	Detail    string `json:"detail"`
	ExitCode  int    `json:"exit_code"`
	Output    []byte `json:"output,omitempty"`
	ElapsedNs int64  `json:"elapsed_ns"`
	Attached  bool   `json:"attached"`
}

// Probed is the state of an action.
type Probed struct {
	Faults []string `json:"faults,omitempty"`
	Drill  string   `json:"drill,omitempty"` // what the list declares: "native" or nothing
}

// Swept tells how many keys were removed.
type Swept struct {
	Removed int `json:"removed"`
}

// Write writes one frame in one piece.
func Write(w io.Writer, v any, limit int) error {
	b, err := encode(v, limit)
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

func encode(v any, limit int) ([]byte, error) {
	js, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(js) > limit {
		return nil, fmt.Errorf("the message has %d bytes, at most %d", len(js), limit)
	}
	b := append(make([]byte, 0, 8+len(js)), mark...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(js))) // limit is far below
	return append(b, js...), nil
}

// Read reads one frame into v.
func Read(r io.Reader, v any, limit int) error {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("no frame came: %w", err)
	}
	n := binary.BigEndian.Uint32(head[4:])
	if string(head[:4]) != mark {
		return errors.New("that is no frame of firebreak")
	}
	if uint64(n) > uint64(limit) {
		return fmt.Errorf("a frame claims %d bytes, at most %d", n, limit)
	}
	js, err := io.ReadAll(io.LimitReader(r, int64(n))) // grows with what comes
	if err != nil {
		return err
	}
	if len(js) < int(n) {
		return fmt.Errorf("the frame ends after %d of %d bytes: %w", len(js), n, io.ErrUnexpectedEOF)
	}
	return json.Unmarshal(js, v)
}

// PeerUID is the user at the other end, as the kernel noted it when the connection was made: of the
// one who connects, that of its process; of a listening socket, that of whoever made it listen.
func PeerUID(c *net.UnixConn) (uint32, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var sockErr error
	if err := raw.Control(func(fd uintptr) {
		cred, sockErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if sockErr != nil {
		return 0, sockErr
	}
	return cred.Uid, nil
}
