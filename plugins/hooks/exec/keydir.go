package exec

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"firebreak/plugins/hooks/exec/shim"
)

// dirOf names the directory so that a person finds it and two keys never share it.
func dirOf(runDir, id string) shim.Dir {
	readable := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		case r == '/':
			return '.'
		}
		return '_'
	}, id)
	if len(readable) > 120 {
		readable = readable[:120]
	}
	sum := sha256.Sum256([]byte(id))
	return shim.Dir(filepath.Join(runDir, "k-"+readable+"-"+hex.EncodeToString(sum[:8])))
}

// cookieOf marks the environment of everything started for this key, so that it is found after the
// death of its shim. It holds the run directory: another agent's processes are never taken for ours.
func cookieOf(d shim.Dir) string {
	sum := sha256.Sum256([]byte(d))
	return hex.EncodeToString(sum[:12])
}
