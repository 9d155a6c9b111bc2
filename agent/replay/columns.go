package replay

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/config"
	"firebreak/sensors"
)

// columns says what the columns of a recording are: a small TOML file.
type columns struct {
	file      string
	time      string // column of the time
	format    string // rfc3339, unix, unix-ms, or a layout of Go
	zone      *time.Location
	separator string
	comma     bool // decimal comma
	list      []column
	works     []work
}

type column struct {
	name, point   string
	unit          sensors.Unit
	hasUnit       bool
	scale, offset float64
	invert        bool
}

const defFormat = "rfc3339"

// loadColumns reads the file; without one, columns are named as the points, and the time is "time".
func loadColumns(file string) (*columns, error) {
	c := &columns{file: file, time: "time", zone: time.UTC, separator: ","}
	if file == "" {
		return c, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mapping: %w", err)
	}
	return c, joined(config.ReadFile(file, data, c.read))
}

func (c *columns) read(t *config.Table) {
	c.time, c.format = t.String("time", "time"), t.String("format", "")
	if z := t.String("zone", ""); z != "" {
		at, err := time.Parse("-07:00", z)
		if err != nil {
			t.Fault("zone", `%q is no offset such as "+09:00"`, z)
		}
		_, offset := at.Zone()
		c.zone = time.FixedZone(z, offset)
	}
	c.separator = t.Enum("separator", ",", ",", ";", "\t", "|")
	if c.comma = t.Bool("decimal_comma", false); c.comma && c.separator == "," {
		t.Fault("decimal_comma", "a comma cannot be both the separator and in the numbers")
	}
	for _, k := range t.Tables("column") {
		k.Require("name", "point")
		x := column{name: k.String("name", ""), point: k.String("point", ""), hasUnit: k.Has("unit"), scale: k.Float("scale", 1, -1e9, 1e9),
			offset: k.Float("offset", 0, -1e9, 1e9), invert: k.Bool("invert", false)}
		if x.hasUnit {
			var err error
			if x.unit, err = sensors.ParseUnit(k.String("unit", "")); err != nil {
				k.Fault("unit", "%v", err)
			}
		}
		k.Unknown()
		c.list = append(c.list, x)
	}
	for _, k := range t.Tables("work") {
		k.Require("step", "takes")
		c.works = append(c.works, work{step: k.String("step", ""), takes: k.Duration("takes", typical, 0, 24*time.Hour)})
		k.Unknown()
	}
}

// instant reads a time as it stands in a row.
func (c *columns) instant(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	switch c.format {
	case "":
		if at, err := time.Parse(time.RFC3339, s); err == nil {
			return at, nil
		}
		return unix(s, time.Second)
	case defFormat:
		return time.Parse(time.RFC3339, s)
	case "unix":
		return unix(s, time.Second)
	case "unix-ms":
		return unix(s, time.Millisecond)
	}
	return time.ParseInLocation(c.format, s, c.zone)
}

func unix(s string, unit time.Duration) (time.Time, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n < 1e14 {
		if unit == time.Millisecond {
			return time.UnixMilli(n).UTC(), nil
		}
		return time.Unix(n, 0).UTC(), nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f*unit.Seconds() < 1e11) {
		return time.Time{}, fmt.Errorf("%q is no time: write RFC 3339, such as 2026-01-31T12:00:00Z, or seconds since 1970, or say the format in the mapping", s)
	}
	sec, frac := math.Modf(f * unit.Seconds())
	return time.Unix(int64(sec), int64(frac*1e9)).UTC(), nil
}

// number reads a value of a cell: "" is nothing, true and on are 1, "bad" and "bad:REASON" a reading that
// failed.
func (c *columns) number(s string) (v value, ok bool, err error) {
	s = strings.TrimSpace(s)
	v.quality = sensors.GoodQuality
	switch strings.ToLower(s) {
	case "":
		return v, false, nil
	case "true", "on", "yes":
		v.v = 1
		return v, true, nil
	case "false", "off", "no":
		return v, true, nil
	case "bad", "null", "nan":
		v.quality = sensors.BadQuality(sensors.Comm)
		return v, true, nil
	}
	if why, bad := strings.CutPrefix(s, "bad:"); bad {
		if reasonNamed(why) == sensors.NoReason {
			return v, false, fmt.Errorf("%q is no reason for a bad reading", why)
		}
		v.quality = sensors.BadQuality(reasonNamed(why))
		return v, true, nil
	}
	if c.comma {
		s = strings.Replace(s, ",", ".", 1)
	}
	if v.v, err = strconv.ParseFloat(s, 64); err != nil || math.IsInf(v.v, 0) {
		return v, false, fmt.Errorf("%q is no number", s)
	}
	return v, true, nil
}
