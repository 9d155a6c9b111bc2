package hub

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"firebreak/plugins/reread"
)

// Rights are MQTT filters: what a user may publish and subscribe to.
type Rights struct{ Write, Read []string }

// Users gives the rights of who has a certificate; false: none at all. It is asked at each connection.
type Users func(commonName string) (Rights, bool)

// TLS are the files of a hub: its certificate, and the authority of those whom it lets in.
type TLS struct{ Cert, Key, CA string }

// forClients asks each client for a certificate of the authority. The hub's own is read at each
// connection, so that it can be replaced.
func (t *TLS) forClients() (*tls.Config, error) {
	pair, pool, err := t.read()
	if err != nil {
		return nil, err
	}
	files := reread.New(func() (*tls.Certificate, error) { p, _, err := t.read(); return p, err })
	present := func() (*tls.Certificate, error) {
		if p, have, _ := files.Get(); have {
			return p, nil
		}
		return pair, nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, RootCAs: pool,
		GetCertificate:       func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return present() },
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return present() }}, nil
}

// forNodes lets in, and joins, none but the named ones: a certificate of the authority alone would make a
// node of each agent.
func (t *TLS) forNodes(peers []string) (*tls.Config, error) {
	c, err := t.forClients()
	if err != nil {
		return nil, err
	}
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 || !slices.Contains(peers, s.PeerCertificates[0].Subject.CommonName) {
			return errors.New("the certificate is that of no node of this cluster")
		}
		return nil
	}
	return c, nil
}

func (t *TLS) read() (*tls.Certificate, *x509.CertPool, error) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("the hub's certificate: %w", err)
	}
	ca, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, nil, fmt.Errorf("the authority of the clients: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, nil, fmt.Errorf("the authority of the clients: %s holds no certificate", t.CA)
	}
	return &pair, pool, nil
}

// binder binds each session to the certificate of its connection. Without it any certificate could take
// over any session: the server ends the old one.
type binder struct {
	server *server.Server
	users  Users
	secret string
	log    *slog.Logger
}

// Check is called for each client before it has a session.
func (b *binder) Check(c server.ClientAuthentication) bool {
	state := c.GetTLSConnectionState()
	if state == nil { // the listener takes nothing without TLS: it is from inside, or refused
		return c.GetOpts().Password == b.secret
	}
	if len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return false
	}
	name := state.PeerCertificates[0].Subject.CommonName
	rights, known := b.users(name)
	if !known || name == "" {
		b.log.Warn("a certificate without rights is refused: trust its key, or name it in a [[hub.user]]", "user", name, "from", c.RemoteAddress())
		return false
	}
	id, err := b.clientID(c.GetID())
	if err != nil || !b.owns(name, id) {
		b.log.Warn("a client id that is not that of its certificate is refused", "user", name, "id", id, "from", c.RemoteAddress(), "err", err)
		return false
	}
	c.RegisterUser(&server.User{Username: name, Permissions: permissions(rights)})
	return true
}

// owns tells whether a client id is of a user: its name; that and a colon, which no name holds, with whatever
// behind it; or the id of an agent that has met another of its name (S13), which nobody else has for a name.
func (b *binder) owns(name, id string) bool {
	rest, ours := strings.CutPrefix(id, name)
	switch {
	case !ours:
		return false
	case rest == "" || rest[0] == ':':
		return true
	}
	instance, twin := strings.CutPrefix(rest, "-")
	if _, err := hex.DecodeString(instance); !twin || err != nil || len(instance) != 8 {
		return false
	}
	_, taken := b.users(id)
	return !taken
}

// clientID asks the server's own monitor: what authenticates a client is not told its id.
func (b *binder) clientID(cid uint64) (string, error) {
	z, err := b.server.Connz(&server.ConnzOptions{CID: cid})
	if err != nil {
		return "", err
	}
	if len(z.Conns) != 1 || z.Conns[0].MQTTClient == "" {
		return "", errors.New("no MQTT client")
	}
	return z.Conns[0].MQTTClient, nil
}

// OwnFilter is what a subscription with QoS 1 needs beside its own filter: a subject of the gateway.
const OwnFilter = "$MQTT/sub/#"

// permissions maps topics to subjects, as the gateway does.
func permissions(r Rights) *server.Permissions {
	return &server.Permissions{Publish: &server.SubjectPermission{Allow: Subjects(r.Write)},
		Subscribe: &server.SubjectPermission{Allow: Subjects(append(slices.Clone(r.Read), OwnFilter))}}
}

// Subjects are the NATS subjects of MQTT filters. One that ends in /# holds its parent too.
func Subjects(filters []string) []string {
	out := []string{}
	for _, f := range filters {
		s := strings.NewReplacer("/", ".", "+", "*").Replace(f)
		if base, deep := strings.CutSuffix(s, ".#"); deep {
			out = append(out, base, base+".>")
			continue
		}
		if s == "#" {
			s = ">"
		}
		out = append(out, s)
	}
	return out
}
