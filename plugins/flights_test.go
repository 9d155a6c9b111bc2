package plugins

import (
	"fmt"
	"testing"
)

func TestWhatIsRememberedIsBounded(t *testing.T) {
	var f Flights
	for i := range 2 * maxEnded {
		f.Do(t.Context(), fmt.Sprint(i), nil, func(func(Evidence)) Outcome { return Outcome{Result: Done} })
		f.Do(t.Context(), fmt.Sprint("u", i), nil, func(func(Evidence)) Outcome { return Outcome{} })
	}
	if len(f.known) != maxEnded || len(f.ended) != maxEnded {
		t.Errorf("%d known, %d ended, want %d", len(f.known), len(f.ended), maxEnded)
	}
}
