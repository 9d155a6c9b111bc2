package session

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"time"

	"firebreak/agent/wire/secret"
)

// Files hold what a session shows to its broker. They are read for each session, so that they can be
// changed; an empty name leaves that part out.
type Files struct {
	Username, Password string
	CA, Cert, Key      string // PEM
}

// Apply reads the files into a session's configuration. TLS is 1.2 at least; now judges certificates.
func (f Files) Apply(c *Config, now func() time.Time) error {
	var err error
	if c.Username, err = secret.Read(f.Username); err != nil {
		return fmt.Errorf("username: %w", err)
	}
	if c.Password, err = secret.Read(f.Password); err != nil {
		return fmt.Errorf("password: %w", err)
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Time: now}
	if f.CA != "" {
		pem, err := os.ReadFile(secret.Path(f.CA))
		if err != nil {
			return fmt.Errorf("ca: %w", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("ca: %s holds no certificate in PEM form", f.CA)
		}
	}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(secret.Path(f.Cert), secret.Path(f.Key))
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		c.TLS.Certificates = []tls.Certificate{pair}
	}
	return nil
}
