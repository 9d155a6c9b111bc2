package nut

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors of the protocol.
const (
	errAccess     = "ERR ACCESS-DENIED\n"
	errUPS        = "ERR UNKNOWN-UPS\n"
	errVar        = "ERR VAR-NOT-SUPPORTED\n"
	errCmd        = "ERR CMD-NOT-SUPPORTED\n"
	errArgument   = "ERR INVALID-ARGUMENT\n"
	errUnknown    = "ERR UNKNOWN-COMMAND\n"
	errFeature    = "ERR FEATURE-NOT-CONFIGURED\n"
	errReadOnly   = "ERR READONLY\n"
	errNeedUser   = "ERR USERNAME-REQUIRED\n"
	errNeedSecret = "ERR PASSWORD-REQUIRED\n"
)

// answer is what is sent back, and what follows when it was sent.
type answer struct {
	text string
	bye  bool        // close
	tls  *tls.Config // go on encrypted
	told *zone       // the answer holds FSD of this UPS
}

func say(format string, a ...any) answer { return answer{text: fmt.Sprintf(format, a...) + "\n"} }

// command answers one request. Commands are read in any case, as upsd does.
func (c *conn) command(words []string) answer {
	c.h.mu.Lock()
	c.last = time.Now()
	c.h.mu.Unlock()
	if len(words) == 0 {
		return answer{text: errUnknown}
	}
	name, args := strings.ToUpper(words[0]), words[1:]
	switch name {
	case "GET":
		return c.get(args)
	case "LIST":
		return c.list(args)
	case "USERNAME", "PASSWORD":
		return c.credential(name, args)
	case "LOGIN", "PRIMARY", "MASTER", "FSD", "SET", "INSTCMD":
		return c.privileged(name, args)
	case "STARTTLS":
		return c.startTLS()
	case "LOGOUT":
		return answer{text: "OK Goodbye\n", bye: true}
	case "VER":
		return say("Firebreak, a server of the protocol of the Network UPS Tools")
	case "NETVER", "PROTVER":
		return say("1.3")
	case "HELP":
		return say("Commands: HELP VER NETVER PROTVER GET LIST USERNAME PASSWORD LOGIN LOGOUT PRIMARY MASTER FSD SET INSTCMD STARTTLS")
	}
	return answer{text: errUnknown}
}

// zone finds a UPS by the name that this connection knows it by.
func (c *conn) zone(name string) (*zone, string) {
	if c.only != nil {
		if strings.EqualFold(name, aliasUPS) {
			return c.only, aliasUPS
		}
		return nil, ""
	}
	if z := c.h.zone(name); z != nil {
		return z, z.cfg.Name
	}
	return nil, ""
}

func (h *Hook) zone(name string) *zone { return h.byName[strings.ToLower(name)] }

func (c *conn) get(args []string) answer {
	if len(args) == 0 {
		return answer{text: errArgument}
	}
	what := strings.ToUpper(args[0])
	if what == "TRACKING" { // no request is followed, because none is taken
		if len(args) == 1 {
			return say("OFF")
		}
		return answer{text: errFeature}
	}
	need := map[string]int{"NUMLOGINS": 2, "UPSDESC": 2, "VAR": 3, "TYPE": 3, "DESC": 3, "CMDDESC": 3}[what]
	if need == 0 || len(args) != need {
		return answer{text: errArgument}
	}
	z, name := c.zone(args[1])
	if z == nil {
		return answer{text: errUPS}
	}
	if need == 3 && !varName.MatchString(args[2]) { // it is sent back
		return answer{text: errVar}
	}
	switch what {
	case "NUMLOGINS":
		return say("NUMLOGINS %s %d", name, len(c.h.logins(z)))
	case "UPSDESC":
		return say("UPSDESC %s %s", name, quote(z.describe()))
	case "CMDDESC":
		return say("CMDDESC %s %s %s", name, args[2], quote("Unavailable"))
	case "DESC":
		d := ownDescs[args[2]]
		if d == "" {
			d = "Unavailable"
		}
		return say("DESC %s %s %s", name, args[2], quote(d))
	}
	return c.getVar(what, z, name, args[2])
}

func (c *conn) getVar(what string, z *zone, name, v string) answer {
	vars, told := c.vars(z, v == "ups.status" && what == "VAR")
	for _, e := range vars {
		switch {
		case e.name != v:
		case what == "VAR":
			a := say("VAR %s %s %s", name, v, quote(e.value))
			a.told = told
			return a
		case strings.Trim(e.value, "-.0123456789") == "":
			return say("TYPE %s %s NUMBER", name, v)
		default:
			return say("TYPE %s %s STRING:255", name, v)
		}
	}
	return answer{text: errVar}
}

// vars lists the variables. When the client is to see the status, the zone is returned if that is
// FSD, and the request counts as one of a host that watches: clients such as WinNUT never log in,
// and count if their address is listed and they have asked twice on one connection, which a
// program that only looks once has no reason for.
func (c *conn) vars(z *zone, status bool) ([]entry, *zone) {
	h := c.h
	h.mu.Lock()
	defer h.mu.Unlock()
	var told *zone
	if status {
		if c.polls[z]++; c.polls[z] >= 2 && !c.counts[z] && z.lists(c.addr) {
			h.joinLocked(c, z)
		}
		if z.fsd() || c.sawFSD[z] {
			c.sawFSD[z], told = true, z
		}
	}
	return h.varsLocked(c, z), told
}

