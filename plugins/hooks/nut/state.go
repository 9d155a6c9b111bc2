package nut

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"firebreak/plugins/reread"
)

const (
	maxStateFile = 1 << 20
	loadBound    = time.Second // back on the port within 5 s of a crash, whatever the disk does (S20)
	saveBound    = 100 * time.Millisecond
)

// saved is what outlives the agent: who stands at FSD under which keys, which hosts are waited for,
// and who stands at OB until the first word of its plan. It is kept in each directory that was
// handed in: one in memory, which no disk can hold up and a crash of the agent leaves, and one on
// disk, which a boot of the controller leaves. The higher Seq counts.
//
// A file that is torn, which a rename does not leave but a dying disk does, counts as absent and is
// told. The other way, FSD for every zone because it might have been set, would let a fault of a
// disk alone shut down healthy hosts (S2). What is lost with it: a step that was still running is
// called again under its key and latches again; one that had ended is not, so hosts that start in
// the middle of that episode see no FSD. That takes both files torn at once.
type saved struct {
	Seq  uint64     `json:"seq"`
	UPS  []savedUPS `json:"ups"`
	Wall time.Time  `json:"wall"` // for the reader
}

type savedUPS struct {
	Name    string       `json:"name"`
	OB      bool         `json:"ob,omitempty"`
	Latches []savedLatch `json:"fsd,omitempty"`
	Guests  []savedGuest `json:"hosts,omitempty"`
}

type savedLatch struct {
	Key    string `json:"key"`
	Ended  bool   `json:"ended,omitempty"` // its call has an outcome
	Result uint8  `json:"result,omitempty"`
	Detail string `json:"detail,omitempty"`
	Told   bool   `json:"told,omitempty"` // its evidence was given
}

type savedGuest struct {
	Addr string `json:"addr"`
	Told bool   `json:"told,omitempty"`
	Gone bool   `json:"gone,omitempty"`
}

func stateName(hook string) string { return "nut-" + hook + ".state" }

// encode puts the sum of the text in front of it.
func (s *saved) encode() ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return append([]byte(hex.EncodeToString(sum[:])+"\n"), b...), nil
}

func decode(b []byte) (*saved, error) {
	sum, text, _ := bytes.Cut(b, []byte("\n"))
	if want := sha256.Sum256(text); string(sum) != hex.EncodeToString(want[:]) {
		return nil, errors.New("it is torn or was changed by hand")
	}
	s := &saved{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, err
	}
	return s, nil
}

func readState(path string) (*saved, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxStateFile+1))
	if err == nil && len(b) > maxStateFile {
		err = fmt.Errorf("it is larger than %d bytes", maxStateFile)
	}
	if err != nil {
		return nil, err
	}
	s, err := decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: it counts as absent; see whether a zone should stand at FSD, and remove the file", path, err)
	}
	return s, nil
}

func writeState(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return reread.Replace(path, data)
}

// store keeps the state in one directory. Writing is behind: save returns at once, the newest
// state waits in the one slot there is, and one goroutine writes while there is something to write.
type store struct {
	path string

	mu      sync.Mutex
	next    []byte        // to be written; nil: nothing
	writing chan struct{} // closed when nothing is left to write; nil: no goroutine runs
	err     error         // of the last write
}

func (s *store) save(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = data
	if s.writing == nil {
		s.writing = make(chan struct{})
		go s.write(s.writing)
	}
}

func (s *store) write(done chan struct{}) {
	defer close(done)
	for {
		s.mu.Lock()
		data := s.next
		if s.next = nil; data == nil {
			s.writing = nil
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		err := writeState(s.path, data)
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
}

// wait returns once all is written, or ctx ends, with the error of the last write.
func (s *store) wait(ctx context.Context) error {
	s.mu.Lock()
	writing := s.writing
	s.mu.Unlock()
	if writing != nil {
		select {
		case <-writing:
		case <-ctx.Done():
			return fmt.Errorf("%s is not written yet: the disk hangs", s.path)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// loadStates reads all directories at once and returns the newest state; nil if there is none. One
// that does not answer within the bound is gone without.
func loadStates(ctx context.Context, stores []*store) (*saved, error) {
	ctx, cancel := context.WithTimeout(ctx, loadBound)
	defer cancel()
	type answer struct {
		s   *saved
		err error
	}
	answers := make(chan answer, len(stores))
	for _, st := range stores {
		go func() { // a dead disk holds it: the channel has room, nobody waits
			s, err := readState(st.path)
			answers <- answer{s, err}
		}()
	}
	var best *saved
	var faults []error
	for range stores {
		select {
		case a := <-answers:
			if a.err != nil {
				faults = append(faults, a.err)
			} else if a.s != nil && (best == nil || a.s.Seq > best.Seq) {
				best = a.s
			}
		case <-ctx.Done():
			return best, errors.Join(append(faults, fmt.Errorf("a directory of the state has not answered for %v", loadBound))...)
		}
	}
	return best, errors.Join(faults...)
}
