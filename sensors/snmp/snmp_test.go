package snmp

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"firebreak/sensors"

	"github.com/gosnmp/gosnmp"
)

const long = 5 * time.Second

func contextWithin(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

// TestReadsOnly: objects in as few requests as the profile allows, the table by GETBULK, nothing else.
func TestReadsOnly(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(5, "1.3.6.1.7.1", "1.3.6.1.7.5")
	d := newDevice(t, client(t, Options{Address: a.addr}), own(t, 5, "max_oids = 4"))
	d.want("first", "a.1", "1 good", "a.5", "5 good", "alarm", "1 good")
	got := a.asked()
	want := []string{"get .1.3.6.1.2.1.1.2.0 .1.3.6.1.2.1.1.3.0 .1.3.6.1.9.1.0 .1.3.6.1.9.2.0", "get .1.3.6.1.9.3.0 .1.3.6.1.9.4.0 .1.3.6.1.9.5.0 .1.3.6.1.8.1.0", "bulk .1.3.6.1.8.2"}
	if !slices.Equal(got, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := d.p.p.Requests(); n != len(want) {
		t.Errorf("the worst case counts %d requests", n)
	}
}

// TestValues: each type, absent objects, and wrong types, each the quality of its own point.
func TestValues(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(13)
	for i, v := range []gosnmp.SnmpPDU{
		{Type: gosnmp.Integer, Value: -5}, {Type: gosnmp.Counter32, Value: uint32(4294967295)}, {Type: gosnmp.Gauge32, Value: uint32(7)},
		{Type: gosnmp.TimeTicks, Value: uint32(12)}, {Type: gosnmp.Counter64, Value: uint64(1 << 40)}, {Type: gosnmp.OctetString, Value: "31"},
		{Type: gosnmp.ObjectIdentifier, Value: "1.3.6.1"}, {Type: gosnmp.IPAddress, Value: "10.0.0.1"}, {Type: gosnmp.NoSuchObject}, {Type: gosnmp.NoSuchInstance},
		{Type: gosnmp.Null}, {Type: gosnmp.EndOfMibView}, {Type: gosnmp.Integer, Value: 13},
	} {
		a.set(fmt.Sprintf("1.3.6.1.9.%d.0", i+1), v.Type, v.Value)
	}
	d := newDevice(t, client(t, Options{Address: a.addr}), own(t, 13, "max_oids = 60"))
	d.want("values", "a.1", "-5 good", "a.2", "4294967295 good", "a.3", "7 good", "a.4", "12 good", "a.5", "1.09951162778e+12 good", "a.6", "bad:implausible", "a.7", "bad:implausible",
		"a.8", "bad:implausible", "a.9", "bad:sentinel", "a.10", "bad:sentinel", "a.11", "bad:sentinel", "a.12", "bad:sentinel", "a.13", "13 good", "alarm", "0 good")
	for _, v := range []any{math.NaN(), math.Inf(1)} {
		if got := valueOf(gosnmp.SnmpPDU{Type: gosnmp.OpaqueDouble, Value: v}, 0); got.form != number {
			t.Errorf("%v: %+v", v, got)
		} else if _, q := d.p.p.Channels[0].DecodeText(got.text); q.Usable() {
			t.Errorf("%v is %s", v, q)
		}
	}
	if got := valueOf(gosnmp.SnmpPDU{Type: gosnmp.OpaqueFloat, Value: float32(23.5)}, 0); got.text != "23.5" {
		t.Errorf("a float is %+v", got)
	}
}

// TestRefusals: too big is asked for in smaller parts, now and later; any other error costs the object that it names,
// or is found by asking one at a time.
func TestRefusals(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(20)
	a.do(func() { a.max = 6 })
	d := newDevice(t, client(t, Options{Address: a.addr}), own(t, 20, "max_oids = 30"))
	d.want("too big", "a.1", "1 good", "a.20", "20 good", "alarm", "0 good")
	first := len(a.asked())
	d.want("too big, later", "a.20", "20 good")
	if n := len(a.asked()) - first; n != 6 { // 23 objects by 5, and the table
		t.Errorf("the second poll made %d requests: it has learned nothing", n)
	}
	a.do(func() {
		a.refuse["1.3.6.1.9.3.0"], a.refuse["1.3.6.1.9.8.0"] = gosnmp.GenErr, gosnmp.AuthorizationError
	})
	d.want("refused by name", "a.2", "2 good", "a.3", "bad:comm", "a.8", "bad:comm", "a.9", "9 good", "alarm", "0 good")
	a.do(func() { a.nobody = true })
	d.want("refused without a name", "a.2", "2 good", "a.3", "bad:comm", "a.8", "bad:comm", "a.9", "9 good", "alarm", "0 good")
	a.do(func() { clear(a.refuse) })
	d.want("no longer", "a.3", "3 good", "a.8", "8 good")
	a.do(func() {
		a.max = -1
		a.say = func(q *gosnmp.SnmpPacket) ([][]byte, bool) { return [][]byte{a.encode(q, gosnmp.TooBig, 0, nil)}, true }
	})
	got, err := d.poll(long)
	if err != nil || got["a.1"] != "bad:comm" || got["alarm"] != "bad:comm" {
		t.Errorf("everything is too big: %v, %v", got, err)
	}
}

// TestVersion1 refuses a whole request for one object that it does not have: it costs that one, is
// learned, and comes back.
func TestVersion1(t *testing.T) {
	a := serve(t, gosnmp.Version1)
	a.fill(12, "1.3.6.1.7.1")
	a.do(func() { delete(a.objects, "1.3.6.1.9.4.0"); delete(a.objects, "1.3.6.1.9.9.0") })
	d := newDevice(t, client(t, Options{Address: a.addr, Version: "1"}), own(t, 12, ""))
	for i, n := range []int{5, 4, 4} { // two refusals, what is left, one row, and behind it; then one that was absent
		before := len(a.asked())
		d.want("version 1", "a.3", "3 good", "a.4", "bad:sentinel", "a.9", "bad:sentinel", "a.12", "12 good", "alarm", "1 good")
		if got := len(a.asked()) - before; got != n {
			t.Errorf("poll %d made %d requests, want %d: %q", i+1, got, n, a.asked()[before:])
		}
	}
	a.set("1.3.6.1.9.4.0", gosnmp.Integer, 4)
	d.want("one is asked for in turn")
	d.want("it is back", "a.4", "4 good", "a.9", "bad:sentinel")
}

// TestBadReplies: each costs the poll, nothing of it reaches a reading, and the next poll is good again.
func TestBadReplies(t *testing.T) {
	lie := func(change func(*gosnmp.SnmpPacket)) func(a *agent, q *gosnmp.SnmpPacket) []byte {
		return func(a *agent, q *gosnmp.SnmpPacket) []byte {
			p := gosnmp.SnmpPacket{Version: q.Version, Community: q.Community, PDUType: gosnmp.GetResponse, RequestID: q.RequestID, Variables: slices.Clone(q.Variables)}
			for i := range p.Variables {
				p.Variables[i].Type, p.Variables[i].Value = gosnmp.Integer, 666
			}
			change(&p)
			b, err := p.MarshalMsg()
			if err != nil {
				a.t.Error(err)
			}
			return b
		}
	}
	bytes := func(b []byte) func(*agent, *gosnmp.SnmpPacket) []byte {
		return func(*agent, *gosnmp.SnmpPacket) []byte { return b }
	}
	for name, reply := range map[string]func(a *agent, q *gosnmp.SnmpPacket) []byte{
		"silence":            nil,
		"empty":              bytes([]byte{}),
		"garbage":            bytes([]byte("HTTP/1.1 400 Bad Request\r\n")),
		"of version 3":       bytes(crash()),
		"length beyond":      bytes([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 2, 1, 1}),
		"wrong request id":   lie(func(p *gosnmp.SnmpPacket) { p.RequestID ^= 1 }),
		"request id zero":    lie(func(p *gosnmp.SnmpPacket) { p.RequestID = 0 }),
		"a request":          lie(func(p *gosnmp.SnmpPacket) { p.PDUType = gosnmp.GetRequest }),
		"another version":    lie(func(p *gosnmp.SnmpPacket) { p.Version = gosnmp.Version1 }),
		"fewer values":       lie(func(p *gosnmp.SnmpPacket) { p.Variables = p.Variables[1:] }),
		"no values":          lie(func(p *gosnmp.SnmpPacket) { p.Variables = nil }),
		"more values":        lie(func(p *gosnmp.SnmpPacket) { p.Variables = append(p.Variables, p.Variables[0]) }),
		"in another order":   lie(func(p *gosnmp.SnmpPacket) { slices.Reverse(p.Variables) }),
		"of another object":  lie(func(p *gosnmp.SnmpPacket) { p.Variables[2].Name = ".1.3.6.1.9.9.0" }),
		"truncated":          func(a *agent, q *gosnmp.SnmpPacket) []byte { b := a.reply(q); return b[:len(b)-3] },
		"with a tail":        func(a *agent, q *gosnmp.SnmpPacket) []byte { return append(a.reply(q), 1, 2, 3) },
		"truncated by a lot": func(a *agent, q *gosnmp.SnmpPacket) []byte { return a.reply(q)[:20] },
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, gosnmp.Version2c)
			a.fill(3)
			a.do(func() {
				a.say = func(q *gosnmp.SnmpPacket) ([][]byte, bool) {
					if reply == nil {
						return nil, true
					}
					return [][]byte{reply(a, q)}, true
				}
			})
			d := newDevice(t, client(t, Options{Address: a.addr}), own(t, 3, "timeout = \"50ms\""))
			got, err := d.poll(long)
			wantErr(t, err, "SNMP agent at "+a.addr)
			for ch, v := range got {
				if v != "bad:comm" {
					t.Errorf("%s is %s", ch, v)
				}
			}
			if n := len(a.asked()); n > 2 {
				t.Errorf("asked %d times, want two attempts at most", n)
			}
			a.do(func() { a.say = nil })
			d.want("afterwards", "a.1", "1 good", "a.3", "3 good")
		})
	}
}

