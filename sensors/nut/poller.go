package nut

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// Poller reads one UPS.
type Poller struct {
	c      *Client
	ups    string
	p      *profile.Profile
	dec    *profile.Decoder
	vars   map[string]string // those that the profile names
	wanted map[string]bool
	raw    []profile.Raw
	told   string // why upsd has no values, as it was last logged
}

// New makes the poller of the UPS that upsd calls ups. points are those that p.Expand made, with
// their IDs.
func New(c *Client, ups string, p *profile.Profile, points []sensors.Point) (*Poller, error) {
	if c == nil || p == nil || p.Bus != profile.NUT {
		return nil, errors.New("a UPS behind an upsd needs a client and a profile with bus = \"nut\"")
	}
	if !ValidName(ups) {
		return nil, fmt.Errorf("%q is no name of a UPS: write it as in ups.conf, without @HOST", ups)
	}
	dec, err := profile.NewDecoder(p, points)
	if err != nil {
		return nil, err
	}
	u := &Poller{c: c, ups: ups, p: p, dec: dec, vars: map[string]string{}, wanted: map[string]bool{}, raw: make([]profile.Raw, len(points))}
	for i := range p.Channels {
		u.wanted[p.Channels[i].Variable] = true
	}
	for _, name := range serials() {
		u.wanted[name] = true
	}
	return u, nil
}

// ValidName tells whether a UPS can have this name: it goes into a request as it stands.
func ValidName(ups string) bool {
	for _, r := range ups {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return false
		}
	}
	return ups != "" && len(ups) <= 128
}

// serials are the variables that may hold the serial number of a UPS, the better one first.
func serials() []string { return []string{"ups.serial", "device.serial"} }

// Serial is the number that the UPS said it has at the last poll; empty: none (S23).
func (u *Poller) Serial() string {
	for _, name := range serials() {
		if s := strings.TrimSpace(u.vars[name]); s != "" && strings.Trim(s, "0") != "" { // some drivers fill it with zeros
			return s
		}
	}
	return ""
}

// Poll asks for all variables at once. An upsd that has none of this UPS has answered: the points are bad with
// its reason, and are asked for again at the next poll. Any other refusal is a fault of the settings.
func (u *Poller) Poll(ctx context.Context, now func() sensors.Mono, out []sensors.Reading) ([]sensors.Reading, error) {
	at := now()
	clear(u.vars)
	err := u.c.variables(ctx, u.ups, func(name, value string) {
		if u.wanted[name] {
			u.vars[name] = value
		}
	})
	fail, known := lost(err)
	switch {
	case err != nil && !known:
		return out, explain(err, u.ups)
	case err == nil && u.told != "":
		u.told = ""
		u.c.opt.Log.Info("upsd has values of the UPS again", "upsd", u.c.opt.Address, "ups", u.ups)
	case err != nil && u.told != err.Error():
		u.told = err.Error()
		u.c.opt.Log.Warn("upsd answers, and has no values of the UPS: see its driver, and the cable", "upsd", u.c.opt.Address, "ups", u.ups, "err", err)
	}
	for i := range u.raw {
		u.raw[i] = profile.Raw{Fail: fail}
		if fail == sensors.NoReason {
			u.raw[i] = u.p.Channels[i].Text(u.vars)
		}
		u.raw[i].At = at
	}
	return u.dec.Decode(u.raw, out), nil
}

// lost is the reason of points that upsd has no values of.
func lost(err error) (sensors.Reason, bool) {
	var no Refusal
	if errors.As(err, &no) {
		switch no.Code {
		case "DATA-STALE":
			return sensors.Stale, true
		case "DRIVER-NOT-CONNECTED":
			return sensors.Comm, true
		}
	}
	return sensors.NoReason, false
}

func explain(err error, ups string) error {
	var no Refusal
	if !errors.As(err, &no) {
		return err
	}
	switch no.Code {
	case "UNKNOWN-UPS":
		return fmt.Errorf("%w: it has no UPS %q: name it as in ups.conf (`upsc -l HOST` lists them)", err, ups)
	case "ACCESS-DENIED":
		return fmt.Errorf("%w: let this host read in upsd.conf", err)
	}
	return fmt.Errorf("%w to LIST VAR %s", err, ups)
}
