package snmp

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"firebreak/configs"
	"firebreak/sensors"
	"firebreak/sensors/profile"

	"github.com/gosnmp/gosnmp"
)

// agent is a scripted one on a real socket. It has objects, refuses as say tells, and can send anything at all.
type agent struct {
	t       testing.TB
	addr    string
	mu      sync.Mutex
	objects map[string]gosnmp.SnmpPDU // by OID without the leading dot
	max     int                       // objects in one reply; more are too big; 0: any
	refuse  map[string]gosnmp.SNMPError
	nobody  bool                                        // a refusal does not say whose
	say     func(q *gosnmp.SnmpPacket) ([][]byte, bool) // false: as usual
	got     []string                                    // "get OID OID"
	v       gosnmp.SnmpVersion
}

func serve(t testing.TB, version gosnmp.SnmpVersion) *agent {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, addr: conn.LocalAddr().String(), objects: map[string]gosnmp.SnmpPDU{}, refuse: map[string]gosnmp.SNMPError{}, v: version}
	a.set(sysObjectID, gosnmp.ObjectIdentifier, "1.3.6.1.4.1.318.1.3.4")
	a.set(sysUpTime, gosnmp.TimeTicks, uint32(1000000))
	var wg sync.WaitGroup
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	wg.Go(func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			for _, b := range a.answer(buf[:n]) {
				_, _ = conn.WriteToUDP(b, from) // whoever has gone does not read it
			}
		}
	})
	return a
}

func (a *agent) set(oid string, typ gosnmp.Asn1BER, v any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.objects[oid] = gosnmp.SnmpPDU{Name: "." + oid, Type: typ, Value: v}
}

func (a *agent) do(f func()) { a.mu.Lock(); defer a.mu.Unlock(); f() }

func (a *agent) asked() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

func (a *agent) answer(b []byte) [][]byte {
	q, err := (&gosnmp.GoSNMP{Version: a.v, Community: "public"}).SnmpDecodePacket(slices.Clone(b))
	if err != nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	what := map[gosnmp.PDUType]string{gosnmp.GetRequest: "get", gosnmp.GetNextRequest: "next", gosnmp.GetBulkRequest: "bulk"}[q.PDUType]
	for _, v := range q.Variables {
		what += " " + v.Name
	}
	a.got = append(a.got, what)
	if q.Community != "public" {
		return nil
	}
	if a.say != nil {
		if out, said := a.say(q); said {
			return out
		}
	}
	return [][]byte{a.reply(q)}
}

// reply is a good reply to q.
func (a *agent) reply(q *gosnmp.SnmpPacket) []byte {
	var vars []gosnmp.SnmpPDU
	for i, v := range q.Variables {
		oid := strings.TrimPrefix(v.Name, ".")
		if e := a.refuse[oid]; e != gosnmp.NoError {
			if a.nobody {
				i = -1
			}
			return a.encode(q, e, i+1, q.Variables)
		}
		if q.PDUType == gosnmp.GetRequest {
			o, ok := a.objects[oid]
			if !ok && a.v == gosnmp.Version1 {
				return a.encode(q, gosnmp.NoSuchName, i+1, q.Variables)
			}
			if !ok {
				o = gosnmp.SnmpPDU{Name: v.Name, Type: gosnmp.NoSuchInstance}
			}
			vars = append(vars, o)
			continue
		}
		behind := slices.SortedFunc(func(yield func(string) bool) {
			for k := range a.objects {
				if after(k, oid) && !yield(k) {
					return
				}
			}
		}, func(x, y string) int { return map[bool]int{true: 1, false: -1}[after(x, y)] })
		if len(behind) == 0 && a.v == gosnmp.Version1 {
			return a.encode(q, gosnmp.NoSuchName, 1, q.Variables)
		}
		if len(behind) == 0 {
			vars = append(vars, gosnmp.SnmpPDU{Name: v.Name, Type: gosnmp.EndOfMibView})
		}
		n := 1
		if q.PDUType == gosnmp.GetBulkRequest {
			n = int(q.MaxRepetitions)
		}
		for _, k := range behind[:min(n, len(behind))] {
			vars = append(vars, a.objects[k])
		}
	}
	if a.max > 0 && len(vars) > a.max {
		return a.encode(q, gosnmp.TooBig, 0, nil)
	}
	return a.encode(q, gosnmp.NoError, 0, vars)
}

