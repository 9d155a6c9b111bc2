package config

import (
	"net"
	"slices"
	"strconv"
	"strings"
)

var bauds = []int64{1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400}

// bus reads one [[bus]].
func (c *compiler) bus(t *Table) {
	name, ok := declare(c, t, "bus", c.buses, len(c.cfg.Buses))
	b := Bus{Name: name, At: t.at}
	t.Require("kind")
	b.Kind = t.Enum("kind", "", "modbus-tcp", "modbus-rtu", "i2c")
	b.Gateway, b.Supply = c.name(t, "gateway"), c.name(t, "supply")
	switch b.Kind {
	case "modbus-tcp":
		t.Require("address")
		b.Address = c.hostPort(t)
	case "modbus-rtu":
		t.Require("device")
		b.Port = c.path(t, "device", "/dev/ttyUSB0")
		b.Baud = int(t.Int("baud", defBaud, 1200, 230400))
		if !slices.Contains(bauds, int64(b.Baud)) {
			t.Fault("baud", "a serial line has no speed of %d baud: use one of %v", b.Baud, bauds)
		}
		b.Parity = t.Enum("parity", defParity, "none", "even", "odd")
		b.Stop = int(t.Int("stop", defStop, 1, 2))
	case "i2c":
		t.Require("adapter")
		b.Adapter = c.path(t, "adapter", "/dev/i2c-1")
	default: // the fault is there already: do not complain of each key as well
		for _, k := range []string{"address", "device", "baud", "parity", "stop", "adapter"} {
			t.used[k] = true
		}
	}
	c.end(t)
	if !ok {
		return
	}
	for _, o := range c.cfg.Buses {
		if b.Kind != "" && o.Kind == b.Kind && o.Address == b.Address && o.Port == b.Port && o.Adapter == b.Adapter {
			c.fault(t.at, "bus %q is the same line as bus %q: two owners would disturb each other, put the devices on one", name, o.Name)
		}
	}
	c.cfg.Buses = append(c.cfg.Buses, b)
}

// hostPort reads "host:port"; the port may be left out.
func (c *compiler) hostPort(t *Table) string {
	s := t.String("address", "")
	if s == "" {
		return ""
	}
	if !strings.Contains(s, ":") {
		s = net.JoinHostPort(s, defTCPPort)
	}
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.Atoi(port)
	if err != nil || host == "" || perr != nil || n < 1 || n > 65535 || strings.ContainsAny(host, " /@") {
		t.Fault("address", `%q is not host:port: write it like "10.0.3.20:502"`, s)
		return ""
	}
	return s
}
