package config

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

var bauds = []int64{1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400}

// bus reads one [[bus]].
func (c *compiler) bus(t *Table) {
	name, ok := declare(c, t, "bus", c.buses, len(c.cfg.Buses))
	b := Bus{Name: name, At: t.at}
	t.Require("kind")
	b.Kind = t.Enum("kind", "", "modbus-tcp", "modbus-rtu", "modbus-ascii", "i2c", "gpio", "nut", "snmp")
	b.Gateway, b.Supply = c.name(t, "gateway"), c.name(t, "supply")
	switch b.Kind {
	case "modbus-tcp":
		t.Require("address")
		b.Address = c.hostPort(t, defTCPPort)
		b.Close = t.Enum("connection", "hold", "hold", "close") == "close"
	case "modbus-rtu", "modbus-ascii":
		c.serialLine(t, &b)
	case "i2c":
		t.Require("adapter")
		b.Adapter = c.path(t, "adapter", "/dev/i2c-1")
	case "gpio":
		t.Require("chip")
		b.Adapter = c.path(t, "chip", "/dev/gpiochip0")
	case "nut":
		c.upsd(t, &b)
	case "snmp":
		c.snmpAgent(t, &b)
	default: // the fault is there already: do not complain of each key as well
		for _, k := range slices.Concat([]string{"address", "connection", "device", "baud", "frame_gap", "adapter", "chip", "starttls", "ca"}, portKeys(), snmpKeys()) {
			t.used[k] = true
		}
	}
	c.end(t)
	if !ok {
		return
	}
	for _, o := range c.cfg.Buses {
		if b.Kind != "" && o.Kind != "" && sameLine(&o, &b) {
			c.fault(t.at, "bus %q is the same line as bus %q: two owners would disturb each other, put the devices on one", name, o.Name)
		}
	}
	c.cfg.Buses = append(c.cfg.Buses, b)
}

// sameLine is true for two names of one endpoint, whatever is spoken there: many gateways take one
// client only, and two would disturb each other on the rest.
func sameLine(a, b *Bus) bool {
	return a.Address != "" && strings.EqualFold(a.Address, b.Address) || a.Port != "" && a.Port == b.Port || a.Adapter != "" && a.Adapter == b.Adapter
}

// portKeys belong to a serial port of this machine: those of a serial server are set there.
func portKeys() []string {
	return []string{"parity", "data", "stop", "rs485", "rs485_before", "rs485_after"}
}

// serialLine reads the keys of a line, at a port of this machine or behind a serial server.
func (c *compiler) serialLine(t *Table, b *Bus) {
	b.Baud = int(t.Int("baud", defBaud, 1200, 230400))
	if !slices.Contains(bauds, int64(b.Baud)) {
		t.Fault("baud", "a serial line has no speed of %d baud: use one of %v", b.Baud, bauds)
	}
	b.FrameGap = t.Duration("frame_gap", 0, 0, time.Second)
	if t.Has("address") && !t.Has("device") {
		b.Address = c.hostPort(t, "")
		b.Close = t.Enum("connection", "hold", "hold", "close") == "close"
		for _, k := range append(portKeys(), "device") {
			if t.Has(k) {
				t.Fault(k, "%s is set at the serial server, and only there: take it out", k)
			}
			t.used[k] = true
		}
		return
	}
	for _, k := range []string{"address", "connection"} {
		if t.Has(k) {
			t.Fault(k, "%s belongs to a line behind a serial server, and device to one at this machine: take one out", k)
		}
		t.used[k] = true
	}
	t.Require("device")
	b.Port = c.path(t, "device", "/dev/ttyUSB0")
	parity, data := defParity, int64(8)
	if b.Kind == "modbus-ascii" {
		parity, data = "even", 7
	}
	b.Parity = t.Enum("parity", parity, "none", "even", "odd")
	b.Data = int(t.Int("data", data, 7, 8))
	if b.Data == 7 && b.Kind == "modbus-rtu" {
		t.Fault("data", "Modbus RTU needs all 8 bits of a byte: use 8, or kind = \"modbus-ascii\"")
	}
	b.Stop = int(t.Int("stop", defStop, 1, 2))
	b.RS485 = t.Enum("rs485", "", "rts-high", "rts-low")
	b.RS485Before = t.Duration("rs485_before", 0, 0, 100*time.Millisecond)
	b.RS485After = t.Duration("rs485_after", 0, 0, 100*time.Millisecond)
	if b.RS485 == "" && (t.Has("rs485_before") || t.Has("rs485_after")) {
		t.Fault("rs485_before", "delays of the transmitter count with rs485 = \"rts-high\" or \"rts-low\" only: name it, or take them out")
	}
}

// upsd reads the keys of an upsd.
func (c *compiler) upsd(t *Table, b *Bus) {
	t.Require("address")
	b.Address = c.hostPort(t, defUpsdPort)
	b.StartTLS = t.Bool("starttls", false)
	t.used["ca"] = true
	if !t.Has("ca") {
		return
	}
	if b.CA = c.path(t, "ca", "/etc/firebreak/upsd-ca.pem"); !b.StartTLS {
		t.Fault("ca", "ca has no effect without starttls = true: set it, or take ca out")
	}
}

// hostPort reads "host:port"; the port may be left out where there is a usual one.
func (c *compiler) hostPort(t *Table, usual string) string {
	s := t.String("address", "")
	if s == "" {
		return ""
	}
	if !strings.Contains(s, ":") && usual != "" {
		s = net.JoinHostPort(s, usual)
	}
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.Atoi(port)
	if err != nil || host == "" || perr != nil || n < 1 || n > 65535 || strings.ContainsAny(host, " /@") {
		t.Fault("address", `%q is not host:port: write it like "10.0.3.20:502"`, s)
		return ""
	}
	return s
}
