package nut

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for in, want := range map[string][]string{
		"":                              nil,
		"  \t ":                         nil,
		"GET VAR u ups.status":          {"GET", "VAR", "u", "ups.status"},
		"  GET\tVAR  u ":                {"GET", "VAR", "u"},
		`SET VAR u v "a b"`:             {"SET", "VAR", "u", "v", "a b"},
		`PASSWORD "a\"b\\c"`:            {"PASSWORD", `a"b\c`},
		`PASSWORD a\#b\ c`:              {"PASSWORD", "a#b c"},
		`PASSWORD ""`:                   {"PASSWORD", ""},
		`A"b c"d`:                       {"Ab cd"},
		"1 2 3 4 5 6 7 8":               {"1", "2", "3", "4", "5", "6", "7", "8"},
		"1 2 3 4 5 6 7 8 9":             {"err"},
		`"open`:                         {"err"},
		`end\`:                          {"err"},
		"a\x00b":                        {"err"},
		"a\x1bb":                        {"err"},
		"a\x7fb":                        {"err"},
		strings.Repeat("a ", maxLine/2): {"err"},
	} {
		got, err := parseLine(in)
		if bad := slices.Equal(want, []string{"err"}); bad != (err != nil) || !bad && !slices.Equal(got, want) {
			t.Errorf("%q is read as %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestQuoteKeepsOneLine(t *testing.T) {
	for in, want := range map[string]string{
		`a "b" \c`: `"a \"b\" \\c"`, "": `""`, "a\nERR x": `"a ERR x"`, "\xff\x00é": `"  é"`,
	} {
		if got := quote(in); got != want {
			t.Errorf("%q is written %s, want %s", in, got, want)
		}
	}
}

// FuzzLine: whatever a client sends, the words hold no control characters and are bounded, and what
// is quoted is read back as it was.
func FuzzLine(f *testing.F) {
	for _, s := range []string{"", "GET VAR u ups.status", `PASSWORD "a\"b\\"`, "\x00", `"`, `\`, "a\\", strings.Repeat("x ", 300), "USERNAME é"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		words, err := parseLine(s)
		if err != nil && words != nil || len(words) > maxWords {
			t.Fatalf("%q gives %q and %v", s, words, err)
		}
		for _, w := range words {
			if strings.ContainsFunc(w, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				t.Fatalf("%q gives the word %q", s, w)
			}
			if !utf8.ValidString(w) || strings.ContainsAny(w, "\t\uFFFD") {
				continue // written as a blank
			}
			if back, err := parseLine("x " + quote(w)); err != nil || len(back) != 2 || back[1] != w {
				t.Fatalf("%q is quoted %s and read back as %q, %v", w, quote(w), back, err)
			}
		}
	})
}
