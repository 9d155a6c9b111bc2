package tools

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors/nut"
	"firebreak/sensors/profile"
)

// columns of a list of devices: those of a device, and those of the bus that it is on.
var (
	deviceColumns = []string{"name", "profile", "bus", "unit", "chip", "ups", "zone", "supply", "poll", "stale", "transport"}
	busColumns    = []string{"kind", "endpoint", "baud", "parity", "stop", "gateway", "bus-supply", "connection"}
)

const maxRows = 10000

// row is one device of a list.
type row struct {
	line   int
	cells  map[string]string
	report func(column, format string, args ...any)
}

// bus is what the rows of one bus say of it.
type busOf struct {
	name  string
	line  int
	cells map[string]string
}

// Import turns a list of devices into buses and devices of a configuration. It tells all faults at once, each with its line.
func Import(file string, in io.Reader, lib Library) (text string, faults []string) {
	fault := func(line int, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s:%d: %s", file, line, fmt.Sprintf(format, args...)))
	}
	rows, head := readRows(in, fault)
	if head == nil || faults != nil {
		return "", faults
	}
	var buses []*busOf
	var devices strings.Builder
	names, units := map[string]int{}, map[string]int{}
	for i := range rows {
		r := &rows[i]
		r.report = func(column, format string, args ...any) {
			fault(r.line, "%s: %s", column, fmt.Sprintf(format, args...))
		}
		b := r.bus(&buses)
		r.device(&devices, lib, b)
		for _, once := range []struct {
			seen map[string]int
			key  string
			what string
		}{{names, r.cells["name"], "name"}, {units, r.cells["bus"] + " " + r.cells["unit"] + r.cells["chip"] + r.cells["ups"], "unit"}} {
			if first, twice := once.seen[once.key]; twice {
				r.report(once.what, "the same as in line %d", first)
			} else {
				once.seen[once.key] = r.line
			}
		}
	}
	var b strings.Builder
	for _, bus := range buses {
		bus.print(&b)
	}
	return b.String() + devices.String(), faults
}

func readRows(in io.Reader, fault func(int, string, ...any)) (rows []row, head []string) {
	c := csv.NewReader(in)
	c.TrimLeadingSpace, c.Comment = true, '#'
	for {
		cells, err := c.Read()
		line := 1
		if len(cells) > 0 {
			line, _ = c.FieldPos(0)
		}
		var pe *csv.ParseError
		switch {
		case errors.Is(err, io.EOF):
			if head == nil {
				fault(1, "the list is empty: begin it with the names of the columns, %s", strings.Join(append(slices.Clone(deviceColumns), busColumns...), ","))
			}
			return rows, head
		case errors.As(err, &pe):
			fault(pe.Line, "%v", pe.Err)
			return nil, nil
		case err != nil:
			fault(line, "%v", err)
			return nil, nil
		case head == nil:
			head = cells
			for i, h := range head {
				head[i] = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(h, "\ufeff"))) // a spreadsheet writes a mark first
				if !slices.Contains(deviceColumns, head[i]) && !slices.Contains(busColumns, head[i]) {
					fault(line, "there is no column %q: use %s", h, strings.Join(append(slices.Clone(deviceColumns), busColumns...), ", "))
				}
			}
			continue
		case len(rows) == maxRows:
			fault(line, "more than %d devices: split the list", maxRows)
			return nil, nil
		}
		r := row{line: line, cells: map[string]string{}}
		for i, h := range head {
			r.cells[h] = strings.TrimSpace(cells[i])
		}
		rows = append(rows, r)
	}
}

var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// bus finds the bus of a row. Rows may leave out what an earlier one has said of it, and may not say otherwise.
func (r *row) bus(all *[]*busOf) *busOf {
	name := r.cells["bus"]
	if !goodName.MatchString(name) {
		r.report("bus", "%q is no name: letters, digits, - and _", name)
		return nil
	}
	i := slices.IndexFunc(*all, func(b *busOf) bool { return b.name == name })
	if i < 0 {
		b := &busOf{name: name, line: r.line, cells: map[string]string{}}
		*all = append(*all, b)
		i = len(*all) - 1
		if !slices.Contains([]string{"modbus-tcp", "modbus-rtu", "modbus-ascii", "i2c", "nut"}, r.cells["kind"]) {
			r.report("kind", "%q: the first row of bus %s says modbus-tcp, modbus-rtu, modbus-ascii, i2c or nut", r.cells["kind"], name)
		}
		if r.cells["endpoint"] == "" {
			r.report("endpoint", "the first row of bus %s says where it is: HOST:PORT, or a path such as /dev/ttyUSB0", name)
		}
	}
	b := (*all)[i]
	for _, c := range busColumns {
		switch v := r.cells[c]; {
		case v == "":
		case b.cells[c] == "":
			b.cells[c] = v
		case b.cells[c] != v:
			r.report(c, "%q, and line %d says %q of the same bus", v, b.line, b.cells[c])
		}
	}
	for _, c := range []string{"baud", "stop"} {
		if _, err := strconv.Atoi(r.cells[c]); r.cells[c] != "" && err != nil {
			r.report(c, "%q is no number", r.cells[c])
		}
	}
	return b
}

