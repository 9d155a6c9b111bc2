package wire

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// A signature covers the bytes of the message as they are sent, not a form that both sides must
// write alike: what is verified is what is parsed. It stands last:
//
//	{...,"key_id":"0123456789abcdef","sig":"BASE64"}
//
// and is made by ed25519 over three lines: the context, the topic from "firebreak/1" on, and the
// payload up to and without `,"sig":`. The topic is in it, so that a message of a drill, or of one
// alarm, cannot be played under the topic of another.
const signContext = "firebreak signature 1"

// Errors of Verify. All of them mean: act on nothing that the message says.
var (
	ErrUnsigned   = errors.New("the message is not signed")
	ErrUnknownKey = errors.New("the message is signed with a key that is not trusted")
	ErrForged     = errors.New("the signature does not fit the message")
)

const (
	keyField = `,"key_id":"`
	sigField = `,"sig":"`
	sigTail  = `"}`
	sigLen   = 86 // base64 of 64 bytes, without padding
	keyIDLen = 16
)

// Signed tells whether an agent with a key signs the messages of a class. Readings are signed when
// the configuration says so: there are thousands of them.
func (c Class) Signed() bool { return c != State }

// Signer signs in the name of one key. It holds no state and may be shared.
type Signer struct {
	id  string
	key ed25519.PrivateKey
}

// NewSigner takes a private key.
func NewSigner(key ed25519.PrivateKey) *Signer {
	return &Signer{KeyID(key.Public().(ed25519.PublicKey)), key}
}

// KeyID is the name of the key in messages.
func (s *Signer) KeyID() string { return s.id }

// Public is what others need to verify.
func (s *Signer) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// Sign returns the message with key_id and sig. A nil Signer returns it as it is, and so it is with
// what is no JSON object.
func (s *Signer) Sign(topic string, payload []byte) []byte {
	if s == nil || len(payload) < 2 || payload[len(payload)-1] != '}' {
		return payload
	}
	out := make([]byte, 0, len(payload)+len(keyField)+keyIDLen+1+len(sigField)+sigLen+len(sigTail))
	out = append(out, payload[:len(payload)-1]...)
	out = append(append(append(out, keyField...), s.id...), '"')
	sig := ed25519.Sign(s.key, signedText(topic, out))
	out = append(out, sigField...)
	out = base64.RawStdEncoding.AppendEncode(out, sig)
	return append(out, sigTail...)
}

// signedText is what the signature covers.
func signedText(topic string, body []byte) []byte {
	if i := strings.Index(topic, Root+"/"); i > 0 { // a bridge may put something before it
		topic = topic[i:]
	}
	b := make([]byte, 0, len(signContext)+len(topic)+len(body)+2)
	b = append(append(b, signContext...), '\n')
	b = append(append(b, topic...), '\n')
	return append(b, body...)
}

// Verify tells whose key has signed the message. Whether that one may say what it says is for the
// caller: Key.Speaks.
func (r *Ring) Verify(topic string, payload []byte) (Key, error) {
	n := len(payload) - len(sigTail) - sigLen
	cut := n - len(sigField)
	id := cut - 1 - keyIDLen
	if id < len(keyField) || !bytes.HasSuffix(payload, []byte(sigTail)) || string(payload[cut:n]) != sigField ||
		payload[cut-1] != '"' || string(payload[id-len(keyField):id]) != keyField {
		return Key{}, ErrUnsigned
	}
	sig, err := base64.RawStdEncoding.Strict().DecodeString(string(payload[n : n+sigLen]))
	if err != nil {
		return Key{}, ErrForged
	}
	k, ok := r.key(string(payload[id : id+keyIDLen]))
	if !ok {
		return Key{}, fmt.Errorf("%w: %q", ErrUnknownKey, payload[id:id+keyIDLen])
	}
	if !ed25519.Verify(k.Public, signedText(topic, payload[:cut]), sig) {
		return Key{}, ErrForged
	}
	return k, nil
}

// Key is the signer's public half, without a name.
func (s *Signer) Key() Key { return Key{ID: s.id, Role: RoleAgent, Public: s.Public()} }

// Signature is the end of a signed message, for those who read its fields.
type Signature struct {
	KeyID string `json:"key_id"`
	Sig   string `json:"sig"`
}
