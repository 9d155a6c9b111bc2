package profile

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"firebreak/configs"
	"firebreak/sensors"
)

func parse(t testing.TB, text string) *Profile {
	t.Helper()
	p, err := Parse("x.toml", []byte("name = \"x\"\ntitle = \"x\"\nsource = \"x\"\nbus = \"modbus\"\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOneOf(t *testing.T) {
	p := parse(t, "[[identity]]\nfunction = \"input\"\nfirst = 7\ncount = 1\none_of = [130, [515, 516]]\n[[channel]]\nname = \"a\"\nfunction = \"input\"\naddress = 7\n")
	for w := range 0x10000 {
		if want := w == 130 || w == 515 || w == 516; p.Identity[0].Matches([]uint16{uint16(w)}) != want {
			t.Errorf("%d matches: %v", w, !want)
		}
	}
	if p.Identity[0].Matches(nil) || p.Identity[0].Matches([]uint16{130, 130}) {
		t.Error("another number of words matches")
	}
	if got := p.Identity[0].String(); got != "input 7+1 is 130 or 515 to 516" {
		t.Errorf("shown as %q", got)
	}
}

// Two checks look at one answer: it is asked for once.
func TestQuestions(t *testing.T) {
	p := parse(t, `
[[identity]]
function = "identification"
object = 0x87
bytes = ["00 00 00 01"]
[[identity]]
function = "identification"
object = 0x88
from = 0x87
field = "1"
text = ["A", "B"]
[[identity]]
function = "holding"
first = 0
count = 2
want = [1, 2]
[[channel]]
name = "a"
function = "holding"
address = 0
`)
	want := []Span{{Identification, 0x0387, 1}, {Holding, 0, 2}}
	if got := p.Questions(); !slices.Equal(got, want) {
		t.Errorf("asked: %v, want %v", got, want)
	}
	if got := p.Objects(want[0]); !slices.Equal(got, []byte{0x87, 0x88}) {
		t.Errorf("objects %x", got)
	}
	for text, want := range map[string]bool{"1=A": true, "2=V;1=B": true, "1=A;1=B": false, "1=": false, "11=A": false, "A": false, "1=A ": false} {
		if got := p.Identity[1].Names(map[byte][]byte{0x88: []byte(text)}); got != want {
			t.Errorf("%q is it: %v", text, got)
		}
	}
	if p.Identity[0].Names(map[byte][]byte{0x88: {0, 0, 0, 1}}) {
		t.Error("an object that did not come is right")
	}
}

// S3: of a contact whose two sides read alike nobody knows anything; a guard wired the same way round would hide it.
func TestContactGuard(t *testing.T) {
	for _, inverted := range []bool{false, true} {
		text := "[[channel]]\nname = \"alarm\"\nfunction = \"discrete\"\naddress = 8\nguard = 9\n[[channel]]\nname = \"other\"\nfunction = \"discrete\"\naddress = 9\n"
		if inverted {
			text = strings.Replace(text, "guard", "invert = true\nguard", 1)
		}
		p := parse(t, text)
		dec, err := NewDecoder(p, p.Expand(sensors.Device{Name: "d"}, 0))
		if err != nil {
			t.Fatal(err)
		}
		for own := range uint16(2) {
			for other := range uint16(2) {
				r := dec.Decode([]Raw{{Words: []uint16{own}}, {Words: []uint16{other}}}, nil)[0]
				switch alarm := (own == 1) != inverted; {
				case own == other:
					if r.Quality != sensors.BadQuality(sensors.Sentinel) {
						t.Errorf("inverted %v, both read %d: %v %s", inverted, own, r.Value, r.Quality)
					}
				case r.Quality != sensors.GoodQuality || (r.Value == 1) != alarm:
					t.Errorf("inverted %v, %d and %d: %v %s", inverted, own, other, r.Value, r.Quality)
				}
			}
		}
		// The contact alone, as a group of its own, is read with its guard.
		if got := p.Needs([]int{0}); !slices.Equal(got, []int{0, 1}) {
			t.Errorf("the contact needs %v", got)
		}
	}
}

// A template that ships names what it needs, is no profile as it stands, and is one as soon as each channel has an
// address.
func TestTemplates(t *testing.T) {
	n := 0
	for _, name := range List(configs.Profiles()) {
		p, err := Load(configs.Profiles(), name)
		if err != nil {
			t.Fatal(err)
		}
		if p.Template == "" {
			continue
		}
		n++
		data, err := os.ReadFile("../../configs/profiles/" + name + ".toml")
		if err != nil {
			t.Fatal(err)
		}
		if note, err := os.ReadFile("../../firmware-notes/" + name + ".md"); err != nil || !strings.Contains(string(note), "template") {
			t.Errorf("%s: the note does not say that it is a template: %v", name, err)
		}
		whole := regexp.MustCompile(`(?m)^template .*\n`).ReplaceAllString(string(data), "")
		if _, err := Parse(name+".toml", []byte(whole)); err == nil {
			t.Errorf("%s is a profile without its addresses", name)
		}
		at := 0
		whole = regexp.MustCompile(`(?m)^# address *=.*$`).ReplaceAllStringFunc(whole, func(string) string {
			at += 2
			return "address = " + itoa(at)
		})
		if q, err := Parse(name+".toml", []byte(whole)); err != nil {
			t.Errorf("%s, filled in: %v", name, err)
		} else if len(q.Channels) != len(p.Channels) || q.Template != "" {
			t.Errorf("%s, filled in, has %d channels instead of %d", name, len(q.Channels), len(p.Channels))
		}
	}
	if n == 0 {
		t.Error("no template ships")
	}
}
