package config

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Hub is what `firebreak hub` serves: a site's broker.
type Hub struct {
	Name           string // unique in its cluster
	Listen         string // host:port
	Dir            string
	Cert, Key, CA  string // PEM files; all empty: plain text, on this host alone
	Trusted        string // file of the keys of those who have rights by their role
	Control        string // path of the socket that hands out the history
	MaxConnections int
	MaxStore       int64
	HistoryAge     time.Duration // 0: none is kept
	Users          []HubUser
	Cluster        *HubCluster // nil: alone
}

// HubUser is somebody with rights of his own, by the common name of a certificate.
type HubUser struct {
	Name        string
	Read, Write []string // MQTT filters
}

// HubCluster are the other hubs of the site.
type HubCluster struct {
	Name, Listen string
	Routes       []string // host:port
	Nodes        []string // common names of their certificates
}

const (
	defHubDir      = "/var/lib/firebreak-hub"
	defHubControl  = "/run/firebreak-hub/control.sock"
	defHubConns    = 10_000
	defHubStore    = 4 << 30
	minHubStore    = 256 << 20
	maxHubStore    = 1 << 40
	defHubHistory  = 30 * 24 * time.Hour
	maxHubHistory  = 10 * 365 * 24 * time.Hour
	maxClusterSize = 9
)

// hubAlone are the keys of a file that serves a hub and runs no agent.
var hubAlone = []string{"hub", "site", "trusted_keys"}

// ParseHub reads the hub of a file. The file may be an agent's: then all of it must be without a fault. Or
// it holds site, trusted_keys and hub alone.
func ParseHub(file string, data []byte, k Kinds) (*Hub, []Fault) {
	src := &source{file: file}
	if len(data) > maxFile {
		return nil, []Fault{{File: file, Text: fmt.Sprintf("the file is larger than %d bytes: it cannot be a configuration", maxFile)}}
	}
	root := parseTree(src, bytes.TrimPrefix(data, []byte("\ufeff")), "")
	switch {
	case root == nil:
		return nil, src.sorted()
	case slices.ContainsFunc(root.keys, func(key string) bool { return !slices.Contains(hubAlone, key) }):
		c, faults := Parse(file, data, k)
		if len(faults) == 0 && c.Hub == nil {
			faults = []Fault{{file, 1, 1, "there is no [hub] in this file: nothing to serve"}}
		}
		if len(faults) > 0 {
			return nil, faults
		}
		return c.Hub, nil
	}
	c := &compiler{source: src, kinds: k, root: root, cfg: &Config{File: file}}
	root.Require("site", "hub")
	c.cfg.Site = c.name(root, "site")
	c.cfg.TrustedKeys = c.secretFile(root, "trusted_keys")
	c.hub(root)
	c.end(root)
	if len(src.faults) > 0 {
		return nil, src.sorted()
	}
	return c.cfg.Hub, nil
}

// hub reads [hub].
func (c *compiler) hub(root *Table) {
	t := root.Table("hub")
	if t == nil {
		return
	}
	t.Require("name", "listen")
	h := &Hub{Name: c.name(t, "name"), Listen: c.listen(t, "listen"), Dir: c.path(t, "directory", defHubDir), Control: c.path(t, "control", defHubControl), Trusted: c.cfg.TrustedKeys,
		MaxConnections: int(t.Int("max_connections", defHubConns, 1, 60_000)),
		MaxStore:       t.Bytes("store_max", defHubStore, minHubStore, maxHubStore),
		HistoryAge:     t.Duration("history_age", defHubHistory, 0, maxHubHistory)}
	if h.MaxStore == 0 {
		t.Fault("store_max", "a broker without a store keeps no retained alarm: give it %s at least", showBytes(minHubStore))
	}
	for key, to := range map[string]*string{"cert": &h.Cert, "key": &h.Key, "ca": &h.CA} {
		*to = c.secretFile(t, key)
	}
	c.hubSecurity(t, h)
	have := map[string]int{}
	for _, u := range t.Tables("user") {
		c.hubUser(u, h, have)
	}
	c.hubCluster(t, h)
	c.end(t)
	c.cfg.Hub = h
}

