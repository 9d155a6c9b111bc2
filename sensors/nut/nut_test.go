package nut

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// upsd is a scripted one on a real socket: it answers each line by what say returns for it; empty is silence.
type upsd struct {
	addr string
	mu   sync.Mutex
	got  []string
	open int // connections so far
	say  func(line string) string
}

func serve(t *testing.T, say func(line string) string) *upsd {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &upsd{addr: ln.Addr().String(), say: say}
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open++
			s.mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { c.Close() })()
				s.talk(c)
			})
		}
	})
	t.Cleanup(func() { stop(); ln.Close(); wg.Wait() })
	return s
}

func (s *upsd) talk(c net.Conn) {
	in := bufio.NewScanner(c)
	for in.Scan() {
		s.mu.Lock()
		s.got = append(s.got, in.Text())
		answer := s.say(in.Text())
		s.mu.Unlock()
		text, hangUp := strings.CutSuffix(answer, "<close>")
		fmt.Fprint(c, text)
		if hangUp {
			return
		}
	}
}

func (s *upsd) set(say func(string) string) { s.mu.Lock(); defer s.mu.Unlock(); s.say = say }

func (s *upsd) seen() (lines []string, conns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...), s.open
}

// list is a good reply.
func list(ups string, vars ...string) string {
	b := "BEGIN LIST VAR " + ups + "\n"
	for i := 0; i+1 < len(vars); i += 2 {
		b += fmt.Sprintf("VAR %s %s \"%s\"\n", ups, vars[i], vars[i+1])
	}
	return b + "END LIST VAR " + ups + "\n"
}

func good(line string) string {
	return list(strings.TrimPrefix(line, "LIST VAR "), "ups.status", "OL CHRG", "battery.temperature", "31.4", "ups.mfr", `A \"B\" \\ C`)
}

// ups is a poller and its readings by channel.
type ups struct {
	t      testing.TB
	p      *Poller
	points []sensors.Point
}

func newUPS(t testing.TB, c *Client, name string) *ups {
	t.Helper()
	p, err := profile.Load(configs.Profiles(), "nut-ups")
	if err != nil {
		t.Fatal(err)
	}
	points := p.Expand(sensors.Device{Name: "dev"}, time.Minute)
	for i := range points {
		points[i].ID = sensors.PointID(i)
	}
	u, err := New(c, name, p, points)
	if err != nil {
		t.Fatal(err)
	}
	return &ups{t, u, points}
}

func (u *ups) poll(within time.Duration) (map[string]string, error) {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), within)
	defer cancel()
	out, err := u.p.Poll(ctx, func() sensors.Mono { return 7 }, nil)
	got := map[string]string{}
	for _, r := range out {
		v := r.Quality.String()
		if r.Quality.Usable() {
			v = fmt.Sprintf("%g %s", r.Value, v)
		}
		if r.At != 7 {
			u.t.Errorf("a reading of %v", r.At)
		}
		got[strings.TrimPrefix(u.points[r.Point].Name, "dev.")] = v
	}
	return got, err
}

func client(t testing.TB, o Options) *Client {
	c := NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

func wantErr(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %q", err, text)
	}
}

const long = 20 * time.Second

// TestSendsNothingElse: one connection for all UPSes of an upsd, one question a poll, and none other.
func TestSendsNothingElse(t *testing.T) {
	s := serve(t, good)
	c := client(t, Options{Address: s.addr})
	a, b := newUPS(t, c, "a"), newUPS(t, c, "b")
	for _, u := range []*ups{a, b, a} {
		got, err := u.poll(long)
		if err != nil || got["status.on-line"] != "1 good" || got["status.on-battery"] != "0 good" || got["battery.temperature"] != "31.4 good" || got["input.voltage"] != "bad:sentinel" {
			t.Errorf("%v, %v", got, err)
		}
	}
	lines, conns := s.seen()
	if strings.Join(lines, "|") != "LIST VAR a|LIST VAR b|LIST VAR a" || conns != 1 {
		t.Errorf("%d connections, asked %q", conns, lines)
	}
}

