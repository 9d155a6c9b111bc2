package snmp

import (
	"context"
	"strconv"
	"strings"

	"firebreak/sensors"
	"firebreak/sensors/profile"

	"github.com/gosnmp/gosnmp"
)

// maxRows of a table are read; UPS-MIB knows 24 alarms, and makers add some.
const maxRows = 128

// table is a column whose rows come and go, and the object that counts them.
type table struct{ column, counter string }

// readTable keeps what the rows of t hold. An agent without the counter has no such table: that it
// lists no row says nothing then. Rows and counter are read one after the other: when they differ, once more.
func (u *Poller) readTable(ctx context.Context, now func() sensors.Mono, t table) error {
	for again := range 2 {
		if again > 0 {
			if err := u.get(ctx, now, []string{t.counter}, 1); err != nil {
				return err
			}
		}
		at := now()
		count, fail := u.values[t.counter].as(number)
		if fail != sensors.NoReason {
			u.values[t.column] = value{fail: fail, at: at}
			return nil
		}
		rows, whole, err := u.walk(ctx, t.column)
		if err != nil {
			return err
		}
		if whole = whole && strconv.Itoa(len(rows)) == count; whole && len(rows) == 0 {
			rows = []string{profile.NoRows}
		}
		if !whole {
			rows = append(rows, profile.TornRows)
		}
		u.values[t.column] = value{text: strings.Join(rows, " "), form: digits, at: at}
		if whole {
			return nil
		}
	}
	return nil
}

// walk lists the OIDs that a column holds; whole is false when it did not come to the end of it, or a row held
// something else.
func (u *Poller) walk(ctx context.Context, column string) (rows []string, whole bool, err error) {
	here := column
	for whole = true; len(rows) <= maxRows; {
		r := request{verb: next, oids: []string{here}, rows: u.rows, rules: &u.p.SNMP}
		if u.c.opt.Version != "1" {
			r.verb = bulk
		}
		a, err := u.c.ask(ctx, r)
		switch {
		case err != nil:
			return nil, false, err
		case a.Error == gosnmp.NoSuchName && r.verb == next:
			return rows, whole, nil // there is nothing behind it
		case a.Error == gosnmp.TooBig && r.verb == bulk && u.rows > 1:
			u.rows /= 2
			continue
		case a.Error != gosnmp.NoError || len(a.Variables) == 0:
			return rows, false, nil
		}
		for _, v := range a.Variables {
			name := strings.TrimPrefix(v.Name, ".")
			switch {
			case v.Type == gosnmp.EndOfMibView || !profile.Below(name, column) && after(name, here):
				return rows, whole, nil
			case !after(name, here) || len(rows) > maxRows:
				return rows, false, nil // it goes in circles
			}
			here = name
			if held := valueOf(v, 0); held.form == object && held.fail == sensors.NoReason {
				rows = append(rows, held.text)
			} else {
				rows, whole = append(rows, "?"), false
			}
		}
	}
	return rows, false, nil
}
