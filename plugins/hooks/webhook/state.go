package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"

	"firebreak/plugins"
)

// maxEnded bounds the outcomes that are remembered; the oldest goes first. What is forgotten is
// posted again under its key, which the target knows.
const maxEnded = 1024

// flights makes one call of the calls with one ID.
type flights struct {
	mu    sync.Mutex
	known map[string]*flight
	ended []string // oldest first
}

type flight struct {
	done chan struct{} // closed when out is set
	out  plugins.Outcome
}

func (f *flights) do(ctx context.Context, id string, post func() plugins.Outcome) plugins.Outcome {
	f.mu.Lock()
	fl, running := f.known[id]
	if !running {
		if f.known == nil {
			f.known = make(map[string]*flight)
		}
		fl = &flight{done: make(chan struct{})}
		f.known[id] = fl
	}
	f.mu.Unlock()
	if running {
		select {
		case <-fl.done:
			o := fl.out
			o.Attached = true
			return o
		case <-ctx.Done():
			return plugins.Outcome{Result: plugins.Unknown, Attached: true, Detail: "the end is not known: the call of this key still runs; call again under the same key"}
		}
	}
	fl.out = plugins.Outcome{Detail: "the call broke off"} // what others see should post not return
	defer f.land(id, fl)
	fl.out = post()
	return fl.out
}

// land keeps what is settled and forgets what is not, so that it is tried again.
func (f *flights) land(id string, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer close(fl.done)
	if fl.out.Result == plugins.Unknown {
		delete(f.known, id)
		return
	}
	f.ended = append(f.ended, id)
	if len(f.ended) > maxEnded {
		delete(f.known, f.ended[0])
		f.ended = f.ended[1:]
	}
}

const maxSecret = 64 << 10

// secrets reads the headers that are kept in files, anew for each try, so that they can be
// replaced while the agent runs. Files that cannot be read leave the last ones in force.
type secrets struct {
	headers, token string // paths
	mu             sync.Mutex
	last           http.Header // nil: never read
}

// read gives nil only when nothing has ever been read.
func (s *secrets) read() (http.Header, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := s.load()
	if err == nil {
		s.last = h
	}
	return s.last, err
}

func (s *secrets) load() (http.Header, error) {
	h := http.Header{}
	var faults []error
	if s.headers != "" {
		text, err := readBounded(s.headers)
		if err != nil {
			faults = append(faults, fmt.Errorf("headers_file: %w", err))
		}
		for i, line := range strings.Split(text, "\n") {
			if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
				continue
			}
			k, v, ok := strings.Cut(line, ":")
			v = strings.TrimSpace(v)
			if err := checkHeader(k, v); !ok || err != nil { // the value is not told: it is a secret
				faults = append(faults, fmt.Errorf("headers_file %s:%d: no header \"Name: value\" that may be set here", s.headers, i+1))
				continue
			}
			h.Add(k, v)
		}
	}
	if s.token != "" {
		text, err := readBounded(s.token)
		text = strings.TrimSpace(text)
		if err == nil && (text == "" || checkHeader("Authorization", text) != nil) {
			err = fmt.Errorf("%s holds no token on a single line", s.token)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("token_file: %w", err))
		}
		h.Set("Authorization", "Bearer "+text)
	}
	return h, errors.Join(faults...)
}

func readBounded(path string) (string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxSecret {
		return "", fmt.Errorf("%s is no regular file of at most %d bytes", path, maxSecret)
	}
	b, err := os.ReadFile(path)
	return string(b), err
}
