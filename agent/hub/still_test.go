package hub

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server/pse"
)

// What nats-server does each second in every process that it is linked into is over after Still: the variable that
// this rests on is still the one.
func TestStill(t *testing.T) {
	var cpu float64
	var rss, vss int64
	if err := pse.ProcUsage(&cpu, &rss, &vss); err != nil {
		t.Fatalf("before: %v", err)
	}
	was := procStat.size.Load()
	defer procStat.size.Store(was)
	Still()
	if err := pse.ProcUsage(&cpu, &rss, &vss); err == nil {
		t.Error("pse still knows the file that it reads each second")
	}
}
