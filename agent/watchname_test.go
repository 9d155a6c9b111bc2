package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A watch that is given a certificate and no name comes under that certificate's, as brokers ask it: with a number behind it, so that
// it does not end the session of the consumer whose certificate it is.
func TestWatchIsNamedByItsCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "noc"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert := filepath.Join(t.TempDir(), "noc.pem")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args         []string
		name, client string
	}{
		{[]string{"--cert", cert}, "noc", "noc:watch-"},
		{[]string{"--cert", cert, "--name", "kim"}, "kim", ""},
		{nil, "watch-", ""},
		{[]string{"--cert", cert + ".gone"}, "watch-", ""},
	} {
		cfg, _, code := watchFlags(append([]string{"--broker", "mqtts://127.0.0.1:1"}, c.args...), io.Discard)
		if code != 0 || !strings.HasPrefix(cfg.Name, c.name) || !strings.HasPrefix(cfg.Brokers[0].ClientID, c.client) || (cfg.Brokers[0].ClientID == "") != (c.client == "") {
			t.Errorf("%q: exit %d, name %q, client id %q", c.args, code, cfg.Name, cfg.Brokers[0].ClientID)
		}
	}
}