// hubSecurity: who crosses a network shows a certificate. On this host alone plain text will do.
func (c *compiler) hubSecurity(t *Table, h *Hub) {
	given := 0
	for _, f := range []string{h.Cert, h.Key, h.CA} {
		if f != "" {
			given++
		}
	}
	host, _, _ := net.SplitHostPort(h.Listen)
	ip := net.ParseIP(host)
	switch {
	case given != 0 && given != 3:
		t.Fault("cert", "cert, key and ca come together: the hub's certificate, its key, and the authority of all who may connect")
	case given == 0 && h.Listen != "" && (ip == nil || !ip.IsLoopback()):
		t.Fault("listen", "without cert, key and ca everybody could read and forge everything: give them, or listen on 127.0.0.1 alone")
	case given == 3 && h.Trusted == "":
		t.Fault("cert", "nobody would have any rights: name a file of trusted_keys at the top, with the agents, consumers and persons of the site")
	}
}

func (c *compiler) hubUser(t *Table, h *Hub, have map[string]int) {
	t.Require("name")
	name := t.String("name", "")
	if _, dup := have[name]; dup || name != "" && !goodName(strings.ReplaceAll(name, ":", ""), true) {
		t.Fault("name", "%q cannot be the name of a user, or is there twice: it is the common name of one certificate", name)
	}
	have[name] = 1
	u := HubUser{Name: name, Read: t.Strings("read"), Write: t.Strings("write")}
	if len(u.Read)+len(u.Write) == 0 {
		t.Fault("name", "%q may neither read nor write: give filters, such as read = [\"firebreak/1/alarm/#\"]", name)
	}
	for key, filters := range map[string][]string{"read": u.Read, "write": u.Write} {
		for _, f := range filters {
			if !goodFilter(f) {
				c.fault(t.itemPos(key, f), "%q is no topic filter: use levels of letters, digits, -, _ and :, + for one level and # for all at the end, but not first", f)
			}
		}
	}
	c.end(t)
	h.Users = append(h.Users, u)
}

// goodFilter: nothing that means more in a broker than it does in MQTT, and no topic of the broker's own, which
// a wildcard at the beginning would take in.
func goodFilter(f string) bool {
	levels := strings.Split(f, "/")
	for i, l := range levels {
		switch {
		case i > 0 && (l == "+" || l == "#" && i == len(levels)-1):
		case l == "" || strings.Trim(l, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_:") != "":
			return false
		}
	}
	return len(f) <= 256
}

func (c *compiler) hubCluster(t *Table, h *Hub) {
	k := t.Table("cluster")
	if k == nil {
		return
	}
	k.Require("name", "listen", "routes")
	out := &HubCluster{Name: c.name(k, "name"), Listen: c.listen(k, "listen"), Routes: k.Strings("routes"), Nodes: k.Strings("nodes")}
	for _, r := range out.Routes {
		if host, port, err := net.SplitHostPort(r); err != nil || host == "" || port == "" {
			c.fault(k.itemPos("routes", r), `%q must be the address of another hub, such as "hub2.b1.example:6222"`, r)
		}
	}
	if n := len(out.Routes) + 1; len(out.Routes) > 0 && (n < 3 || n > maxClusterSize) {
		k.Fault("routes", "a cluster of %d hubs is none that survives one of them: name the two others of three, at most %d in all", n, maxClusterSize)
	}
	host, _, _ := net.SplitHostPort(out.Listen)
	ip := net.ParseIP(host)
	switch {
	case h.Cert == "" && out.Listen != "" && (ip == nil || !ip.IsLoopback()):
		k.Fault("listen", "without cert, key and ca of the hub anybody could join the cluster: give them")
	case h.Cert != "" && len(out.Nodes) == 0:
		k.Fault("nodes", "name the certificates of the hubs by their common names: any other could join the cluster otherwise")
	}
	c.end(k)
	h.Cluster = out
}
