package config

import (
	"net"
	"net/url"
	"strings"

	"firebreak/agent/wire/secret"
)

// broker reads one [[broker]].
func (c *compiler) broker(t *Table) {
	name, ok := declare(c, t, "broker", c.brokers, len(c.cfg.Brokers))
	if _, dup := c.targets[name]; ok && dup {
		t.Fault("name", "there is a target named %q: hooks name both in needs, so the names must differ", name)
	}
	t.Require("url", "stands")
	b := Broker{Name: name, At: t.at, URL: c.brokerURL(t), Stands: c.stands(t), PlainText: t.Bool("plain_text", false), Sessions: int(t.Int("sessions", 2, 1, 2))}
	for key, to := range map[string]*string{"ca": &b.CA, "cert": &b.Cert, "key": &b.Key, "username_file": &b.UsernameFile, "password_file": &b.PasswordFile,
		"telemetry_cert": &b.TelemetryCert, "telemetry_key": &b.TelemetryKey} {
		*to = c.secretFile(t, key)
	}
	if (b.Cert == "") != (b.Key == "") {
		t.Fault("cert", "cert and key come together: give both files or none")
	}
	if (b.TelemetryCert == "") != (b.TelemetryKey == "") {
		t.Fault("telemetry_cert", "telemetry_cert and telemetry_key come together: give both files or none")
	}
	if b.TelemetryCert != "" && b.Sessions == 1 {
		t.Fault("telemetry_cert", "there is no session of its own for telemetry: take it out, or sessions = 1")
	}
	c.plainText(t, &b)
	c.end(t)
	if ok {
		c.cfg.Brokers = append(c.cfg.Brokers, b)
	}
}

func (c *compiler) brokerURL(t *Table) string {
	s := t.String("url", "")
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Path != "" && u.Path != "/":
		t.Fault("url", `it must be mqtts://host:port or mqtt://host:port, such as "mqtts://hub.b1:8883"`)
	case u.User != nil:
		t.Fault("url", "a name or password does not belong into the URL, which is logged: use username_file and password_file")
	case u.Port() == "" && u.Scheme == "mqtts":
		return "mqtts://" + u.Host + ":8883"
	case u.Port() == "":
		return "mqtt://" + u.Host + ":1883"
	}
	return strings.TrimSuffix(s, "/")
}

// plainText holds a broker to TLS, but on this very host: what crosses a network is encrypted, or the
// file says outright that it is not.
func (c *compiler) plainText(t *Table, b *Broker) {
	plain := strings.HasPrefix(b.URL, "mqtt:")
	switch {
	case plain && (b.CA != "" || b.Cert != "" || b.TelemetryCert != ""):
		t.Fault("url", "mqtt:// is not encrypted, so ca and cert would have no effect: use mqtts://")
	case plain && !b.PlainText && !b.local():
		t.Fault("url", "mqtt:// sends everything in plain text over the network: use mqtts://, or say plain_text = true if that is meant")
	case b.PlainText && b.URL != "" && (!plain || b.local()):
		t.Fault("plain_text", "this broker is not reached in plain text over a network: take it out")
	}
}

// local tells whether the broker is on this host.
func (b *Broker) local() bool {
	u, err := url.Parse(b.URL)
	if err != nil {
		return false
	}
	return localHost(u.Hostname())
}

// localHost tells whether a host of an address is this machine.
func localHost(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback() || host == "localhost"
}

// secretFile reads the path of a file that is read while the agent runs.
func (c *compiler) secretFile(t *Table, key string) string {
	s := t.String(key, "")
	if s != "" && !secret.Good(s) {
		t.Fault(key, "%q must be the absolute path of a file, or credential:NAME for one that systemd hands in", s)
	}
	return s
}

// telling reads what is said of all brokers alike.
func (c *compiler) telling(t *Table) {
	c.cfg.SigningKey, c.cfg.TrustedKeys = c.secretFile(t, "signing_key"), c.secretFile(t, "trusted_keys")
	if c.cfg.SignTelemetry = t.Bool("sign_telemetry", false); c.cfg.SignTelemetry && c.cfg.SigningKey == "" {
		t.Fault("sign_telemetry", "there is no signing_key to sign with")
	}
}

// checkBrokers finds brokers of hooks that the file has not. One of them that works is enough, so they
// are not among the hook's needs.
func (c *compiler) checkBrokers() {
	for i := range c.cfg.Hooks {
		for _, n := range c.cfg.Hooks[i].brokers() {
			lookup(c, c.hookTabs[i].itemPos("brokers", n), "broker", n, c.brokers)
		}
	}
}
