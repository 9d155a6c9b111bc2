package snmp

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/bus"

	"github.com/gosnmp/gosnmp"
)

const engine = "\x80\x00\x1f\x88\x80engine-1"

// secured is a scripted agent of version 3: it tells its engine to whoever asks for it, and answers what is
// asked under its key. change spoils the answer, and raw the bytes of it.
type secured struct {
	t      *testing.T
	addr   string
	mu     sync.Mutex
	user   *gosnmp.UsmSecurityParameters
	change func(p *gosnmp.SnmpPacket, u *gosnmp.UsmSecurityParameters)
	raw    func(b []byte) []byte
}

func serveV3(t *testing.T, user *gosnmp.UsmSecurityParameters) *secured {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{t: t, addr: conn.LocalAddr().String(), user: user}
	user.AuthoritativeEngineID, user.AuthoritativeEngineBoots, user.AuthoritativeEngineTime = engine, 3, 1000
	if user.AuthenticationProtocol > gosnmp.NoAuth {
		if err := user.InitSecurityKeys(); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { conn.Close(); wg.Wait() })
	wg.Go(func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := conn.ReadFromUDP(buf)
			if err != nil {
				return
			}
			if b := s.answer(bytes.Clone(buf[:n])); b != nil {
				_, _ = conn.WriteToUDP(b, from)
			}
		}
	})
	return s
}

func (s *secured) set(raw func([]byte) []byte) { s.mu.Lock(); defer s.mu.Unlock(); s.raw = raw }

func (s *secured) flags() gosnmp.SnmpV3MsgFlags {
	switch {
	case s.user.PrivacyProtocol > gosnmp.NoPriv:
		return gosnmp.AuthPriv
	case s.user.AuthenticationProtocol > gosnmp.NoAuth:
		return gosnmp.AuthNoPriv
	}
	return gosnmp.NoAuthNoPriv
}

func (s *secured) answer(b []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.user.Copy().(*gosnmp.UsmSecurityParameters)
	d := &gosnmp.GoSNMP{Version: gosnmp.Version3, SecurityModel: gosnmp.UserSecurityModel, MsgFlags: s.flags(), SecurityParameters: mine}
	if !bytes.Contains(b, []byte(engine)) { // who are you?
		d.MsgFlags, d.SecurityParameters = gosnmp.NoAuthNoPriv, &gosnmp.UsmSecurityParameters{UserName: "anybody"}
		q, err := d.SnmpDecodePacket(b)
		if err != nil {
			s.t.Errorf("discovery: %v", err)
			return nil
		}
		u := &gosnmp.UsmSecurityParameters{AuthoritativeEngineID: engine, AuthoritativeEngineBoots: 3, AuthoritativeEngineTime: 1000}
		p := gosnmp.SnmpPacket{Version: gosnmp.Version3, MsgID: q.MsgID, SecurityModel: gosnmp.UserSecurityModel, SecurityParameters: u, ContextEngineID: engine, PDUType: gosnmp.Report,
			RequestID: q.RequestID, Variables: []gosnmp.SnmpPDU{{Name: ".1.3.6.1.6.3.15.1.1.4.0", Type: gosnmp.Counter32, Value: uint32(1)}}}
		out, err := p.MarshalMsg()
		if err != nil {
			s.t.Error(err)
		}
		return out
	}
	q, err := d.SnmpDecodePacket(b)
	if err != nil {
		return nil // another key
	}
	u := s.user.Copy().(*gosnmp.UsmSecurityParameters)
	p := gosnmp.SnmpPacket{Version: gosnmp.Version3, MsgID: q.MsgID, MsgFlags: s.flags(), SecurityModel: gosnmp.UserSecurityModel, SecurityParameters: u, ContextEngineID: engine,
		ContextName: q.ContextName, PDUType: gosnmp.GetResponse, RequestID: q.RequestID}
	for _, v := range q.Variables {
		p.Variables = append(p.Variables, gosnmp.SnmpPDU{Name: v.Name, Type: gosnmp.Integer, Value: 7})
	}
	if s.change != nil {
		s.change(&p, u)
	}
	if err := u.InitSecurityKeys(); err != nil && u.AuthenticationProtocol > gosnmp.NoAuth {
		s.t.Error(err)
	}
	if p.MsgFlags&gosnmp.AuthPriv == gosnmp.AuthPriv {
		if err := u.InitPacket(&p); err != nil {
			s.t.Error(err)
		}
	}
	out, err := p.MarshalMsg()
	if err != nil {
		s.t.Error(err)
	}
	if s.raw != nil {
		out = s.raw(out)
	}
	return out
}

