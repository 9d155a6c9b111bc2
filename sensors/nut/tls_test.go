package nut

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// certificate makes one of 127.0.0.1 that signs itself, and the file of its authority.
func certificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// serveTLS answers STARTTLS with answer, and with TLS behind it.
func serveTLS(t *testing.T, cert tls.Certificate, answer string) (addr string, plain func() []string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	var mu sync.Mutex
	var got []string
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				b := make([]byte, 64)
				n, _ := c.Read(b)
				mu.Lock()
				got = append(got, string(b[:n]))
				mu.Unlock()
				fmt.Fprint(c, answer)
				s := &upsd{say: good}
				s.talk(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}}))
			})
		}
	})
	return ln.Addr().String(), func() []string { mu.Lock(); defer mu.Unlock(); return got }
}

// TestStartTLS: with starttls nothing is asked before the way is encrypted, and never without.
func TestStartTLS(t *testing.T) {
	cert, ca := certificate(t)
	_, stranger := certificate(t)
	noPEM := filepath.Join(t.TempDir(), "no.pem")
	if err := os.WriteFile(noPEM, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct {
		answer, ca, err string
		now             func() time.Time
	}{
		{"OK STARTTLS\n", ca, "", nil},
		{"OK STARTTLS\n", stranger, "certificate", nil},
		{"OK STARTTLS\n", ca, "expired", func() time.Time { return time.Now().Add(48 * time.Hour) }},
		{"OK STARTTLS\n", noPEM, "no certificate in PEM form", nil},
		{"OK STARTTLS\n", noPEM + "x", "no such file", nil},
		{"ERR FEATURE-NOT-CONFIGURED\n", ca, "set CERTFILE in upsd.conf", nil},
		{"OK STARTTLS\n" + list("a", "ups.status", "OB"), ca, "not to be trusted", nil},
	} {
		addr, plain := serveTLS(t, cert, k.answer)
		u := newUPS(t, client(t, Options{Address: addr, StartTLS: true, CA: k.ca, Now: k.now}), "a")
		for range 2 { // the second one is asked on the same connection
			got, err := u.poll(long)
			if k.err != "" {
				wantErr(t, err, k.err)
				break
			}
			if err != nil || got["status.on-line"] != "1 good" {
				t.Errorf("%v, %v", got, err)
			}
		}
		if p := plain(); len(p) != 1 || p[0] != "STARTTLS\n" {
			t.Errorf("%q: in plain text it sent %q", k.answer, p)
		}
	}
}
