package app

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// mirrorName is the file in the run directory, which lies in memory: what the next start of this boot
// must know even when the journal does not open in time (S9).
const mirrorName = "state.json"

const (
	maxMirror  = 4 << 20
	mirrorRead = time.Second // to read it: memory answers at once, or something is badly wrong
)

// mirror writes the newest state that the loop has handed over. The loop never waits for it: of two
// states that wait, the older one is dropped.
type mirror struct {
	path string
	ch   chan []byte
	log  *slog.Logger
}

func newMirror(run string, log *slog.Logger) *mirror {
	return &mirror{filepath.Join(run, mirrorName), make(chan []byte, 1), log}
}

func (m *mirror) put(state []byte) {
	for {
		select {
		case m.ch <- state:
			return
		default:
		}
		select {
		case <-m.ch:
		default:
		}
	}
}

func (m *mirror) run(ctx context.Context) error {
	for told := false; ; {
		select {
		case state := <-m.ch:
			err := m.write(state)
			if err != nil && !told {
				m.log.Warn("the state is not kept in memory: a start without the journal would not know of open runs", "err", err)
			}
			told = err != nil
		case <-ctx.Done():
			select {
			case state := <-m.ch: // the last word
				return m.write(state)
			default:
				return nil
			}
		}
	}
}

func (m *mirror) write(state []byte) error {
	if err := os.MkdirAll(filepath.Dir(m.path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(m.path+".new", state, 0o600); err != nil {
		return err
	}
	return os.Rename(m.path+".new", m.path)
}

// readMirror gives what the process before left, or nothing. It never waits long.
func readMirror(run string) []byte {
	ch := make(chan []byte, 1)
	go func() {
		path := filepath.Join(run, mirrorName)
		fi, err := os.Lstat(path)
		if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxMirror {
			ch <- nil
			return
		}
		b, _ := os.ReadFile(path)
		ch <- b
	}()
	select {
	case b := <-ch:
		return b
	case <-time.After(mirrorRead):
		return nil
	}
}
