package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// parse reads flags, and adds the words among them to words: a name may stand before the flags or behind them. A flag that is not
// known is told by the set itself.
func parse(fs *flag.FlagSet, args []string, words *[]string) bool {
	for {
		if fs.Parse(args) != nil {
			return false
		}
		if fs.NArg() == 0 {
			return true
		}
		*words, args = append(*words, fs.Arg(0)), fs.Args()[1:]
	}
}

// parseFlags is parse of a command that takes flags alone. What stands there beside is most often a file without its -c, and the
// command would work on another one.
func parseFlags(fs *flag.FlagSet, args []string, stderr io.Writer) bool {
	var words []string
	if !parse(fs, args, &words) {
		return false
	}
	if len(words) == 0 {
		return true
	}
	hint, given := "", false
	fs.Visit(func(f *flag.Flag) { given = given || f.Name == "c" })
	if fs.Lookup("c") != nil && !given {
		hint = fmt.Sprintf(": a file is named with -c, as in %s -c %s", fs.Name(), words[0])
	}
	fmt.Fprintf(stderr, "firebreak: %s does not take %q%s\n", strings.TrimPrefix(fs.Name(), "firebreak "), words[0], hint)
	return false
}
