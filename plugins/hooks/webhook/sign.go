package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
)

// Bounds of Standard Webhooks 1.0: a secret is 24 to 64 random bytes, written "whsec_" and base64.
// Two at a time let a target change from one to the other without an hour in which it takes neither.
const (
	maxKeys   = 2
	minSecret = 24
	maxSecret = 64
	prefix    = "whsec_"
)

// parseKey reads a signing secret. Its errors do not repeat it.
func parseKey(text string) ([]byte, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	key, err := base64.StdEncoding.DecodeString(rest)
	if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("no signing secret: write %s and the base64 of %d to %d random bytes on a single line", prefix, minSecret, maxSecret)
	}
	return key, nil
}

// sign makes the header webhook-signature: one signature for each key, over "id.timestamp.body".
// The id may hold slashes and the body anything: a target does not take the text apart, it makes
// the same from what it was sent.
func sign(keys [][]byte, id string, at int64, body []byte) string {
	var out []string
	for _, key := range keys {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(id + "." + strconv.FormatInt(at, 10) + "."))
		m.Write(body)
		out = append(out, "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	}
	return strings.Join(out, " ")
}
