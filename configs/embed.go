// Package configs carries the data files that ship inside the binary: device profiles today. The
// files are data, so that a person can read, copy and better them without a compiler.
//
// Concurrency and failure: read-only; Profiles cannot fail, since what it embeds is fixed when
// the program is built.
package configs

import (
	"embed"
	"io/fs"
)

//go:embed profiles/*.toml
var files embed.FS

// Profiles returns the embedded device profiles, one NAME.toml each.
func Profiles() fs.FS {
	sub, err := fs.Sub(files, "profiles")
	if err != nil {
		return files // not reached: "profiles" is a valid path; the files are then in their folder
	}
	return sub
}