func user(auth, priv string) *gosnmp.UsmSecurityParameters {
	return &gosnmp.UsmSecurityParameters{UserName: "firebreak", AuthenticationProtocol: authOf(auth), PrivacyProtocol: privOf(priv),
		AuthenticationPassphrase: "sixteen letters.", PrivacyPassphrase: "other letters..."}
}

// TestVersion3 at each level, by each algorithm.
func TestVersion3(t *testing.T) {
	pairs := [][2]string{{"", ""}, {"sha", ""}}
	for _, a := range Auths() {
		pairs = append(pairs, [2]string{a, "aes"})
	}
	for _, p := range Privs() {
		pairs = append(pairs, [2]string{"sha256", p})
	}
	for _, k := range pairs {
		s := serveV3(t, user(k[0], k[1]))
		d := newDevice(t, client(t, Options{Address: s.addr, Version: "3", User: "firebreak", Auth: k[0], Priv: k[1]}), own(t, 3, ""))
		for range 2 {
			if got, err := d.poll(long); got["a.1"] != "7 good" || got["a.3"] != "7 good" {
				t.Errorf("%q: %v, %v", k, got, err)
			}
		}
	}
}

// TestForged: a message of another user, without a user, less protected or under another key does not count, whatever
// its request id; and the library's panics are errors of the poll.
func TestForged(t *testing.T) {
	for name, k := range map[string]struct {
		auth, priv string
		change     func(p *gosnmp.SnmpPacket, u *gosnmp.UsmSecurityParameters)
		raw        func([]byte) []byte
		err        string
	}{
		"no user and no engine": {"sha256", "", func(p *gosnmp.SnmpPacket, u *gosnmp.UsmSecurityParameters) {
			u.UserName, u.AuthoritativeEngineID, p.MsgFlags = "", "", gosnmp.NoAuthNoPriv
		}, nil, ""},
		"unsigned":      {"sha256", "", func(p *gosnmp.SnmpPacket, u *gosnmp.UsmSecurityParameters) { p.MsgFlags = gosnmp.NoAuthNoPriv }, nil, ""},
		"in plain text": {"sha256", "aes", func(p *gosnmp.SnmpPacket, u *gosnmp.UsmSecurityParameters) { p.MsgFlags = gosnmp.AuthNoPriv }, nil, "less protected"},
		"another user":  {"sha256", "aes", func(p *gosnmp.SnmpPacket, u *gosnmp.UsmSecurityParameters) { u.UserName = "somebody" }, nil, "not signed"},
		"another key": {"sha256", "aes", func(p *gosnmp.SnmpPacket, u *gosnmp.UsmSecurityParameters) {
			u.AuthenticationPassphrase, u.SecretKey = "a wrong password", nil
		}, nil, "not signed"},
		"one bit":                      {"sha256", "aes", nil, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "not signed"},
		"another user, unsigned level": {"", "", func(p *gosnmp.SnmpPacket, u *gosnmp.UsmSecurityParameters) { u.UserName = "somebody" }, nil, "not of this user"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveV3(t, user(k.auth, k.priv))
			d := newDevice(t, client(t, Options{Address: s.addr, Version: "3", User: "firebreak", Auth: k.auth, Priv: k.priv}), own(t, 1, "timeout = \"200ms\""))
			s.mu.Lock()
			s.change, s.raw = k.change, k.raw
			s.mu.Unlock()
			got, err := d.poll(long)
			if wantErr(t, err, k.err); got["a.1"] != "bad:comm" {
				t.Errorf("reading %s", got["a.1"])
			}
			s.mu.Lock()
			s.change, s.raw = nil, nil
			s.mu.Unlock()
			if got, err := d.poll(long); got["a.1"] != "7 good" {
				t.Errorf("afterwards %v, %v", got, err)
			}
		})
	}
}

