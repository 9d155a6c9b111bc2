// Package secret finds files of keys and passwords: at a path, or among the credentials that systemd
// hands to a service (LoadCredential= in its unit). Nothing secret ever stands in a configuration.
//
// Concurrency: plain functions. Failure: an error names the file, never what is in it.
package secret

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
)

// prefix names a credential in place of a path.
const prefix = "credential:"

// Path is where the file is: as given, or where systemd has put credential:NAME.
func Path(file string) string {
	name, ok := strings.CutPrefix(file, prefix)
	if !ok {
		return file
	}
	return filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), filepath.Base(name))
}

// Good tells whether a configuration may name the file.
func Good(file string) bool {
	name, credential := strings.CutPrefix(file, prefix)
	return credential && name != "" && name == filepath.Base(name) || filepath.IsAbs(file)
}

// Read reads one line, such as a password; no file is an empty one.
func Read(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(Path(file))
	return string(bytes.TrimRight(b, "\r\n")), err
}