func (a *agent) encode(q *gosnmp.SnmpPacket, e gosnmp.SNMPError, index int, vars []gosnmp.SnmpPDU) []byte {
	p := gosnmp.SnmpPacket{Version: q.Version, Community: q.Community, PDUType: gosnmp.GetResponse, RequestID: q.RequestID, Error: e, ErrorIndex: uint8(index), Variables: vars}
	b, err := p.MarshalMsg()
	if err != nil {
		a.t.Errorf("encoding: %v", err)
	}
	return b
}

// device is a poller and its readings by channel.
type device struct {
	t      testing.TB
	p      *Poller
	points []sensors.Point
	at     sensors.Mono
	asks   func() // called before each request, if there is one
}

func newDevice(t testing.TB, c *Client, p *profile.Profile) *device {
	t.Helper()
	points := p.Expand(sensors.Device{Name: "dev"}, time.Minute)
	for i := range points {
		points[i].ID = sensors.PointID(i)
	}
	u, err := New(c, p, points)
	if err != nil {
		t.Fatal(err)
	}
	return &device{t: t, p: u, points: points}
}

func shipped(t testing.TB, name string) *profile.Profile {
	t.Helper()
	p, err := profile.Load(configs.Profiles(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// own is a profile with an array of a.1 to a.N, objects below 1.3.6.1.9, and a table of one alarm.
func own(t testing.TB, n int, rules string) *profile.Profile {
	t.Helper()
	text := "name = \"own\"\ntitle = \"own\"\nbus = \"snmp\"\nsource = \"test\"\n[snmp]\n" + rules + "\n"
	for i := range n {
		text += fmt.Sprintf("[[channel]]\nname = \"a.%d\"\noid = \"1.3.6.1.9.%d.0\"\n", i+1, i+1)
	}
	text += "[[channel]]\nname = \"alarm\"\noid = \"1.3.6.1.8.2\"\nrows = \"1.3.6.1.8.1.0\"\nword = \"1.3.6.1.7.1\"\n"
	p, err := profile.Parse("own.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// fill gives the agent what own reads: a.N is N.
func (a *agent) fill(n int, alarms ...string) {
	for i := range n {
		a.set(fmt.Sprintf("1.3.6.1.9.%d.0", i+1), gosnmp.Integer, i+1)
	}
	a.set("1.3.6.1.8.1.0", gosnmp.Gauge32, uint32(len(alarms)))
	for i, o := range alarms {
		a.set(fmt.Sprintf("1.3.6.1.8.2.%d", 7*i+95), gosnmp.ObjectIdentifier, o)
	}
}

func (d *device) poll(within time.Duration) (map[string]string, error) {
	d.t.Helper()
	ctx, cancel := contextWithin(d.t, within)
	defer cancel()
	now := func() sensors.Mono {
		if d.asks != nil {
			d.asks()
		}
		return d.at
	}
	out, err := d.p.Poll(ctx, now, nil)
	got := map[string]string{}
	for _, r := range out {
		v := r.Quality.String()
		if r.Quality.Usable() {
			v = fmt.Sprintf("%.12g %s", r.Value, v)
		}
		got[strings.TrimPrefix(d.points[r.Point].Name, "dev.")] = v
	}
	return got, err
}

// want polls, and compares some channels: "a.1", "1 good", ...
func (d *device) want(what string, pairs ...string) {
	d.t.Helper()
	got, err := d.poll(long)
	if err != nil {
		d.t.Errorf("%s: %v", what, err)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if got[pairs[i]] != pairs[i+1] {
			d.t.Errorf("%s: %s is %q, want %q", what, pairs[i], got[pairs[i]], pairs[i+1])
		}
	}
}

func client(t testing.TB, o Options) *Client {
	if o.Version == "" {
		o.Version = "2c"
	}
	if o.Secrets == nil {
		o.Secrets = func() (Secrets, error) {
			return Secrets{Community: "public", AuthKey: "sixteen letters.", PrivKey: "other letters..."}, nil
		}
	}
	c := NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

func wantErr(t testing.TB, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want %q", err, text)
	}
}
