package modbus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// fakeLink is a device in memory. Every register reads its own address; those in missing are
// refused, and so is each request that fail says.
type fakeLink struct {
	missing map[int]bool
	fail    func(n int, r Request) error
	words   map[int]uint16
	log     []Request
}

func (f *fakeLink) Close() error { return nil }

func (f *fakeLink) Read(_ context.Context, r Request) ([]byte, error) {
	n := len(f.log)
	f.log = append(f.log, r)
	if f.fail != nil {
		if err := f.fail(n, r); err != nil {
			return nil, err
		}
	}
	out := make([]byte, r.dataLen())
	for i := range int(r.Quantity) {
		a := int(r.Address) + i
		if f.missing[a] {
			return nil, &Exception{r, 2}
		}
		w, ok := f.words[a]
		if !ok {
			w = uint16(a)
		}
		if r.Func.Bits() {
			out[i/8] |= byte(w&1) << (i % 8)
			continue
		}
		out[2*i], out[2*i+1] = byte(w>>8), byte(w)
	}
	return out, nil
}

func (f *fakeLink) spans() string {
	var s []string
	for _, r := range f.log {
		s = append(s, fmt.Sprintf("%d+%d", r.Address, r.Quantity))
	}
	f.log = nil
	return strings.Join(s, " ")
}

// device makes a poller for channels given as "name address" lines under read rules.
func device(t testing.TB, link Link, rules string, channels ...string) (*Poller, []sensors.Point) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "name = \"x\"\ntitle = \"x\"\nbus = \"modbus\"\nsource = \"test\"\n%s\n", rules)
	for _, c := range channels {
		name, rest, _ := strings.Cut(c, " ")
		address, more, _ := strings.Cut(rest, " ")
		fmt.Fprintf(&b, "[[channel]]\nname = %q\nfunction = \"holding\"\naddress = %s\n%s\n", name, address, more)
	}
	p, err := profile.Parse("x.toml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return poller(t, link, p)
}

func poller(t testing.TB, link Link, p *profile.Profile) (*Poller, []sensors.Point) {
	t.Helper()
	points := p.Expand(sensors.Device{Name: "dev"}, time.Second)
	for i := range points {
		points[i].ID = sensors.PointID(100 + i)
	}
	d, err := New(link, 1, p, points)
	if err != nil {
		t.Fatal(err)
	}
	return d, points
}

// poll returns "value" or "bad:reason" per point.
func poll(t testing.TB, d *Poller, now func() sensors.Mono) (string, error) {
	t.Helper()
	rs, err := d.Poll(context.Background(), now, nil)
	if len(rs) != len(d.raw) {
		t.Fatalf("%d readings of %d points", len(rs), len(d.raw))
	}
	var s []string
	for i, r := range rs {
		if r.Point != sensors.PointID(100+i) {
			t.Errorf("reading %d is of point %d", i, r.Point)
		}
		if !r.Quality.Usable() {
			s = append(s, r.Quality.String())
			continue
		}
		s = append(s, fmt.Sprint(r.Value))
	}
	return strings.Join(s, " "), err
}

func at(m *sensors.Mono) func() sensors.Mono { return func() sensors.Mono { return *m } }

func TestIllegalAddressCostsItsPointOnly(t *testing.T) {
	link := &fakeLink{missing: map[int]bool{12: true}}
	d, _ := device(t, link, "[read]\nmax_gap = 5", "a 10", "b 11", "c 12", "d 14", "e 15")
	var now sensors.Mono
	want := "10 11 bad:comm 14 15"
	if got, err := poll(t, d, at(&now)); got != want || err != nil {
		t.Fatalf("first poll: %q %v, want %q", got, err, want)
	}
	link.log = nil
	if got, err := poll(t, d, at(&now)); got != want || err != nil {
		t.Fatalf("second poll: %q %v", got, err)
	}
	if s := link.spans(); strings.Contains(s, "12+") {
		t.Errorf("a refused register was asked for again at once: %s", s)
	}
	// Refused again: ever more rarely.
	asked := 0
	for range 3600 {
		now = now.Add(time.Second)
		poll(t, d, at(&now))
	}
	for _, r := range link.log {
		if r.Address == 12 {
			asked++
		}
	}
	if asked < 5 || asked > 15 {
		t.Errorf("a refused register was asked for %d times in an hour", asked)
	}
	// It appears (new firmware): the plan is whole again.
	link.missing = nil
	now = now.Add(lastAbsence)
	if got, _ := poll(t, d, at(&now)); got != "10 11 12 14 15" {
		t.Errorf("after the register appeared: %q", got)
	}
	link.log = nil
	poll(t, d, at(&now))
	if s := link.spans(); s != "10+6" {
		t.Errorf("the plan after the register appeared: %s, want one request", s)
	}
}

