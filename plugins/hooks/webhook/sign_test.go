package webhook

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/plugins"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The example of the Standard Webhooks specification.
func TestSignIsThatOfTheSpecification(t *testing.T) {
	key, err := parseKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
	if err != nil {
		t.Fatal(err)
	}
	got := sign([][]byte{key}, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`))
	if got != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("got %s", got)
	}
}

func TestParseKeyRefuses(t *testing.T) {
	for _, text := range []string{"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64!",
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, minSecret-1)), "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, maxSecret+1))} {
		if _, err := parseKey(text); err == nil || text != "" && len(text) > 6 && strings.Contains(err.Error(), text[6:]) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, n := range []int{minSecret, maxSecret} {
		if key, err := parseKey("whsec_" + base64.StdEncoding.EncodeToString(make([]byte, n))); err != nil || len(key) != n {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// The library of the specification accepts what is sent, with the old and with the new secret while
// one is replaced; a secret that cannot be read leaves the last one in force.
func TestTargetVerifiesSignatures(t *testing.T) {
	secret := func(b byte) string {
		return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), 32)))
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	tg := newTarget(t, status(500), status(200))
	tg.Start()
	h := newHook(t, tg.URL, func(c *Config) { c.SecretFiles = []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")} })
	attempt := uint16(0)
	do := func(timeout time.Duration) plugins.Outcome {
		c := call(timeout)
		c.Key.Attempt = attempt
		attempt++
		return h.Do(t.Context(), c, nil)
	}
	want(t, do(20*time.Millisecond), plugins.Unknown, 0, "secret_files")
	if tg.count() != 0 {
		t.Fatal("sent without a signature")
	}
	file("a", secret('a'))
	check := func(signers, others string) {
		t.Helper()
		want(t, do(time.Minute), plugins.Done, 200, "")
		n := tg.count() - 1
		r, body := tg.got[n], []byte(tg.bodies[n])
		if got := strings.Fields(r.Header.Get("Webhook-Signature")); len(got) != len(signers) {
			t.Errorf("signatures %q, want those of %q", got, signers)
		}
		for _, s := range signers + others {
			wh, err := standardwebhooks.NewWebhook(secret(byte(s)))
			if err != nil {
				t.Fatal(err)
			}
			if err := wh.Verify(body, r.Header); (err == nil) != strings.ContainsRune(signers, s) {
				t.Errorf("secret %c of %s: %v", s, signers, err)
			}
			if wh.Verify(append(body, ' '), r.Header) == nil {
				t.Error("another body was accepted")
			}
		}
	}
	check("a", "bc") // b is not there yet: one signature is better than no call
	file("b", secret('b'))
	check("ab", "c")
	file("a", "whsec_bro") // being written: the last one goes on
	check("ab", "c")
	file("a", secret('c'))
	check("cb", "a")
	if err := h.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	file("b", "")
	if err := h.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "secret_files") {
		t.Errorf("probe: %v", err)
	}
}
