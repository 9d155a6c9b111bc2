package replay

import (
	"bufio"
	"bytes"
	"encoding/json"
	"testing"
)

// entries are the lines of one kind in the output of --json.
func entries(t *testing.T, out []byte, kind string) []Entry {
	t.Helper()
	var all []Entry
	s := bufio.NewScanner(bytes.NewReader(out))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var e Entry
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", s.Text(), err)
		}
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}
