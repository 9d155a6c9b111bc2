package main

import (
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"firebreak/agent/tools"
)

// toolFlags begins the flags of a tool. Words that are no flags may stand before them, and behind (parse).
func toolFlags(name string, args []string, stderr io.Writer) (set *flag.FlagSet, words, rest []string, lib *tools.Library) {
	for len(args) > 0 && (!strings.HasPrefix(args[0], "-") || args[0] == "-") {
		words, args = append(words, args[0]), args[1:]
	}
	set = flag.NewFlagSet("firebreak "+name, flag.ContinueOnError)
	set.SetOutput(stderr)
	lib = new(tools.Library)
	set.StringVar(&lib.Dir, "profiles", "", "`DIRECTORY` of profiles of your own, which win over built-in ones")
	return set, words, args, lib
}

// wrongUse is what a tool says that was called wrongly.
func wrongUse(stderr io.Writer, how string) int {
	fmt.Fprintf(stderr, "usage: firebreak %s\n", how)
	return 2
}

// told prints an error and gives the exit code.
func told(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "firebreak: %v\n", err)
	return 1
}

func profileCmd(args []string, stdout, stderr io.Writer) int {
	const how = "profile list | show NAME|FILE.toml | test [NAME|FILE.toml [CASES.txt ...]]"
	set, words, rest, lib := toolFlags("profile", args, stderr)
	if !parse(set, rest, &words) || len(words) == 0 {
		return wrongUse(stderr, how)
	}
	switch names := words[1:]; {
	case words[0] == "list" && len(names) == 0:
		return told(tools.ListProfiles(stdout, *lib), stderr)
	case words[0] == "show" && len(names) == 1:
		p, _, err := lib.Load(names[0])
		if err == nil {
			err = tools.ShowProfile(stdout, p)
		}
		return told(err, stderr)
	case words[0] == "test":
		return testProfiles(*lib, names, stdout, stderr)
	}
	return wrongUse(stderr, how)
}

// testProfiles tests one profile, with the cases that are named or those beside it, or all of them.
func testProfiles(lib tools.Library, names []string, stdout, stderr io.Writer) int {
	var files []string
	if len(names) == 0 {
		names = lib.Names()
	} else {
		names, files = names[:1], names[1:]
	}
	code := 0
	for _, n := range names {
		p, cases, err := lib.Load(n)
		if err != nil {
			code = told(err, stderr)
			continue
		}
		if len(files) > 0 {
			cases = anywhere{}
			for i, f := range files {
				if f, err = filepath.Abs(f); err == nil {
					files[i] = strings.TrimPrefix(f, "/")
				}
			}
		}
		for _, w := range tools.TestProfile(stdout, p, cases, files) {
			fmt.Fprintln(stderr, w)
			code = 1
		}
	}
	return code
}

// anywhere opens files by their whole path, without the first slash, as fs.FS wants it, and names them with it.
type anywhere struct{}

func (anywhere) Open(name string) (fs.File, error) { return os.Open("/" + name) }