// TestWrongKey of ours: the agent does not answer, and the poll says so.
func TestWrongKey(t *testing.T) {
	s := serveV3(t, user("sha256", "aes"))
	c := client(t, Options{Address: s.addr, Version: "3", User: "firebreak", Auth: "sha256", Priv: "aes", Secrets: func() (Secrets, error) {
		return Secrets{AuthKey: "another password", PrivKey: "other letters..."}, nil
	}})
	d := newDevice(t, c, own(t, 1, "timeout = \"50ms\""))
	if got, err := d.poll(long); err == nil || got["a.1"] != "bad:comm" {
		t.Errorf("%v, %v", got, err)
	}
	c.opt.Secrets = func() (Secrets, error) { return Secrets{AuthKey: "short", PrivKey: "other letters..."}, nil }
	_, err := d.poll(long)
	wantErr(t, err, "see the file that auth_key names")
}

// crash is an answer over which gosnmp 1.43.2 panics when its user has a key: it says that it is signed, and ends before
// the signature does.
func crash() []byte {
	return []byte{0x30, 0x24, 2, 1, 3,
		0x30, 13, 2, 1, 1, 2, 2, 0x05, 0xdc, 4, 1, 1, 2, 1, 3, // message 1, 1500 bytes, signed, by a user
		4, 16, 0x30, 14, 4, 0, 2, 1, 0, 2, 1, 0, 4, 0, 4, 0, 4, 0} // no engine, no user, no signature
}

// TestPanic: a panic of the library, and one on our side of it, costs its points and no neighbour's, and they come back (S22).
func TestPanic(t *testing.T) {
	a, other := serveV3(t, user("sha256", "aes")), serve(t, gosnmp.Version2c)
	other.fill(1)
	a.set(func([]byte) []byte { return crash() })
	signed := Options{Address: a.addr, Version: "3", User: "firebreak", Auth: "sha256", Priv: "aes"}
	crashing := newDevice(t, client(t, signed), own(t, 1, ""))
	_, err := crashing.poll(long)
	if wantErr(t, err, "the library panicked"); err != nil && len(err.Error()) > 300 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
	ours := client(t, Options{Address: other.addr})
	secrets := ours.opt.Secrets
	var mu sync.Mutex
	ours.opt.Secrets = func() (Secrets, error) { mu.Lock(); defer mu.Unlock(); return secrets() }
	good := secrets
	secrets = func() (Secrets, error) { panic("on purpose") }
	var devices []bus.Device
	for i, c := range []*Client{client(t, signed), ours, client(t, Options{Address: other.addr})} {
		dev := sensors.Device{ID: sensors.DeviceID(i), Name: string(rune('a' + i)), Poll: 20 * time.Millisecond}
		p := own(t, 1, "")
		points := p.Expand(dev, time.Minute)
		for k := range points {
			points[k].ID = sensors.PointID(100*i + k)
		}
		u, err := New(c, p, points)
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, bus.Device{Dev: dev, Part: bus.Part{Points: points, Poller: u}})
	}
	b, err := bus.New("snmp", sensors.NewClock(), devices, bus.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lost := sensors.BadQuality(sensors.Comm)
	untilBus(t, b, []func(seen map[sensors.PointID]sensors.Quality) bool{
		func(seen map[sensors.PointID]sensors.Quality) bool {
			return seen[0] == lost && seen[100] == lost && seen[200] == sensors.GoodQuality && b.Stats().Panics > 0
		},
		func(seen map[sensors.PointID]sensors.Quality) bool {
			mu.Lock()
			defer mu.Unlock()
			secrets = good
			a.set(nil)
			return seen[0] == sensors.GoodQuality && seen[100] == sensors.GoodQuality && seen[200] == sensors.GoodQuality
		},
	})
}

// untilBus runs b until each of steps was true, one after the other.
func untilBus(t *testing.T, b *bus.Bus, steps []func(map[sensors.PointID]sensors.Quality) bool) {
	t.Helper()
	ctx, stop := contextWithin(t, time.Minute)
	defer stop()
	seen := map[sensors.PointID]sensors.Quality{}
	err := b.Run(ctx, func(x sensors.Batch) {
		for _, r := range x.Readings {
			seen[r.Point] = r.Quality
		}
		for len(steps) > 0 && steps[0](seen) {
			steps = steps[1:]
		}
		if len(steps) == 0 {
			stop()
		}
	})
	if err != nil || len(steps) > 0 {
		t.Errorf("%d steps were not reached, %v: %v", len(steps), err, seen)
	}
}
