package main

import (
	"html"
	"net/http/httptest"
	"strings"
	"testing"

	"firebreak/agent/console"
)

// TestFirstScreen: what firebreak is not stands on the first screen, in the usage text, in what
// arm says and at the console's foot (S26).
func TestFirstScreen(t *testing.T) {
	lines := strings.Split(readFile(t, "README.md"), "\n")
	screen := strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(lines[:24], "\n"), "\n>", "\n")), " ")
	_, description, _ := strings.Cut(readFile(t, "configs/deploy/debian/control"), "\nDescription: ")
	saysWhatItIsNot(t, "the first screen of README.md", screen)
	saysWhatItIsNot(t, "the description of the Debian package", strings.Join(strings.Fields(description), " "))
	for _, want := range []string{"make demo", "make test"} {
		if !strings.Contains(screen, want) {
			t.Errorf("the first screen of README.md does not say %q", want)
		}
	}
	words := strings.Join(strings.Fields(isNot), " ") // arm says them too
	if !strings.Contains(strings.ReplaceAll(screen, ">", ""), "**What it is not.** "+words) {
		t.Errorf("the first screen of README.md does not say, as arm and the console do: %s", words)
	}
	w := httptest.NewRecorder()
	page := console.New(console.Config{Words: isNot})
	page.Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1:8642/", nil))
	_, foot, _ := strings.Cut(html.UnescapeString(w.Body.String()), "<footer>")
	if !strings.Contains(strings.Join(strings.Fields(foot), " "), "<b>What it is not.</b> "+words) {
		t.Errorf("the console's foot does not say it:\n%s", foot)
	}
	short := strings.Join(strings.Fields(usage), " ")
	for _, want := range []string{"not a fire alarm or extinguishing system", "leave and call the fire service", "does not call them"} {
		if !strings.Contains(short, want) {
			t.Errorf("the usage text does not say %q", want)
		}
	}
}

// saysWhatItIsNot holds a text, on one line, to all that S26 wants said.
func saysWhatItIsNot(t *testing.T, where, text string) {
	t.Helper()
	for _, want := range []string{"not a fire alarm, gas-detection or extinguishing-control system", "not listed as one",
		"NFPA 72, UL 864/268/2075, EN 54, EN 60079-29", "no SIL", "IEC 61508/61511", "EPO", "reset, silence, delay or release",
		"must work fully without it", "only through contacts meant for that", "proof of safety", "call the fire service",
		"does not call them", "can drop the load", "owns its hazard analysis"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not say %q", where, want)
		}
	}
}
