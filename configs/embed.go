// Package configs carries the data files that ship inside the binary: device profiles, hazard packs,
// and the scenarios of `firebreak replay`. The files are data, so that a person can read, copy and better
// them without a compiler.
//
// Concurrency and failure: read-only; nothing here can fail, since what is embedded is fixed when
// the program is built.
package configs

import (
	"embed"
	"io/fs"
)

//go:embed profiles/*.toml hazards/*.toml scenarios/*.toml scenarios/sites/*.toml scenarios/shows/*.toml scenarios/profiles/*.toml
var files embed.FS

// Profiles returns the embedded device profiles, one NAME.toml each.
func Profiles() fs.FS { return folder("profiles") }

// Hazards returns the embedded hazard packs, one NAME.toml each.
func Hazards() fs.FS { return folder("hazards") }

// Scenarios returns the embedded scenarios, one NAME.toml each, the configurations of their sites in
// sites, what the points of such a site show in shows, and in profiles the devices that are no real product.
func Scenarios() fs.FS { return folder("scenarios") }

func folder(name string) fs.FS {
	sub, err := fs.Sub(files, name)
	if err != nil {
		return files // not reached: the names are valid paths; the files are then in their folder
	}
	return sub
}
