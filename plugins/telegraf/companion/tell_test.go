package companion

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"firebreak/plugins/telegraf/pipe"
)

// What a companion says of itself may change with each of its frames; each change that is told is a record of the journal.
// So it is told once a second at most, and what is told last is what holds.
func TestHealthIsToldAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		c, err := New(Config{Path: "p", Take: func(pipe.Metrics) {}, Gathered: func(pipe.Gathered) {},
			Health: func(_ context.Context, err error) { told = append(told, fmt.Sprint(err)) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.tell(ctx) }()
		for i := range 5000 {
			c.judge([]error{nil, fmt.Errorf("output %d cannot write", i)}[i%2])
			<-time.After(time.Millisecond)
		}
		c.judge(errors.New("the last"))
		<-time.After(firstPause)
		cancel()
		<-done
		if n := len(told); n < 5 || n > 7 || told[n-1] != "the last" {
			t.Errorf("in 5 s %d changes were told, the last of them %q", n, told[max(0, n-3):])
		}
	})
}
