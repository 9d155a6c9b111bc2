//go:build telegraf && !telegraf_none

package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"firebreak/plugins/telegraf/pipe"
)

// Every plugin that the document names is in the default set, takes its configuration as Telegraf writes it, and is set up.
func TestEveryNamedPlugin(t *testing.T) {
	const file = "testdata/every.conf"
	h, err := newHost(pipe.Setup{V: pipe.Version, Name: "rack-1", File: file}, newSpeaker(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	said := h.hello()
	named := 0
	for l := range strings.Lines(string(text)) {
		kind, name, ok := strings.Cut(strings.Trim(l, "[]\n "), ".")
		if !ok || !strings.HasPrefix(l, "[[") {
			continue
		}
		named++
		all := map[string][]string{"inputs": said.Inputs, "outputs": said.Outputs}[kind]
		if all != nil && !slices.ContainsFunc(all, func(s string) bool { return s == name || strings.HasPrefix(s, name+"::") }) {
			t.Errorf("%s.%s is not hosted: %q", kind, name, all)
		}
	}
	if named != 18 {
		t.Errorf("%d plugins in %s", named, file)
	}
}