// TestRefusals: an ERR costs the points of that UPS alone and no connection, and they come back.
func TestRefusals(t *testing.T) {
	code := "DATA-STALE"
	s := serve(t, nil)
	s.set(func(line string) string {
		if line == "LIST VAR a" && code != "" {
			return "ERR " + code + "\n"
		}
		return good(line)
	})
	c := client(t, Options{Address: s.addr})
	a, b := newUPS(t, c, "a"), newUPS(t, c, "b")
	for _, k := range []struct{ code, quality, err string }{
		{"DATA-STALE", "bad:stale", ""}, {"DRIVER-NOT-CONNECTED", "bad:comm", ""},
		{"UNKNOWN-UPS", "", `it has no UPS "a"`}, {"ACCESS-DENIED", "", "upsd.conf"}, {"\x1b[2J odd", "", `ERR "\x1b[2J"`},
		{"", "1 good", ""},
	} {
		s.mu.Lock()
		code = k.code
		s.mu.Unlock()
		got, err := a.poll(long)
		if got["status.on-line"] != k.quality {
			t.Errorf("%s: %q, want %q", k.code, got["status.on-line"], k.quality)
		}
		if k.err != "" {
			wantErr(t, err, k.err)
		} else if err != nil || len(got) != len(a.points) {
			t.Errorf("%s: %d points, %v", k.code, len(got), err)
		}
		if got, err := b.poll(long); err != nil || got["status.on-line"] != "1 good" {
			t.Errorf("%s of the other: %v, %v", k.code, got, err)
		}
	}
	if _, conns := s.seen(); conns != 1 {
		t.Errorf("%d connections", conns)
	}
}

// TestBadReplies: each is told, costs the poll and the connection, and nothing of it reaches a reading; the
// next connection is good again.
func TestBadReplies(t *testing.T) {
	for name, k := range map[string]struct{ reply, err string }{
		"silence":         {"", "timeout"},
		"half":            {"BEGIN LIST VAR a\nVAR a ups.status \"OB", "timeout"},
		"cut":             {"BEGIN LIST VAR a\nVAR a ups.status \"OB\"\n<close>", "the connection was closed"},
		"cut in a line":   {"BEGIN LIST VAR a\nVAR a ups.sta<close>", "ends within a line"},
		"garbage":         {"HTTP/1.1 400 Bad Request\n", "this is no upsd"},
		"of another":      {list("b", "ups.status", "OB"), "not the answer"},
		"mixed":           {"BEGIN LIST VAR a\nVAR b ups.status \"OB\"\n", "not the answer"},
		"not closed":      {"BEGIN LIST VAR a\nVAR a ups.status \"OB\nEND LIST VAR a\n", "not the answer"},
		"giant line":      {"BEGIN LIST VAR a\nVAR a ups.status \"" + strings.Repeat("x", 1<<20), "a line of over"},
		"giant list":      {"BEGIN LIST VAR a\n" + strings.Repeat("VAR a x \"1\"\n", maxLines+1), "a reply of over"},
		"giant bytes":     {"BEGIN LIST VAR a\n" + strings.Repeat("VAR a x \""+strings.Repeat("y", 1900)+"\"\n", 200), "a reply of over"},
		"behind the end":  {list("a", "ups.status", "OB") + "VAR a ups.status \"OB\"\n", "behind the end"},
		"late":            {"<late>", "timeout"},
		"closes at once":  {"<close>", "EOF"},
		"control in text": {"BEGIN LIST VAR a\nVAR a ups.status \"O\x00B\"\n", "not the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			late := make(chan struct{})
			s := serve(t, func(string) string { return k.reply })
			if k.reply == "<late>" {
				s.set(func(string) string { <-late; return list("a", "ups.status", "OB") })
			}
			c := client(t, Options{Address: s.addr})
			u := newUPS(t, c, "a")
			within := long
			if k.err == "timeout" {
				within = 200 * time.Millisecond
			}
			got, err := u.poll(within)
			if len(got) != 0 {
				t.Errorf("readings %v", got)
			}
			if wantErr(t, err, "upsd at "+s.addr); !strings.Contains(err.Error(), k.err) && (k.err != "timeout" || !strings.Contains(err.Error(), "in time")) {
				t.Errorf("error %v, want %q", err, k.err)
			}
			close(late) // its late answer has nobody to reach any more
			if c.next.IsZero() {
				t.Error("it does not back off")
			}
			c.next = time.Now().Add(time.Hour) // however long this takes
			_, err = u.poll(long)
			wantErr(t, err, "tried again")
			c.next = time.Time{} // the back-off is over
			s.set(good)
			if got, err := u.poll(long); err != nil || got["status.on-battery"] != "0 good" || got["status.on-line"] != "1 good" {
				t.Errorf("afterwards %v, %v", got, err)
			}
			if _, conns := s.seen(); conns != 2 {
				t.Errorf("%d connections, want 2", conns)
			}
		})
	}
}

// TestIdleClosed: an upsd that ended an idle connection costs no poll.
func TestIdleClosed(t *testing.T) {
	s := serve(t, func(line string) string { return good(line) + "<close>" })
	u := newUPS(t, client(t, Options{Address: s.addr}), "a")
	for range 5 {
		if _, err := u.poll(long); err != nil {
			t.Error(err)
		}
	}
}

