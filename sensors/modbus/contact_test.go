package modbus

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// A contact and its guard come with one request, also where the contact is polled alone, and a cut wire is bad and not quiet
// (S3).
func TestContactAndGuardInOneRequest(t *testing.T) {
	p, err := profile.Load(configs.Profiles(), "fire-panel-di")
	if err != nil {
		t.Fatal(err)
	}
	link := &fakeLink{words: map[int]uint16{0: 1, 1: 0, 2: 1, 3: 0, 4: 1, 5: 0, 6: 1, 7: 0}}
	d, _ := poller(t, link, p)
	alarm := slices.IndexFunc(p.Channels, func(c profile.Channel) bool { return c.Name == "panel.alarm" })
	part := d.Part([]int{alarm})
	var now sensors.Mono
	for _, c := range []struct {
		own, other uint16
		want       string
	}{{1, 0, "0 good"}, {0, 0, "0 bad:sentinel"}, {0, 1, "1 good"}, {1, 1, "0 bad:sentinel"}, {1, 0, "0 good"}} {
		link.words[2], link.words[3] = c.own, c.other
		rs, err := part.Poll(context.Background(), at(&now), nil)
		if err != nil || len(rs) != 1 {
			t.Fatalf("%v, %v", rs, err)
		}
		if got := fmt.Sprintf("%v %s", rs[0].Value, rs[0].Quality); got != c.want {
			t.Errorf("%d and %d: %s, want %s", c.own, c.other, got, c.want)
		}
		if s := link.spans(); s != "0+8" {
			t.Errorf("asked for %s", s)
		}
	}
}
