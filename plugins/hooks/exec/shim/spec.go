package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Versions of the spec. The shim knows all: a program that was upgraded is started by an agent that
// was not restarted yet. 1 and 2 are JSON, in oldSpecFile; a shim spent an eighth of its time on that.
const (
	Version     = 3
	oldVersion  = 1
	oldWithUser = 2
	oldSpecFile = "call.json"
	specMagic   = "firebreak-call"
)

// Spec is what the agent, or the helper, asks of the shim.
type Spec struct {
	V           int      `json:"v"` // of what was read
	ID          string   `json:"id"`
	Path        string   `json:"path"`
	Args        []string `json:"args"`
	Env         []string `json:"env"`
	Dir         string   `json:"dir"`
	AskedNs     int64    `json:"asked_ns"`    // CLOCK_MONOTONIC, when Do began
	DeadlineNs  int64    `json:"deadline_ns"` // CLOCK_MONOTONIC
	TimeoutNs   int64    `json:"timeout_ns"`
	GraceNs     int64    `json:"grace_ns"`
	OutputLimit int      `json:"output_limit"`
	User        *User    `json:"user,omitempty"` // nil: the shim's own
}

// User is whom a command runs as. Only root can become another.
type User struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"`
}

// Encode gives the text of SpecFile: fields that end with a zero byte, which none of them can hold; before
// each list its length; at the end the magic again, so that a text cut short is none.
func (s Spec) Encode() ([]byte, error) {
	b := []byte(specMagic + "\x00")
	var bad error
	text := func(v string) {
		if strings.IndexByte(v, 0) >= 0 {
			bad = fmt.Errorf("%q holds a zero byte: no command can be given it", v)
		}
		b = append(append(b, v...), 0)
	}
	number := func(v int64) { b = append(strconv.AppendInt(b, v, 10), 0) }
	list := func(vs []string) {
		number(int64(len(vs)))
		for _, v := range vs {
			text(v)
		}
	}
	number(Version)
	text(s.ID)
	text(s.Path)
	text(s.Dir)
	for _, v := range []int64{s.AskedNs, s.DeadlineNs, s.TimeoutNs, s.GraceNs, int64(s.OutputLimit)} {
		number(v)
	}
	list(s.Args)
	list(s.Env)
	var user []uint32
	if u := s.User; u != nil {
		user = append([]uint32{u.UID, u.GID}, u.Groups...)
	}
	number(int64(len(user)))
	for _, v := range user {
		number(int64(v))
	}
	text(specMagic)
	return b, bad
}

// fields reads what Encode has written. After the first fault all is zero.
type fields struct {
	rest string
	bad  bool
}

func (f *fields) text() string {
	v, rest, ok := strings.Cut(f.rest, "\x00")
	if !ok || f.bad {
		f.bad = true
		return ""
	}
	f.rest = rest
	return v
}

func (f *fields) number(bits int) int64 {
	v, err := strconv.ParseInt(f.text(), 10, bits)
	if err != nil {
		f.bad = true
		return 0
	}
	return v
}

// length of a list, which has at least a byte for each.
func (f *fields) length() int {
	n := f.number(32)
	if n < 0 || n > int64(len(f.rest)) {
		f.bad = true
		return 0
	}
	return int(n)
}

func (f *fields) list() []string {
	vs := make([]string, f.length())
	for i := range vs {
		vs[i] = f.text()
	}
	return vs
}

func decodeSpec(b []byte) (s Spec, err error) {
	f := &fields{rest: string(b)}
	if f.text() != specMagic {
		return s, errors.New("it is no call")
	}
	if s.V = int(f.number(32)); !f.bad && s.V != Version {
		return s, fmt.Errorf("it is of version %d, this program knows %d", s.V, Version)
	}
	s.ID, s.Path, s.Dir = f.text(), f.text(), f.text()
	s.AskedNs, s.DeadlineNs, s.TimeoutNs, s.GraceNs = f.number(64), f.number(64), f.number(64), f.number(64)
	s.OutputLimit = int(f.number(32))
	s.Args, s.Env = f.list(), f.list()
	user := make([]uint32, f.length())
	for i := range user {
		user[i] = uint32(f.number(64))
	}
	if len(user) >= 2 {
		s.User = &User{UID: user[0], GID: user[1], Groups: user[2:]}
	}
	if f.text() != specMagic || f.bad || len(user) == 1 {
		return Spec{}, errors.New("it is damaged")
	}
	return s, nil
}

// ReadSpec reads what is asked under this key.
func (d Dir) ReadSpec() (Spec, error) {
	b, err := readFile(d.Path(SpecFile))
	if errors.Is(err, os.ErrNotExist) {
		return d.readOldSpec()
	}
	if err != nil {
		return Spec{}, err
	}
	s, err := decodeSpec(b)
	if err != nil {
		return s, fault{d.Path(SpecFile), err}
	}
	return s, nil
}

func (d Dir) readOldSpec() (Spec, error) {
	var s Spec
	b, err := readFile(d.Path(oldSpecFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fault{d.Path(oldSpecFile), err}
	}
	if s.V != oldVersion && s.V != oldWithUser {
		return s, fmt.Errorf("%s is of version %d, this program knows %d and %d", d.Path(oldSpecFile), s.V, oldVersion, oldWithUser)
	}
	return s, nil
}