// device writes the device of a row.
func (r *row) device(w *strings.Builder, lib Library, b *busOf) {
	name, unit, chip := r.cells["name"], r.cells["unit"], r.cells["chip"]
	if !goodName.MatchString(name) {
		r.report("name", "%q is no name: letters, digits, - and _", name)
	}
	p, _, err := lib.Load(r.cells["profile"])
	if err != nil {
		r.report("profile", "there is no profile %q: see firebreak profile list", r.cells["profile"])
	}
	onI2C, onNUT := b != nil && b.cells["kind"] == profile.I2C, b != nil && b.cells["kind"] == profile.NUT
	if err == nil && b != nil && ((p.Bus == profile.I2C) != onI2C || (p.Bus == profile.NUT) != onNUT) {
		r.report("profile", "%s is of a device on %s, and bus %s is %s", p.Name, p.Bus, b.name, b.cells["kind"])
	}
	fmt.Fprintf(w, "\n[[device]]\nname    = %q\nprofile = %q\nbus     = %q\n", name, r.cells["profile"], r.cells["bus"])
	if onNUT {
		r.ups(w, unit+chip)
	} else if r.cells["ups"] != "" {
		r.report("ups", "%q: bus %s is %s, and only an upsd (kind nut) has UPSes by name", r.cells["ups"], r.cells["bus"], b.kind())
	}
	switch n, err := strconv.ParseUint(unit+chip, 0, 8); {
	case onNUT:
	case onI2C && (unit != "" || err != nil || n < 0x08 || n > 0x77):
		r.report("chip", "%q: a chip has an address from 0x08 to 0x77 here, and no unit", unit+chip)
	case onI2C:
		fmt.Fprintf(w, "address = 0x%02X\n", n)
	case chip != "" || err != nil:
		r.report("unit", "%q: a Modbus device has a number from 0 to 255 here, and no chip", unit+chip)
	default:
		fmt.Fprintf(w, "unit    = %d\n", n)
	}
	for _, c := range []string{"zone", "supply", "poll", "stale", "transport"} {
		v := r.cells[c]
		if v == "" {
			continue
		}
		if _, err := time.ParseDuration(v); err != nil && c != "zone" && c != "supply" {
			r.report(c, "%q is no time such as 1s or 500ms", v)
		}
		fmt.Fprintf(w, "%-7s = %q\n", c, v)
	}
}

// ups writes which UPS of an upsd a device is.
func (r *row) ups(w *strings.Builder, number string) {
	if ups := r.cells["ups"]; !nut.ValidName(ups) || number != "" {
		r.report("ups", "%q: a UPS behind an upsd has the name of its section in ups.conf here, and neither unit nor chip", ups+number)
	}
	fmt.Fprintf(w, "ups     = %q\n", r.cells["ups"])
}

// kind is what the rows say; a bus without a good name has none.
func (b *busOf) kind() string {
	if b == nil {
		return "unknown"
	}
	return b.cells["kind"]
}

func (b *busOf) print(w *strings.Builder) {
	fmt.Fprintf(w, "\n[[bus]]\nname    = %q\nkind    = %q\n", b.name, b.cells["kind"])
	at := "address"
	switch {
	case b.cells["kind"] == profile.I2C:
		at = "adapter"
	case strings.HasPrefix(b.cells["endpoint"], "/"):
		at = "device"
	}
	fmt.Fprintf(w, "%-7s = %q\n", at, b.cells["endpoint"])
	for _, c := range []string{"baud", "stop"} {
		if b.cells[c] != "" {
			fmt.Fprintf(w, "%-7s = %s\n", c, b.cells[c])
		}
	}
	for _, c := range [][2]string{{"parity", "parity"}, {"gateway", "gateway"}, {"bus-supply", "supply"}, {"connection", "connection"}} {
		if v := b.cells[c[0]]; v != "" {
			fmt.Fprintf(w, "%-7s = %q\n", c[1], v)
		}
	}
}
