package near

import (
	"fmt"
	"strings"
	"testing"
)

// What was meant is said; where nobody can tell, what there is; and never a page of names.
func TestHint(t *testing.T) {
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("bms-%d.temperature", i), fmt.Sprintf("ups-%d.load", i))
	}
	for _, c := range []struct {
		s     string
		names []string
		want  string
	}{
		{"evacuat", []string{"evacuate", "maintain"}, ` (did you mean "evacuate"?)`},
		{"leave", []string{"evacuate", "maintain"}, ": use one of evacuate, maintain"},
		{"b", []string{"zulu-room", "alpha-room", "alpha-room"}, ": use one of alpha-room, zulu-room"},
		{"p", nil, ""},
		{"bms-7.temperatur", many, ` (did you mean "bms-7.temperature"?)`},
		{"bms-7.", many, ": use one of bms-7.temperature"},
		{"humidity-of-the-room", many, ""},
		{"", many, ""},
	} {
		if got := Hint(c.s, c.names); got != c.want {
			t.Errorf("%q: %q, want %q", c.s, got, c.want)
		}
	}
	if got := Hint("load", many); !strings.HasSuffix(got, ", ...") || strings.Count(got, ",") != maxWithin {
		t.Errorf("of forty that hold it: %q", got)
	}
}
