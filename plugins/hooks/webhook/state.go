package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"firebreak/plugins/reread"
)

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
