package config

import (
	"strings"
	"testing"
	"time"
)

const hubFile = `
site = "pangyo"
trusted_keys = "/etc/firebreak/trusted"

[hub]
name = "hub1"
listen = "10.0.5.1:8883"
cert = "/etc/firebreak/hub1.pem"
key = "credential:hub.key"
ca = "/etc/firebreak/ca.pem"

[[hub.user]]
name = "dashboard"
read = ["firebreak/1/alarm/#", "firebreak/1/+/pangyo/#"]

[hub.cluster]
name = "pangyo"
listen = "10.0.5.1:6222"
routes = ["hub2.b1.example:6222", "hub3.b1.example:6222"]
nodes = ["hub1.b1.example", "hub2.b1.example", "hub3.b1.example"]
`

// A file may serve a hub alone; what it says and what it leaves out are the hub's.
func TestHubAlone(t *testing.T) {
	h, faults := ParseHub("f", []byte(hubFile), testKinds())
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	if h.Name != "hub1" || h.Listen != "10.0.5.1:8883" || h.Key != "credential:hub.key" || h.Trusted != "/etc/firebreak/trusted" || h.Dir != defHubDir ||
		h.MaxConnections != defHubConns || h.MaxStore != defHubStore || h.HistoryAge != 30*24*time.Hour || len(h.Users) != 1 || len(h.Users[0].Read) != 2 ||
		h.Cluster == nil || len(h.Cluster.Routes) != 2 || len(h.Cluster.Nodes) != 3 {
		t.Errorf("%+v", h)
	}
}

// The file that docs/hub.md shows is one without a fault.
func TestHubDoc(t *testing.T) {
	blocks := strings.Split(string(readFile(t, "../../docs/hub.md")), "```toml\n")
	text := ""
	for _, b := range blocks[1:] {
		b, _, _ = strings.Cut(b, "```")
		text += b + "\n"
	}
	h, faults := ParseHub("docs/hub.md", []byte(text), testKinds())
	if len(faults) > 0 || h.Cluster == nil || h.Cert == "" {
		t.Errorf("%+v %v", h, faults)
	}
}

// What is wrong is told with its place, all at once; an agent's file must be right as a whole.
func TestHubFaults(t *testing.T) {
	for _, c := range []struct{ was, is, want string }{
		{`name = "hub1"`, `nam = "hub1"`, `f:5:2: [hub] needs the key "name"`},
		{`name = "hub1"`, "name = \"hub1\"\nport = 3", `unknown key "port" in [hub]`},
		{`site = "pangyo"`, ``, `needs the key "site"`},
		{`trusted_keys = "/etc/firebreak/trusted"`, ``, "nobody would have any rights"},
		{`"hub2.b1.example:6222", `, ``, "none that survives one of them"},
		{`nodes = `, `# `, "any other could join the cluster"},
		{`site = "pangyo"`, "site = \"pangyo\"\nzone = \"b1\"", `needs the key "agent"`},
	} {
		if !strings.Contains(hubFile, c.was) {
			t.Fatal(c.was)
		}
		_, faults := ParseHub("f", []byte(strings.Replace(hubFile, c.was, c.is, 1)), testKinds())
		found := false
		for _, f := range faults {
			found = found || strings.Contains(f.String(), c.want)
		}
		if !found {
			t.Errorf("%s in place of %s: no fault says %q: %v", c.is, c.was, c.want, faults)
		}
	}
	base := string(readFile(t, "testdata/base.toml"))
	if _, faults := ParseHub("f", []byte(base), testKinds()); len(faults) != 1 || !strings.Contains(faults[0].Text, "there is no [hub]") {
		t.Errorf("an agent's file without a hub: %v", faults)
	}
	h, faults := ParseHub("f", []byte(base+"\n[hub]\nname = \"hub\"\nlisten = \":1883\"\n"), testKinds())
	if len(faults) > 0 || h.Listen != "127.0.0.1:1883" {
		t.Errorf("a hub in an agent's file: %+v %v", h, faults)
	}
}