// A device that refuses holes (not registers) loses no point.
func TestHolesRefused(t *testing.T) {
	link := &fakeLink{missing: map[int]bool{11: true, 13: true, 15: true, 3: true}}
	d, _ := device(t, link, "[read]\nblocks = [{ function = \"holding\", first = 2, count = 4 }]\nmax_gap = 9", "a 10", "b 12", "c 14", "d 16", "e 2 bit = 0", "f 2 bit = 1")
	var now sensors.Mono
	if got, err := poll(t, d, at(&now)); got != "10 12 14 16 0 1" || err != nil {
		t.Fatalf("%q %v", got, err)
	}
	link.log = nil
	poll(t, d, at(&now))
	if s := link.spans(); strings.Count(s, "+1") != 5 {
		t.Errorf("learned plan %s, want the five registers", s)
	}
}

func TestDeviceThatRefusesAll(t *testing.T) {
	link := &fakeLink{fail: func(_ int, r Request) error { return &Exception{r, 2} }}
	var ch []string
	for i := range 60 {
		ch = append(ch, fmt.Sprintf("c%d %d", i, 100+i))
	}
	d, _ := device(t, link, "", ch...)
	var now sensors.Mono
	for range 20 {
		link.log = nil
		if _, err := poll(t, d, at(&now)); err != nil {
			t.Fatal(err)
		}
		if n := len(link.log); n > 60 {
			t.Fatalf("%d requests in one poll", n)
		}
	}
	if n := len(link.log); n > probesPerPoll {
		t.Errorf("%d requests in a poll of a device that refuses all", n)
	}
	link.fail = nil
	now = now.Add(firstAbsence)
	for range 3 {
		poll(t, d, at(&now))
	}
	if got, _ := poll(t, d, at(&now)); strings.Contains(got, "bad") {
		t.Errorf("after it came round: %q", got)
	}
}

func TestSilentDevice(t *testing.T) {
	for _, e := range []error{ErrTimeout, ErrLinkDown, ErrGarbled, &Exception{Code: 11}, ErrClosed} {
		link := &fakeLink{fail: func(int, Request) error { return e }}
		d, _ := device(t, link, "", "a 10", "b 20", "c 30")
		var now sensors.Mono = 7
		got, err := poll(t, d, at(&now))
		if got != "bad:comm bad:comm bad:comm" || err == nil {
			t.Errorf("%v: %q %v", e, got, err)
		}
		if n := len(link.log); n != 1 {
			t.Errorf("%v: %d requests to a silent device, want 1", e, n)
		}
	}
}

// One register that the device meets with silence does not hide the rest.
func TestOneBlockSilent(t *testing.T) {
	for _, dead := range []uint16{10, 20, 30} {
		link := &fakeLink{fail: func(_ int, r Request) error {
			if r.Address == dead {
				return ErrTimeout
			}
			return nil
		}}
		d, _ := device(t, link, "", "a 10", "b 20", "c 30")
		var now sensors.Mono
		poll(t, d, at(&now))
		want := strings.Replace("10 20 30", fmt.Sprint(dead), "bad:comm", 1)
		for range 3 {
			if got, err := poll(t, d, at(&now)); got != want || err != nil {
				t.Errorf("%d silent: %q %v", dead, got, err)
			}
		}
	}
}

func TestBusyIsAskedAgain(t *testing.T) {
	link := &fakeLink{fail: func(n int, r Request) error {
		if n < 2 {
			return &Exception{r, 6}
		}
		return nil
	}}
	d, _ := device(t, link, "", "a 10")
	var now sensors.Mono
	if got, err := poll(t, d, at(&now)); got != "10" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	link.log, link.fail = nil, func(_ int, r Request) error { return &Exception{r, 6} }
	if got, err := poll(t, d, at(&now)); got != "bad:comm" || err != nil || len(link.log) != 1+busyRetries {
		t.Errorf("always busy: %q %v, %d requests", got, err, len(link.log))
	}
}

const identity = "[[identity]]\nfunction = \"holding\"\nfirst = 500\ncount = 2\nwant = [1, 2]\n"

