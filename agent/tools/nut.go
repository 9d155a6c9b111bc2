package tools

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"firebreak/sensors"
	"firebreak/sensors/nut"
	"firebreak/sensors/profile"
)

// NUT looks for the UPSes behind an upsd.
type NUT struct {
	Options  nut.Options
	Profiles []*profile.Profile
	TOML     bool
}

// nutTimeout is for one question: upsd answers from memory.
const nutTimeout = 5 * time.Second

// ParseUpsd reads "nut://HOST", "HOST" and "HOST:3493".
func ParseUpsd(s string) (address string, err error) {
	where := strings.TrimPrefix(s, "nut://")
	if strings.Contains(where, "/") || where == "" {
		return "", fmt.Errorf("target %q: write nut://HOST[:3493]", s)
	}
	if _, _, err := net.SplitHostPort(where); err != nil {
		where = net.JoinHostPort(strings.Trim(where, "[]"), "3493")
	}
	return where, nil
}

// Plan says what Run will do.
func (n *NUT) Plan(w io.Writer) {
	fmt.Fprintf(w, "plan: ask upsd at %s for its list of UPSes, and for the variables of each; nothing is written, and nobody logs in\n", n.Options.Address)
}

// Run asks, and prints each UPS as it is found. found is how many there are.
func (n *NUT) Run(ctx context.Context, w io.Writer) (found int, err error) {
	c := nut.NewClient(n.Options)
	defer c.Close()
	upses, err := c.UPSes(ctx)
	if err != nil {
		return 0, err
	}
	if len(upses) == 0 {
		return 0, fmt.Errorf("upsd at %s answers, and has no UPS: see ups.conf on that host, and whether its drivers run", n.Options.Address)
	}
	if n.TOML {
		defer func() { n.config(w, upses) }()
	}
	for _, u := range upses {
		ask, cancel := context.WithTimeout(ctx, nutTimeout)
		vars, err := c.Variables(ask, u.Name)
		cancel()
		fmt.Fprintf(w, "UPS %s  %s\n", u.Name, u.Description)
		if err != nil {
			fmt.Fprintf(w, "  its variables cannot be read: %v\n", err)
			continue
		}
		n.print(w, vars)
	}
	return len(upses), ctx.Err()
}

// print tells what a UPS says of itself, and how much of each profile it has.
func (n *NUT) print(w io.Writer, vars map[string]string) {
	var says []string
	for _, name := range []string{"ups.mfr", "ups.model", "ups.serial", "ups.firmware", "driver.name", "ups.status"} {
		if v := strings.TrimSpace(vars[name]); v != "" {
			says = append(says, name+" "+v)
		}
	}
	fmt.Fprintf(w, "  %s\n", strings.Join(says, ", "))
	for _, p := range n.Profiles {
		usable := 0
		for i := range p.Channels {
			r := p.Channels[i].Text(vars)
			if _, q := p.Channels[i].DecodeText(r.Text); r.Fail == sensors.NoReason && q.Usable() {
				usable++
			}
		}
		fmt.Fprintf(w, "  %s: %s; %d of %d points usable\n", p.Name, p.Title, usable, len(p.Channels))
	}
}

// config prints what was found as a configuration takes it.
func (n *NUT) config(w io.Writer, upses []nut.UPS) {
	fmt.Fprintf(w, "\n[[bus]]\nname    = \"upsd-1\"\nkind    = \"nut\"\naddress = %q\n", n.Options.Address)
	if n.Options.StartTLS {
		fmt.Fprintln(w, "starttls = true")
	}
	name := ""
	if len(n.Profiles) > 0 {
		name = n.Profiles[0].Name
	}
	for _, u := range upses {
		fmt.Fprintf(w, "\n[[device]]\nname    = %q\nprofile = %q\nbus     = \"upsd-1\"\nups     = %q\n", u.Name, name, u.Name)
	}
}
