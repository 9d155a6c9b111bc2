package snmp

import (
	"testing"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"github.com/gosnmp/gosnmp"
)

// FuzzAnswer: whatever a datagram holds, it is decoded, judged and read without a panic of ours, and a value is good only
// if it stands in a message that answers the request.
func FuzzAnswer(f *testing.F) {
	a := &agent{t: f, objects: map[string]gosnmp.SnmpPDU{}, refuse: map[string]gosnmp.SNMPError{}, v: gosnmp.Version2c}
	a.set(sysObjectID, gosnmp.ObjectIdentifier, "1.3.6.1.4.1.318")
	a.set(sysUpTime, gosnmp.TimeTicks, uint32(1))
	a.fill(2, "1.3.6.1.7.1")
	p := own(f, 2, "")
	objects := []string{sysObjectID, sysUpTime, "1.3.6.1.9.1.0", "1.3.6.1.9.2.0", "1.3.6.1.8.1.0"}
	q := &gosnmp.SnmpPacket{Version: gosnmp.Version2c, Community: "public", PDUType: gosnmp.GetRequest, RequestID: 7}
	for _, o := range objects {
		q.Variables = append(q.Variables, gosnmp.SnmpPDU{Name: "." + o, Type: gosnmp.Null})
	}
	f.Add(a.reply(q))
	f.Add(crash())
	f.Add(a.encode(q, gosnmp.TooBig, 0, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		g := &gosnmp.GoSNMP{Version: gosnmp.Version2c}
		got := decode(g, b)
		c := NewClient(Options{Address: "fuzz", Version: "2c"})
		if got == nil || c.genuine(g, got) != nil {
			return
		}
		points := p.Expand(sensors.Device{Name: "dev"}, 1)
		u, err := New(c, p, points)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range u.objects {
			if i < len(got.Variables) {
				got.Variables[i].Name = "." + o // the content of the values is what is fuzzed here
			}
		}
		if u.take(u.objects[:min(len(got.Variables), len(u.objects))], got, 0) != nil {
			return
		}
		whole, _ := u.judge()
		for i := range p.Channels {
			r := u.rawOf(&p.Channels[i], 0)
			if r.Fail == sensors.NoReason && p.Channels[i].Rows == "" {
				if _, q := p.Channels[i].DecodeText(r.Text); q.Usable() && got.Variables[i+2].Value == nil {
					t.Errorf("a good value of nothing: %q, %v", r.Text, whole)
				}
			}
		}
		for _, v := range got.Variables {
			held := valueOf(v, 0)
			if held.form == object && after(held.text, held.text) {
				t.Errorf("%q comes behind itself", held.text)
			}
			_ = profile.Below(held.text, "1.3")
		}
	})
}

// decode is what the library makes of a datagram; its panics are its own, and send recovers them.
func decode(g *gosnmp.GoSNMP, b []byte) (p *gosnmp.SnmpPacket) {
	defer func() {
		if recover() != nil {
			p = nil
		}
	}()
	p, err := g.SnmpDecodePacket(append([]byte(nil), b...))
	if err != nil {
		return nil
	}
	return p
}