func TestIdentity(t *testing.T) {
	link := &fakeLink{words: map[int]uint16{500: 1, 501: 3}}
	d, _ := device(t, link, identity, "a 10")
	var now sensors.Mono
	for range 2 {
		if got, err := poll(t, d, at(&now)); got != "bad:identity" || err != nil {
			t.Fatalf("another device: %q %v", got, err)
		}
	}
	link.words[501] = 2
	if got, _ := poll(t, d, at(&now)); got != "10" {
		t.Fatalf("the right device: %q", got)
	}
	link.log = nil
	poll(t, d, at(&now))
	if s := link.spans(); s != "10+1" {
		t.Errorf("an ordinary poll: %s", s)
	}
	// After a silence another device may stand there.
	link.fail = func(int, Request) error { return ErrTimeout }
	poll(t, d, at(&now))
	link.fail, link.words[500] = nil, 9
	if got, _ := poll(t, d, at(&now)); got != "bad:identity" {
		t.Errorf("exchanged while silent: %q", got)
	}
}

func TestIdentityOptional(t *testing.T) {
	link := &fakeLink{missing: map[int]bool{500: true}}
	d, _ := device(t, link, identity+"optional = true\n", "a 10")
	var now sensors.Mono
	if got, err := poll(t, d, at(&now)); got != "10" || err != nil {
		t.Errorf("optional identity refused: %q %v", got, err)
	}
	link.words, link.missing = map[int]uint16{500: 5, 501: 5}, nil
	d, _ = device(t, link, identity+"optional = true\n", "a 10")
	if got, _ := poll(t, d, at(&now)); got != "bad:identity" {
		t.Errorf("optional identity wrong: %q", got)
	}
	link.missing = map[int]bool{500: true}
	d, _ = device(t, link, identity, "a 10")
	if got, _ := poll(t, d, at(&now)); got != "bad:identity" {
		t.Errorf("identity refused: %q", got)
	}
}

// Each reading carries the instant just before its own request.
func TestReadingTime(t *testing.T) {
	var now sensors.Mono
	link := &fakeLink{fail: func(int, Request) error { now += 1000; return nil }}
	d, _ := device(t, link, "", "a 10", "b 20", "c 30")
	rs, err := d.Poll(context.Background(), at(&now), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []sensors.Mono
	for _, r := range rs {
		got = append(got, r.At)
	}
	if !slices.Equal(got, []sensors.Mono{0, 1000, 2000}) {
		t.Errorf("stamps %v", got)
	}
}

func TestNewRefusesStrangePoints(t *testing.T) {
	d, points := device(t, &fakeLink{}, "", "a 10", "b 20")
	if _, err := New(&fakeLink{}, 1, d.p, points[:1]); err == nil {
		t.Error("a missing point was accepted")
	}
	points[0], points[1] = points[1], points[0]
	if _, err := New(&fakeLink{}, 1, d.p, points); err == nil {
		t.Error("exchanged points were accepted")
	}
	if _, err := New(nil, 1, d.p, points); err == nil {
		t.Error("no link was accepted")
	}
}

// Parts of a device read their own channels, and those that decide on the quality of them.
func TestParts(t *testing.T) {
	f := &fakeLink{words: map[int]uint16{50: 1}}
	d, points := device(t, f, "[read]\nmax_gap = 2", "a 10", "b 11", "ok 50 kind = \"state\"", "c 12", `gated 13 hazard = 0
[[channel.gate]]
channel = "ok"
is = 1
reason = "test-mode"`)
	fast, slow := d.Part([]int{0, 3}), d.Part([]int{1, 4})
	now := sensors.Mono(5)
	rs, err := fast.Poll(context.Background(), at(&now), nil)
	if got := f.spans(); err != nil || got != "10+3" {
		t.Errorf("the first part reads %s, %v", got, err)
	}
	if len(rs) != 2 || rs[0].Point != points[0].ID || rs[0].Value != 10 || rs[1].Point != points[3].ID || rs[1].Value != 12 {
		t.Errorf("the first part has %+v", rs)
	}
	for _, want := range []sensors.Quality{sensors.GoodQuality, sensors.BadQuality(sensors.TestMode)} {
		rs, err = slow.Poll(context.Background(), at(&now), nil)
		if got := f.spans(); err != nil || got != "11+3 50+1" {
			t.Errorf("the other part reads %s, %v", got, err)
		}
		if len(rs) != 2 || rs[0].Point != points[1].ID || rs[1].Point != points[4].ID || rs[1].Quality != want {
			t.Errorf("the other part has %+v, want %v", rs, want)
		}
		f.words[50] = 0
	}
	f.fail = func(int, Request) error { return ErrTimeout }
	if rs, err = fast.Poll(context.Background(), at(&now), nil); err == nil || len(rs) != 2 || rs[0].Quality.Usable() {
		t.Errorf("a silent device: %v, %+v", err, rs)
	}
}
