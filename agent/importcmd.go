package main

import (
	"fmt"
	"io"
	"os"

	"firebreak/agent/tools"
)

// importCmd turns a list of devices into the tables of a configuration.
func importCmd(args []string, stdout, stderr io.Writer) int {
	fs, words, rest, lib := toolFlags("import", args, stderr)
	if !parse(fs, rest, &words) || len(words) != 1 {
		return wrongUse(stderr, "import LIST.csv > devices.toml")
	}
	f, err := os.Open(words[0])
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	defer f.Close()
	text, faults := tools.Import(words[0], f, *lib)
	for _, l := range faults {
		fmt.Fprintln(stderr, l)
	}
	if faults != nil {
		return 1
	}
	if _, err := fmt.Fprint(stdout, text); err != nil {
		return told(err, stderr)
	}
	return 0
}
