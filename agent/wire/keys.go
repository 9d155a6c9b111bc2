package wire

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"firebreak/agent/wire/secret"
)

// Role is who a key belongs to.
type Role string

const (
	RoleAgent    Role = "agent"    // name: SITE/AGENT
	RolePerson   Role = "person"   // gives orders
	RoleConsumer Role = "consumer" // answers alarms
)

// Key is one trusted public key.
type Key struct {
	ID     string
	Role   Role
	Name   string
	Public ed25519.PublicKey
}

// Speaks tells whether the key belongs to the agent of a message's head.
func (k Key) Speaks(h *Head) bool { return k.Role == RoleAgent && k.Name == h.Site+"/"+h.Agent }

// KeyID is the first 16 hex digits of the SHA-256 of a public key: nobody chooses it.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:])[:keyIDLen]
}

// Ring is a set of trusted keys. One name may have several: two are good while a key is rotated. It
// is never changed once it is read.
type Ring struct{ keys map[string]Key }

// NewRing makes a ring of keys.
func NewRing(keys ...Key) *Ring {
	r := &Ring{keys: map[string]Key{}}
	for _, k := range keys {
		r.keys[k.ID] = k
	}
	return r
}

func (r *Ring) key(id string) (Key, bool) {
	if r == nil {
		return Key{}, false
	}
	k, ok := r.keys[id]
	return k, ok
}

// Len is the number of keys. A nil Ring has none, and trusts nobody.
func (r *Ring) Len() int {
	if r == nil {
		return 0
	}
	return len(r.keys)
}

// Has tells whether anybody of a role is trusted.
func (r *Ring) Has(role Role) bool {
	if r == nil {
		return false
	}
	for _, k := range r.keys {
		if k.Role == role {
			return true
		}
	}
	return false
}

const (
	keyPrefix   = "ed25519:"
	maxKeys     = 20000
	maxRingFile = 4 << 20
)

// TrustLine is how a key stands in a file of trusted keys.
func TrustLine(role Role, name string, pub ed25519.PublicKey) string {
	return fmt.Sprintf("%s %s %s%s", role, name, keyPrefix, base64.RawStdEncoding.EncodeToString(pub))
}

// ParseTrust reads one line of such a file; empty lines and comments have been left out.
func ParseTrust(line string) (Key, error) {
	f := strings.Fields(line)
	if len(f) != 3 {
		return Key{}, errors.New("a line is: agent|person|consumer NAME ed25519:KEY")
	}
	k := Key{Role: Role(f[0]), Name: f[1]}
	site, agent, isAgent := strings.Cut(k.Name, "/")
	switch k.Role {
	case RoleAgent:
		if !isAgent || site == "" || agent == "" || strings.Contains(agent, "/") {
			return Key{}, fmt.Errorf("%q is no agent: write SITE/AGENT", k.Name)
		}
	case RolePerson, RoleConsumer:
	default:
		return Key{}, fmt.Errorf("%q is not one of agent, person, consumer", f[0])
	}
	raw, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimPrefix(f[2], keyPrefix))
	if err != nil || !strings.HasPrefix(f[2], keyPrefix) || len(raw) != ed25519.PublicKeySize {
		return Key{}, errors.New("the key is none that firebreak key show has printed")
	}
	k.Public, k.ID = raw, KeyID(raw)
	return k, nil
}

// ReadRing reads a file of trusted keys.
func ReadRing(path string) (*Ring, error) {
	f, err := os.Open(secret.Path(path))
	if err != nil {
		return nil, fmt.Errorf("trusted keys: %w", err)
	}
	defer f.Close()
	ring, err := ParseRing(io.LimitReader(f, maxRingFile))
	if err != nil {
		return nil, fmt.Errorf("trusted keys: %s:%w", path, err)
	}
	return ring, nil
}

// ParseRing reads trusted keys; an error begins with the number of the line.
func ParseRing(from io.Reader) (*Ring, error) {
	r := NewRing()
	s := bufio.NewScanner(from)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		k, err := ParseTrust(line)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", n, err)
		}
		if o, dup := r.keys[k.ID]; dup && (o.Role != k.Role || o.Name != k.Name) {
			return nil, fmt.Errorf("%d: this key is that of %s %s already: each has one of its own", n, o.Role, o.Name)
		}
		if r.keys[k.ID] = k; len(r.keys) > maxKeys {
			return nil, fmt.Errorf("%d: more than %d keys", n, maxKeys)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("1: %w", err)
	}
	return r, nil
}

// NewKey makes a private key, in the form in which openssl and others read it (PKCS #8, PEM).
func NewKey() (pemText []byte, s *Signer, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("new key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("new key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), NewSigner(key), nil
}

// ReadSigner reads a private key. One that others may read is refused: it signs for nobody any more.
func ReadSigner(path string) (*Signer, error) {
	at := secret.Path(path)
	fi, err := os.Stat(at)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	if fi.Mode().Perm()&0o077 != 0 && at == path { // systemd sees to its own
		return nil, fmt.Errorf("signing key %s can be read by others (mode %04o): chmod 600, and rotate it if anybody has", path, fi.Mode().Perm())
	}
	b, err := os.ReadFile(at)
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	s, err := ParseSigner(b)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", path, err)
	}
	return s, nil
}

// ParseSigner reads a private key in PEM form.
func ParseSigner(text []byte) (*Signer, error) {
	b, rest := pem.Decode(text)
	if b == nil || b.Type != "PRIVATE KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it holds no private key in PEM form: make one with firebreak key new")
	}
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a key of another kind (%T): ed25519 is needed", k)
	}
	return NewSigner(key), nil
}

// All lists the keys, by role and name.
func (r *Ring) All() []Key {
	if r == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(r.keys), func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}