// TestLate: the answer to the first attempt, which comes with that to the second, is not taken for it.
func TestLate(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(2)
	var kept []byte
	a.do(func() {
		a.say = func(q *gosnmp.SnmpPacket) ([][]byte, bool) {
			switch {
			case kept == nil:
				a.objects["1.3.6.1.9.1.0"] = gosnmp.SnmpPDU{Name: ".1.3.6.1.9.1.0", Type: gosnmp.Integer, Value: 99}
				kept = a.reply(q)
				a.objects["1.3.6.1.9.1.0"] = gosnmp.SnmpPDU{Name: ".1.3.6.1.9.1.0", Type: gosnmp.Integer, Value: 1}
				return nil, true
			case q.PDUType == gosnmp.GetRequest:
				return [][]byte{kept, a.reply(q)}, true
			}
			return nil, false
		}
	})
	newDevice(t, client(t, Options{Address: a.addr}), own(t, 2, "timeout = \"300ms\"")).want("late", "a.1", "1 good", "a.2", "2 good")
}

// TestPartly: what was answered before the silence stands, and the rest is bad (comm).
func TestPartly(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(4)
	a.do(func() {
		a.say = func(q *gosnmp.SnmpPacket) ([][]byte, bool) {
			return nil, strings.Contains(q.Variables[0].Name, ".1.3.6.1.9.2")
		}
	})
	p := own(t, 4, "max_oids = 3\nattempts = 1")
	p.SNMP.Timeout = time.Minute
	d := newDevice(t, client(t, Options{Address: a.addr}), p)
	d.asks = func() { // however slow the machine is, what is answered is waited for; what is not need not be
		if len(a.asked()) > 0 {
			p.SNMP.Timeout = 10 * time.Millisecond
		}
	}
	got, err := d.poll(time.Minute)
	if err == nil || got["a.1"] != "1 good" || got["a.2"] != "bad:comm" || got["a.4"] != "bad:comm" || got["alarm"] != "bad:comm" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestDeadline: the context ends a poll at once, and so does Close.
func TestDeadline(t *testing.T) {
	for _, how := range []string{"context", "close", "refused"} {
		asked := make(chan struct{}, 10)
		a := serve(t, gosnmp.Version2c)
		a.do(func() { a.say = func(*gosnmp.SnmpPacket) ([][]byte, bool) { asked <- struct{}{}; return nil, true } })
		addr := a.addr
		if how == "refused" {
			addr = "127.0.0.1:1" // nobody listens there
			asked <- struct{}{}
		}
		c := client(t, Options{Address: addr})
		d := newDevice(t, c, own(t, 1, "timeout = \"10s\"\nattempts = 4"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := d.p.Poll(ctx, func() sensors.Mono { return 0 }, nil)
			done <- err
		}()
		<-asked
		switch how {
		case "context":
			cancel()
		case "close":
			c.Close()
		}
		select {
		case err := <-done:
			wantErr(t, err, "")
		case <-time.After(9 * time.Second): // its time-out is 10 s
			t.Errorf("%s does not end a poll", how)
		}
		cancel()
	}
}

// TestIdentity: another maker's device is none of ours, and one without an identity neither.
func TestIdentity(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(1)
	d := newDevice(t, client(t, Options{Address: a.addr}), own(t, 1, "system = [\"1.3.6.1.4.1.318\", \"1.3.6.1.4.1.319.1\"]"))
	for _, k := range []struct {
		typ  gosnmp.Asn1BER
		id   any
		want string
	}{
		{gosnmp.ObjectIdentifier, "1.3.6.1.4.1.318.1.3.4", "1 good"}, {gosnmp.ObjectIdentifier, "1.3.6.1.4.1.3180", "bad:identity"}, {gosnmp.ObjectIdentifier, "1.3.6.1.4.1.319", "bad:identity"},
		{gosnmp.OctetString, "1.3.6.1.4.1.318", "bad:identity"}, {gosnmp.ObjectIdentifier, "1.3.6.1.4.1.319.1", "1 good"}, {gosnmp.NoSuchObject, nil, "bad:identity"},
	} {
		a.set(sysObjectID, k.typ, k.id)
		d.want(fmt.Sprint(k.id), "a.1", k.want)
	}
}

// TestUptime: a young agent and one whose clock stands are not believed; 497 days are no restart.
func TestUptime(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(1)
	d := newDevice(t, client(t, Options{Address: a.addr}), own(t, 1, "settle = \"30s\""))
	d.p.limit = 2
	for _, k := range []struct {
		after time.Duration
		ticks uint32
		want  string
		limit int
	}{
		{0, 1000000, "1 good", 2}, {5 * time.Second, 1000500, "1 good", 2}, {5 * time.Second, 1000500, "1 good", 2}, {5 * time.Second, 1000500, "bad:stale", 2}, {time.Second, 1001600, "1 good", 2},
		{time.Second, 200, "bad:not-ready", 20}, {10 * time.Second, 1200, "bad:not-ready", 20}, {20 * time.Second, 3200, "1 good", 20},
		{time.Second, math.MaxUint32 - 50, "1 good", 20}, {time.Second, 49, "1 good", 20}, {time.Second, 149, "1 good", 20}, {time.Second, 10, "bad:not-ready", 20},
	} {
		d.at = d.at.Add(k.after)
		a.set(sysUpTime, gosnmp.TimeTicks, k.ticks)
		d.want(fmt.Sprintf("uptime %d", k.ticks), "a.1", k.want)
		if d.p.limit != k.limit {
			t.Errorf("uptime %d: %d objects at once, want %d", k.ticks, d.p.limit, k.limit)
		}
	}
	a.do(func() { delete(a.objects, sysUpTime) })
	d.at = d.at.Add(time.Hour)
	d.want("without a clock", "a.1", "1 good")
}

// TestSecrets that cannot be read or are none cost the poll, say which, and count when they are there.
func TestSecrets(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(1)
	var s Secrets
	err := errors.New("open /etc/firebreak/community: no such file")
	c := client(t, Options{Address: a.addr, Secrets: func() (Secrets, error) { return s, err }})
	d := newDevice(t, c, own(t, 1, "timeout = \"50ms\""))
	_, got := d.poll(long)
	wantErr(t, got, "no such file")
	err = nil
	_, got = d.poll(long)
	wantErr(t, got, "the file that community names")
	s.Community = "other"
	if _, got = d.poll(long); got == nil {
		t.Error("a wrong community is answered")
	}
	s.Community = "public" // a new one counts at once
	d = newDevice(t, c, own(t, 1, "timeout = \"10s\""))
	d.want("right", "a.1", "1 good")
}
