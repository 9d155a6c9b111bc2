package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"firebreak/agent/wire/secret"
	"firebreak/plugins"
)

func newSigner(t testing.TB) *Signer {
	t.Helper()
	text, s, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseSigner(text); err != nil || back.KeyID() != s.KeyID() {
		t.Fatalf("read back: %v", err)
	}
	return s
}

func trusted(s *Signer, role Role, name string) Key {
	k := s.Key()
	k.Role, k.Name = role, name
	return k
}

// A signed message verifies as it was sent, under its topic and behind a bridge's prefix; with any
// byte changed, another topic or another key it does not.
func TestSignature(t *testing.T) {
	s, other := newSigner(t), newSigner(t)
	ring := NewRing(trusted(s, RoleAgent, "site/agent"), trusted(newSigner(t), RoleAgent, "site/agent"))
	e := NewEncoder(Identity{Site: "site", Zone: "zone", Agent: "agent", Instance: "i", Epoch: 1}, Life{}, nil, nil)
	m, err := e.Encode(plugins.Update{Alarm: &plugins.AlarmState{Name: "a", Active: true, Cause: `tricky ","sig":"x`}})
	if err != nil {
		t.Fatal(err)
	}
	signed := s.Sign(m.Topic, m.Payload)
	var p struct {
		AlarmMessage
		Signature
	}
	if err := json.Unmarshal(signed, &p); err != nil || p.KeyID != s.KeyID() || p.Hazard != "a" {
		t.Fatalf("%v: %s", err, signed)
	}
	for _, topic := range []string{m.Topic, "bridged/" + m.Topic} {
		if k, err := ring.Verify(topic, signed); err != nil || !k.Speaks(&p.Head) {
			t.Errorf("%s: %v %v", topic, k, err)
		}
	}
	drill := strings.Replace(m.Topic, "/alarm/", "/drill/alarm/", 1)
	if _, err := ring.Verify(drill, signed); !errors.Is(err, ErrForged) {
		t.Errorf("under a topic of drills: %v", err)
	}
	for i := range signed {
		bad := bytes.Clone(signed)
		bad[i] ^= 1
		if _, err := ring.Verify(m.Topic, bad); err == nil {
			t.Fatalf("byte %d changed, and it verifies: %s", i, bad)
		}
	}
	for n := range signed {
		if _, err := ring.Verify(m.Topic, signed[:n]); err == nil {
			t.Fatalf("cut after %d bytes, and it verifies", n)
		}
	}
	for what, c := range map[string]struct {
		payload []byte
		ring    *Ring
		want    error
	}{
		"unsigned":             {m.Payload, ring, ErrUnsigned},
		"a key nobody trusts":  {other.Sign(m.Topic, m.Payload), ring, ErrUnknownKey},
		"no keys":              {signed, nil, ErrUnknownKey},
		"signed twice":         {s.Sign(m.Topic, signed), NewRing(trusted(s, RoleAgent, "x/y")), nil},
		"something behind it":  {append(bytes.Clone(signed), ' '), ring, ErrUnsigned},
		"fields put behind it": {append(bytes.Clone(signed[:len(signed)-1]), `,"active":false}`...), ring, ErrUnsigned},
	} {
		if _, err := c.ring.Verify(m.Topic, c.payload); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", what, err, c.want)
		}
	}
	if k := trusted(s, RolePerson, "site/agent"); k.Speaks(&p.Head) {
		t.Error("a person's key speaks for an agent")
	}
	p.Agent = "agent2"
	if k := trusted(s, RoleAgent, "site/agent"); k.Speaks(&p.Head) {
		t.Error("an agent's key speaks for another")
	}
}

func TestTrustedKeys(t *testing.T) {
	a, b := newSigner(t), newSigner(t)
	la, lb := TrustLine(RoleAgent, "site/agent", a.Public()), TrustLine(RolePerson, "kim", b.Public())
	ring, err := ParseRing(strings.NewReader("# comment\n\n" + la + "\n  " + lb + "\n" + la + "\n"))
	if err != nil || ring.Len() != 2 {
		t.Fatalf("%v %v", ring, err)
	}
	for bad, want := range map[string]string{
		"agent site/agent":                           "a line is",
		"robot x " + strings.Fields(la)[2]:           "not one of",
		"agent agent " + strings.Fields(la)[2]:       "write SITE/AGENT",
		la + "x":                                     "the key is none",
		strings.Replace(la, "ed25519:", "rsa:", 1):   "the key is none",
		la + "\nperson kim " + strings.Fields(la)[2]: "2: this key is that of agent site/agent already",
	} {
		if _, err := ParseRing(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

// A private key that others may read is refused; one of systemd's is found by its name.
func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	text, s, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "agent.key")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for _, path := range []string{file, "credential:agent.key"} {
		if got, err := ReadSigner(path); err != nil || got.KeyID() != s.KeyID() {
			t.Errorf("%s: %v", path, err)
		}
		if !secret.Good(path) {
			t.Errorf("%s is refused", path)
		}
	}
	for _, path := range []string{"agent.key", "credential:", "credential:../agent.key", ""} {
		if secret.Good(path) {
			t.Errorf("%q is taken", path)
		}
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSigner(file); err == nil || !strings.Contains(err.Error(), "0640") {
		t.Errorf("readable by others: %v", err)
	}
	if _, err := ParseSigner([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")); err == nil {
		t.Error("garbage is a key")
	}
}

func FuzzVerify(f *testing.F) {
	s := newSigner(f)
	ring := NewRing(trusted(s, RoleAgent, "site/agent"))
	good := s.Sign("firebreak/1/alarm/s/z/a/x", []byte(`{"a":1}`))
	f.Add("firebreak/1/alarm/s/z/a/x", good)
	f.Add("", []byte(`{"key_id":"","sig":""}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		_, err := ring.Verify(topic, payload)
		if err == nil && !bytes.Equal(payload, good) {
			t.Errorf("verifies: %q", payload)
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s := newSigner(b)
	payload := append(bytes.Repeat([]byte(" "), 1000), `{"a":1}`...)
	for b.Loop() {
		s.Sign("firebreak/1/alarm/s/z/a/x", payload)
	}
}
