// Command firebreak-shim is the shim of plugins/hooks/exec/shim and nothing else: small, so that it
// starts fast. It is installed beside firebreak and firebreak-helper, which start it; where it is missing
// they are the shim themselves, more slowly. It is of no use by hand.
//
// Concurrency and failure: those of the package.
package main

import (
	"os"

	"firebreak/plugins/hooks/exec/shim"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != shim.Command {
		_, _ = os.Stderr.WriteString("firebreak-shim is started by firebreak and firebreak-helper, for the commands of exec hooks\n")
		os.Exit(2)
	}
	os.Exit(shim.Main(os.Args[2:]))
}
