package shim

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func wholeSpec() Spec {
	return Spec{V: Version, ID: "p/z/1/s/2/do/0", Path: "/bin/sh", Args: []string{"sh", "-c", "echo \"\n\""}, Env: []string{"A=", "B=ä"}, Dir: "/",
		AskedNs: 1, DeadlineNs: 1 << 62, TimeoutNs: 3, GraceNs: 4, OutputLimit: 5, User: &User{UID: 1<<32 - 2, GID: 7, Groups: []uint32{8, 9}}}
}

// What one writes the other reads, and nothing that was cut short.
func TestSpec(t *testing.T) {
	bare := Spec{V: Version, ID: "x", Args: []string{}, Env: []string{}}
	nobody := wholeSpec()
	nobody.User = &User{UID: 1, GID: 2, Groups: []uint32{}}
	for _, s := range []Spec{wholeSpec(), bare, nobody} {
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeSpec(b); err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%+v, %v, want %+v", got, err, s)
		}
		for i := range b {
			if got, err := decodeSpec(b[:i]); err == nil {
				t.Errorf("cut at %d: %+v", i, got)
			}
		}
	}
	s := wholeSpec()
	s.Args = append(s.Args, "a\x00b")
	if _, err := s.Encode(); err == nil || !strings.Contains(err.Error(), "zero byte") {
		t.Errorf("a zero byte in an argument: %v", err)
	}
	b, _ := wholeSpec().Encode()
	if _, err := decodeSpec([]byte(strings.Replace(string(b), "\x003\x00", "\x004\x00", 1))); err == nil || !strings.Contains(err.Error(), "version 4") {
		t.Errorf("another version: %v", err)
	}
}

// An agent that was started before the upgrade has a program of after it started as its shim.
func TestSpecOfAnEarlierVersion(t *testing.T) {
	d := Dir(t.TempDir())
	for text, want := range map[string]string{`{"v":1,"id":"a","path":"/bin/true"}`: "", `{"v":2,"id":"a","path":"/bin/true","user":{"uid":5}}`: "",
		`{"v":4,"id":"a","path":"/bin/true"}`: "version 4", `{"v":1`: oldSpecFile} {
		if err := os.WriteFile(d.Path(oldSpecFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := d.ReadSpec()
		if want == "" && (err != nil || s.Path != "/bin/true" || (s.V == oldWithUser) != (s.User != nil)) {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzSpec(f *testing.F) {
	b, _ := wholeSpec().Encode()
	f.Add(string(b))
	f.Add("firebreak-call\x003\x00x\x00")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := decodeSpec([]byte(text))
		if err != nil {
			return
		}
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeSpec(b); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v came back as %+v, %v", s, again, err)
		}
	})
}

// The strings that are written by hand are strings of JSON, whatever is in them.
func FuzzText(f *testing.F) {
	f.Add("a \"quoted\" \\ line\n\x00\x1f\x7f \u2028 ä \xff")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(appendText(nil, s), &got); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if utf8.ValidString(s) && got != s {
			t.Fatalf("%q came back as %q", s, got)
		}
	})
}