// TestBackoff grows to its end, with jitter, and ends with the first answer.
func TestBackoff(t *testing.T) {
	c := NewClient(Options{})
	seen := map[time.Duration]bool{}
	for i := range 40 {
		before := time.Now()
		c.failed()
		wait := min(firstWait<<min(i, 10), lastWait)
		after := time.Now()
		if c.next.Before(before.Add(wait/2)) || c.next.After(after.Add(wait)) {
			t.Errorf("after %d failures %v, want up to %v", i+1, c.next.Sub(before), wait)
		}
		seen[c.next.Sub(before).Round(time.Millisecond)] = true
	}
	if len(seen) < 10 {
		t.Errorf("only %d waits of 40 differ", len(seen))
	}
}

// TestClose breaks a poll that is under way.
func TestClose(t *testing.T) {
	asked := make(chan struct{})
	s := serve(t, func(string) string { close(asked); return "" })
	c := client(t, Options{Address: s.addr})
	u := newUPS(t, c, "a")
	done := make(chan error, 1)
	go func() {
		_, err := u.poll(time.Hour)
		done <- err
	}()
	<-asked
	c.Close()
	if err := <-done; err == nil {
		t.Error("no error")
	}
	_, err := u.poll(long)
	wantErr(t, err, "")
}

func FuzzReply(f *testing.F) {
	seed, err := os.ReadFile("testdata/dummy.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(seed))
	f.Add("ERR DATA-STALE\n")
	f.Add("BEGIN LIST VAR ups\nVAR ups a \"\\\"\\\\\"\nEND LIST VAR ups\n")
	f.Fuzz(func(t *testing.T, text string) {
		var again strings.Builder
		again.WriteString("BEGIN LIST VAR ups\n")
		err := readList(bufio.NewReaderSize(strings.NewReader(text), maxLine), "VAR ups", "VAR ups", func(name, value string) {
			if strings.ContainsAny(value, "\n\x00") || name == "" || len(value) > maxLine {
				t.Errorf("%q = %q", name, value)
			}
			fmt.Fprintf(&again, "VAR ups %s \"%s\"\n", name, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value))
		})
		if err != nil || again.Len() > maxReply/2 {
			return
		}
		again.WriteString("END LIST VAR ups\n")
		in := bufio.NewReaderSize(strings.NewReader(again.String()), 2*maxLine)
		if err := readList(in, "VAR ups", "VAR ups", func(string, string) {}); err != nil {
			t.Errorf("what was read is not read again: %v: %q", err, again.String())
		}
	})
}

// TestRecorded: the bytes of a real upsd 2.8.0, with dummy-ups behind it.
func TestRecorded(t *testing.T) {
	text, err := os.ReadFile("testdata/dummy.txt")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(string) string { return string(text) })
	got, err := newUPS(t, client(t, Options{Address: s.addr}), "ups").poll(long)
	if err != nil {
		t.Fatal(err)
	}
	for ch, want := range map[string]string{"status.on-battery": "1 good", "status.on-line": "0 good", "status.low-battery": "1 good", "battery.temperature": "41.7 good",
		"ambient.humidity": "38.5 good", "battery.charge": "17 good", "load": "bad:sentinel"} {
		if got[ch] != want {
			t.Errorf("%s is %q, want %q", ch, got[ch], want)
		}
	}
}

// What a UPS calls its serial number goes with its readings (S23): the better variable first, and never a row of zeros.
func TestSerialOfAUPS(t *testing.T) {
	p, err := profile.Load(configs.Profiles(), "nut-ups")
	if err != nil {
		t.Fatal(err)
	}
	for vars, want := range map[string]string{
		"VAR u ups.status \"OL\"\n":                                   "",
		"VAR u ups.serial \" AS1234 \"\nVAR u device.serial \"X\"\n":  "AS1234",
		"VAR u ups.serial \"000000\"\nVAR u device.serial \"QB77\"\n": "QB77",
	} {
		s := serve(t, func(string) string { return "BEGIN LIST VAR u\n" + vars + "END LIST VAR u\n" })
		c := NewClient(Options{Address: s.addr})
		defer c.Close()
		points := p.Expand(sensors.Device{Name: "u"}, time.Hour)
		for i := range points {
			points[i].ID = sensors.PointID(i)
		}
		u, err := New(c, "u", p, points)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Poll(t.Context(), func() sensors.Mono { return 1 }, nil); err != nil {
			t.Fatal(err)
		}
		if got := u.Serial(); got != want {
			t.Errorf("%q: serial %q, want %q", vars, got, want)
		}
	}
}
