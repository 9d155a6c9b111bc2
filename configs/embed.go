// Package configs carries the data files that ship inside the binary: device profiles and hazard
// packs. The files are data, so that a person can read, copy and better them without a compiler.
//
// Concurrency and failure: read-only; nothing here can fail, since what it embeds is fixed when
// the program is built.
package configs

import (
	"embed"
	"io/fs"
)

//go:embed profiles/*.toml hazards/*.toml
var files embed.FS

// Profiles returns the embedded device profiles, one NAME.toml each.
func Profiles() fs.FS { return folder("profiles") }

// Hazards returns the embedded hazard packs, one NAME.toml each.
func Hazards() fs.FS { return folder("hazards") }

func folder(name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil {
		return files // not reached: the names are valid paths; the files are then in their folder
	}
	return sub
}
