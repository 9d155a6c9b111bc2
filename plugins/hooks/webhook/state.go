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
	"firebreak/plugins/reread"
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
	done chan struct{} // closed when out and seen are set
	out  plugins.Outcome
	seen []plugins.Evidence // one at most: that of the answer that settled it
}

// do makes the call, or waits for the one that is being made. What was seen of it is told to each
// who asks: one that asks again after it had ended may have lost what it was told first.
func (f *flights) do(ctx context.Context, id string, seen func(plugins.Evidence), post func(tell func(plugins.Evidence)) plugins.Outcome) plugins.Outcome {
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
			for _, ev := range fl.seen {
				seen(ev)
			}
			return o
		case <-ctx.Done():
			return plugins.Outcome{Result: plugins.Unknown, Attached: true, Detail: "the end is not known: the call of this key still runs; call again under the same key"}
		}
	}
	fl.out = plugins.Outcome{Detail: "the call broke off"} // what others see should post not return
	defer f.land(id, fl)
	fl.out = post(func(ev plugins.Evidence) {
		fl.seen = append(fl.seen, ev)
		seen(ev)
	})
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

const maxFile = 64 << 10

// secrets reads what is kept in files, anew for each try, so that it can be replaced while the
// agent runs. Files that cannot be read leave what was read last in force, each by itself; a disk that
// hangs leaves all of it.
type secrets struct {
	headers, token string // paths
	signing        []string
	readFile       func(path string) (string, error)
	newest         *reread.File[told]

	// Of the one read that runs.
	last http.Header // nil: never read
	keys [maxKeys][]byte
}

// known is what there is to send and to sign with.
type known struct {
	header http.Header
	keys   [][]byte
	whole  bool // enough for a request: all headers, and one key if there is to be a signature
}

// told is what one read has come to: what is known, and what could not be read.
type told struct {
	known
	err error
}

func newSecrets(c *Config) *secrets {
	s := &secrets{headers: c.HeadersFile, token: c.TokenFile, signing: c.SecretFiles, readFile: readBounded}
	s.newest = reread.New(func() (told, error) { return s.all(), nil })
	return s
}

// read gives an error for each file that cannot be read now, and what is known all the same. It waits for
// no disk beyond its bound.
func (s *secrets) read() (known, error) {
	t, _, late := s.newest.Get()
	if late != nil {
		late = fmt.Errorf("the files with the secrets: %w", late)
	}
	return t.known, errors.Join(t.err, late)
}

func (s *secrets) all() told {
	h, err := s.load()
	if err == nil {
		s.last = h
	}
	faults := []error{err}
	k := known{header: s.last}
	for i, path := range s.signing {
		text, err := s.readFile(path)
		var key []byte
		if err == nil {
			key, err = parseKey(text)
		}
		if err == nil {
			s.keys[i] = key
		} else {
			faults = append(faults, fmt.Errorf("secret_files: %s: %w", path, err))
		}
		if s.keys[i] != nil {
			k.keys = append(k.keys, s.keys[i])
		}
	}
	k.whole = s.last != nil && (len(s.signing) == 0 || len(k.keys) > 0)
	return told{k, errors.Join(faults...)}
}

func (s *secrets) load() (http.Header, error) {
	h := http.Header{}
	var faults []error
	if s.headers != "" {
		text, err := s.readFile(s.headers)
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
		text, err := s.readFile(s.token)
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
	if !fi.Mode().IsRegular() || fi.Size() > maxFile {
		return "", fmt.Errorf("%s is no regular file of at most %d bytes", path, maxFile)
	}
	b, err := os.ReadFile(path)
	return string(b), err
}
