package app

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"firebreak/agent/hub"
	"firebreak/agent/uplink"
	"firebreak/agent/wire"
)

// rightsOf is what all trusted keys of a name may do together: agents of two sites may have one.
func rightsOf(keys *wire.Ring, name string) (r hub.Rights, known bool) {
	for _, k := range keys.All() {
		for _, g := range grantsOf(k) {
			if g.user == name {
				known = true
				r.Write, r.Read = append(r.Write, g.write...), append(r.Read, g.read...)
			}
		}
	}
	return r, known
}

// grant is what one user of a broker may do. A filter that ends in /# holds its parent too.
type grant struct {
	user        string
	write, read []string
}

// ACL prints an access list for a broker: one user for each session of each agent, consumer and person
// whose key is trusted, named as its certificate is (CN). Nobody else may do anything.
func ACL(w io.Writer, engine string, keys *wire.Ring) error {
	var grants []grant
	seen := map[string]bool{}
	for _, k := range keys.All() {
		if id := string(k.Role) + " " + k.Name; !seen[id] { // two keys while one is rotated
			seen[id] = true
			grants = append(grants, grantsOf(k)...)
		}
	}
	if len(grants) == 0 {
		return fmt.Errorf("no key is trusted, so nobody could be granted anything: firebreak key trust")
	}
	switch engine {
	case "mosquitto":
		return mosquittoACL(w, grants)
	case "nats":
		return natsACL(w, grants)
	}
	return fmt.Errorf("%q is not one of mosquitto, nats; firebreak hub needs none", engine)
}

func grantsOf(k wire.Key) []grant {
	tree := func(c wire.Class, rest string) string { return wire.Root + "/" + c.String() + "/" + rest }
	drill := wire.Root + "/drill/+/"
	told := []wire.Class{wire.Status, wire.Alarm, wire.Plan, wire.Event, wire.Hello, wire.State, wire.History}
	switch k.Role {
	case wire.RoleAgent:
		site, agent, _ := strings.Cut(k.Name, "/")
		own := wire.TopicName(site) + "/+/" + wire.TopicName(agent) + "/#"
		a := grant{user: agent}
		t := grant{user: agent + uplink.TelemetryClient, write: []string{tree(wire.State, own), tree(wire.History, own), drill + own}, read: []string{tree(wire.State, own)}}
		for _, c := range told {
			a.write = append(a.write, tree(c, own)) // readings too, where a broker grants one session only
			a.read = append(a.read, tree(c, wire.TopicName(site)+"/#"))
		}
		a.write = append(a.write, drill+own)
		a.read = append(a.read, tree(wire.Cmd, own), tree(wire.Receipt, own))
		return []grant{a, t}
	case wire.RoleConsumer:
		g := grant{user: k.Name, write: []string{tree(wire.Receipt, "+/+/+/"+wire.TopicName(k.Name)), tree(wire.Cmd, "#")}, read: []string{drill + "#"}}
		for _, c := range told {
			g.read = append(g.read, tree(c, "#"))
		}
		return []grant{g}
	}
	g := grant{user: k.Name, write: []string{tree(wire.Cmd, "#")}}
	for _, c := range told {
		g.read = append(g.read, tree(c, "#"))
	}
	return []grant{g}
}

const aclHead = `# Made by firebreak acl %s. Users are the CN of certificates; whoever is not here may do nothing.
%s
`

func mosquittoACL(w io.Writer, grants []grant) error {
	var b strings.Builder
	fmt.Fprintf(&b, aclHead, "mosquitto", `# In mosquitto.conf: acl_file (this file), and for the listener
#   require_certificate true
#   use_identity_as_username true
#   use_username_as_clientid true    # else any certificate may take over any session`)
	for _, g := range grants {
		fmt.Fprintf(&b, "\nuser %s\n", g.user)
		for _, f := range g.write {
			fmt.Fprintf(&b, "topic write %s\n", f)
		}
		for _, f := range g.read {
			fmt.Fprintf(&b, "topic read %s\n", f)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// natsACL maps topics to subjects, as the server's MQTT gateway does. A filter with # needs its parent
// too, and a subscription with QoS 1 a subject of the gateway's own.
func natsACL(w io.Writer, grants []grant) error {
	var b strings.Builder
	fmt.Fprintf(&b, aclHead, "nats", `# To be included into the server's configuration, with mqtt { tls { verify_and_map: true } }. A NATS server does not
# bind the client id to the certificate: an auth callout must, else any certificate may take over any session.`)
	b.WriteString("authorization {\n  users = [\n")
	for _, g := range grants {
		fmt.Fprintf(&b, "    { user: %q, permissions: {\n        publish: { allow: [%s] }\n        subscribe: { allow: [%s] } } }\n",
			"CN="+g.user, subjects(g.write), subjects(append(append([]string(nil), g.read...), hub.OwnFilter)))
	}
	b.WriteString("  ]\n}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func subjects(filters []string) string {
	out := hub.Subjects(filters)
	for i, s := range out {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}