func (c *conn) list(args []string) answer {
	if len(args) == 0 {
		return answer{text: errArgument}
	}
	what := strings.ToUpper(args[0])
	if what == "UPS" && len(args) == 1 {
		return c.listUPS()
	}
	need := map[string]int{"VAR": 2, "RW": 2, "CMD": 2, "CLIENT": 2, "ENUM": 3, "RANGE": 3}[what]
	if need == 0 || len(args) != need {
		return answer{text: errArgument}
	}
	z, name := c.zone(args[1])
	if z == nil {
		return answer{text: errUPS}
	}
	head := "LIST " + what + " " + name
	var a answer
	var b strings.Builder
	switch what {
	case "VAR":
		var vars []entry
		vars, a.told = c.vars(z, true)
		for _, e := range vars {
			fmt.Fprintf(&b, "VAR %s %s %s\n", name, e.name, quote(e.value))
		}
	case "CLIENT":
		for _, addr := range c.h.logins(z) {
			fmt.Fprintf(&b, "CLIENT %s %s\n", name, addr)
		}
	case "ENUM", "RANGE": // nothing can be set, so there is nothing to choose from
		vars, _ := c.vars(z, false)
		known := false
		for _, e := range vars {
			known = known || e.name == args[2]
		}
		if !known {
			return answer{text: errVar}
		}
		head += " " + args[2]
	}
	a.text = "BEGIN " + head + "\n" + b.String() + "END " + head + "\n"
	return a
}

func (c *conn) listUPS() answer {
	var b strings.Builder
	b.WriteString("BEGIN LIST UPS\n")
	if c.only != nil {
		fmt.Fprintf(&b, "UPS %s %s\n", aliasUPS, quote(c.only.describe()))
	} else {
		for _, z := range c.h.zones {
			fmt.Fprintf(&b, "UPS %s %s\n", z.cfg.Name, quote(z.describe()))
		}
	}
	b.WriteString("END LIST UPS\n")
	return answer{text: b.String()}
}

func (z *zone) describe() string {
	if z.cfg.Description == "" {
		return "Unavailable"
	}
	return z.cfg.Description
}

// credential takes a name or password; nothing is looked up before it is needed.
func (c *conn) credential(what string, args []string) answer {
	if len(args) != 1 {
		return answer{text: errArgument}
	}
	have := &c.named
	if what == "PASSWORD" {
		have = &c.keyed
	}
	switch {
	case *have:
		return say("ERR ALREADY-SET-%s", what)
	case args[0] == "":
		return say("ERR INVALID-%s", what)
	}
	*have = true
	if what == "PASSWORD" {
		c.pass = args[0]
	} else {
		c.h.mu.Lock()
		c.name = args[0]
		c.h.mu.Unlock()
	}
	return say("OK")
}

// privileged answers what needs an account. FSD is refused whoever asks: it comes from firebreak's
// own plan alone. A primary upsmon would set it when some other UPS that it watches runs low, and
// must not take down the hosts of a zone with it. Nothing here can be set or switched either.
func (c *conn) privileged(what string, args []string) answer {
	switch {
	case !c.named:
		return answer{text: errNeedUser}
	case !c.keyed:
		return answer{text: errNeedSecret}
	case what == "SET" && len(args) == 2 && strings.EqualFold(args[0], "TRACKING"):
		return answer{text: errFeature}
	case what == "SET" && (len(args) != 4 || !strings.EqualFold(args[0], "VAR")),
		what == "INSTCMD" && len(args) != 2 && len(args) != 3,
		what != "SET" && what != "INSTCMD" && len(args) != 1:
		return answer{text: errArgument}
	}
	ups := args[0]
	if what == "SET" {
		ups = args[1]
	}
	z, _ := c.zone(ups)
	if z == nil {
		return answer{text: errUPS}
	}
	switch what {
	case "SET":
		vars, _ := c.vars(z, false)
		for _, e := range vars {
			if e.name == args[2] {
				return answer{text: errReadOnly}
			}
		}
		return answer{text: errVar}
	case "INSTCMD":
		return answer{text: errCmd}
	case "FSD":
		c.h.say("FSD from "+c.addr.String(), errors.New("refused"), "a client asks for FSD and is refused: only the plan sets it", "client", c.addr.String(), "ups", z.cfg.Name)
		return answer{text: errAccess}
	}
	if what == "LOGIN" && c.login != nil {
		return say("ERR ALREADY-LOGGED-IN")
	}
	u := c.account()
	switch {
	case u == nil || !u.may(z.cfg.Name) || what != "LOGIN" && !u.primary:
		return answer{text: errAccess}
	case what != "LOGIN":
		return say("OK %s-GRANTED", what)
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.login = z
	c.h.joinLocked(c, z)
	return say("OK")
}

func (h *Hook) say(what string, err error, text string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sayLocked(what, err, text, args...)
}

func (c *conn) startTLS() answer {
	if c.secure {
		return say("ERR ALREADY-SSL-MODE")
	}
	if c.h.cfg.CertFile == "" || c.login != nil {
		return answer{text: errFeature}
	}
	conf, _, err := c.h.certs.Get()
	c.h.say("cert", err, "the certificate cannot be read, the last one counts")
	if conf == nil {
		return answer{text: errFeature}
	}
	return answer{text: "OK STARTTLS\n", tls: conf}
}
