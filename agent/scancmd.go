package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/tools"
	"firebreak/sensors/profile"
)

// scan finds what is on a bus. What it will do, it says first.
func scan(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signals()
	defer stop()
	switch {
	case len(args) > 1 && args[0] == "modbus":
		return scanModbus(ctx, args[1:], stdout, stderr)
	case len(args) > 1 && args[0] == "nut":
		return scanNUT(ctx, args[1:], stdout, stderr)
	case len(args) == 1 && strings.HasPrefix(args[0], "nut://"):
		return scanNUT(ctx, args, stdout, stderr)
	case len(args) > 1 && args[0] == "i2c":
		fs, words, rest, lib := toolFlags("scan i2c", args[1:], stderr)
		chip := fs.String("chip", "", "`PROFILE@ADDRESS`: let its driver measure, such as tmp117@0x48")
		if parse(fs, rest, &words) && len(words) == 1 {
			return told(tools.ScanAdapter(ctx, stdout, words[0], *lib, *chip), stderr)
		}
	}
	return wrongUse(stderr, "scan modbus TARGET [--units 1-247] [--baud 9600,19200] [--plan] | scan i2c /dev/i2c-1 [--chip PROFILE@ADDRESS] | scan nut nut://HOST [--starttls] [--toml]")
}

// scanNUT lists the UPSes behind an upsd.
func scanNUT(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs, words, rest, lib := toolFlags("scan nut", args, stderr)
	n := tools.NUT{}
	fs.BoolVar(&n.Options.StartTLS, "starttls", false, "ask nothing in plain text")
	fs.StringVar(&n.Options.CA, "ca", "", "`FILE` with the authority that signed the certificate of upsd")
	plan := fs.Bool("plan", false, "say what would be done, and do nothing")
	fs.BoolVar(&n.TOML, "toml", false, "at the end print what was found as a configuration takes it")
	if !parse(fs, rest, &words) || len(words) != 1 {
		return wrongUse(stderr, "scan nut nut://HOST [--starttls] [--ca FILE] [--toml]")
	}
	address, err := tools.ParseUpsd(words[0])
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	n.Options.Address, n.Profiles = address, lib.All(stderr, profile.NUT)
	if n.Plan(stdout); *plan {
		return 0
	}
	_, err = n.Run(ctx, stdout)
	return told(err, stderr)
}

func scanModbus(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs, words, rest, lib := toolFlags("scan modbus", args, stderr)
	units := fs.String("units", "", "`LIST` of unit numbers, such as 1-16,255 [1-32 on a line, 1-16,255 on TCP]")
	bauds := fs.String("baud", "9600,19200", "`LIST` of speeds, tried in order until one is answered")
	parities := fs.String("parity", "none,even", "`LIST` of none, even, odd")
	stops := fs.Int("stop", 1, "stop bits, 1 or 2")
	only := fs.String("profile", "", "`LIST` of profiles to look for; units are asked as they say")
	s := tools.Scan{}
	fs.DurationVar(&s.Timeout, "timeout", 300*time.Millisecond, "until a unit counts as absent, time on the wire apart")
	fs.DurationVar(&s.Pace, "pace", 50*time.Millisecond, "pause before each request")
	fs.BoolVar(&s.All, "all", false, "go on with other settings after one was answered")
	plan := fs.Bool("plan", false, "say what would be done, and do nothing")
	asConfig := fs.Bool("toml", false, "at the end print what was found as a configuration takes it")
	if !parse(fs, rest, &words) || len(words) != 1 {
		return wrongUse(stderr, "scan modbus TARGET [--units 1-247] [--baud 9600,19200] [--plan]")
	}
	t, err := tools.ParseTarget(words[0])
	if err == nil {
		t.Serial.StopBits = *stops
		s.Target = t
		err = scanOptions(&s, *units, *bauds, *parities)
	}
	if err == nil {
		err = scanProfiles(&s, *lib, *only, stderr)
	}
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	s.Plan(stdout)
	if *plan {
		return 0
	}
	found, err := s.Run(ctx, stdout)
	if *asConfig && len(found) > 0 {
		tools.Config(stdout, found)
	}
	if err == nil && len(found) == 0 {
		return 1
	}
	return told(err, stderr)
}

func scanOptions(s *tools.Scan, units, bauds, parities string) (err error) {
	if units == "" {
		units = map[bool]string{true: "1-32", false: "1-16,255"}[s.Target.Line()]
	}
	if s.Units, err = tools.ParseUnits(units); err != nil {
		return err
	}
	for _, b := range strings.Split(bauds, ",") {
		n, err := strconv.Atoi(b)
		if err != nil {
			return fmt.Errorf("speeds %q: write numbers such as 9600,19200", bauds)
		}
		s.Bauds = append(s.Bauds, n)
	}
	for _, p := range strings.Split(parities, ",") {
		if !slices.Contains([]string{"none", "even", "odd"}, p) {
			return fmt.Errorf("parity %q: use none, even or odd", p)
		}
		s.Parities = append(s.Parities, p)
	}
	if s.Timeout < 10*time.Millisecond || s.Timeout > 10*time.Second || s.Pace < 0 || s.Pace > 10*time.Second {
		return fmt.Errorf("timeout %v, pace %v: give 10 ms to 10 s, and up to 10 s", s.Timeout, s.Pace)
	}
	return nil
}

func scanProfiles(s *tools.Scan, lib tools.Library, only string, stderr io.Writer) error {
	if only == "" {
		s.Profiles = lib.All(stderr, profile.Modbus)
		return nil
	}
	for _, n := range strings.Split(only, ",") {
		p, err := modbusProfile(lib, n)
		if err != nil {
			return err
		}
		s.Profiles = append(s.Profiles, p)
	}
	s.Asks = tools.AsksOf(s.Profiles)
	return nil
}

// modbusProfile loads the profile of a Modbus device.
func modbusProfile(lib tools.Library, name string) (*profile.Profile, error) {
	p, _, err := lib.Load(name)
	if err == nil && p.Bus != profile.Modbus {
		err = fmt.Errorf("profile %q is of a device on %s, and not on Modbus", name, p.Bus)
	}
	return p, err
}

// unitFlags are those of a tool that speaks to one unit.
type unitFlags struct {
	unit, baud, stop int
	parity           string
}

func (u *unitFlags) add(fs *flag.FlagSet) {
	fs.IntVar(&u.unit, "unit", 1, "unit `NUMBER`")
	fs.IntVar(&u.baud, "baud", 9600, "speed of a serial line")
	fs.StringVar(&u.parity, "parity", "none", "`PARITY` of a serial line: none, even or odd")
	fs.IntVar(&u.stop, "stop", 1, "stop bits, 1 or 2")
}

// target is the way to the unit.
func (u *unitFlags) target(where string) (t tools.Target, err error) {
	if t, err = tools.ParseTarget(where); err != nil {
		return t, err
	}
	if u.unit < 0 || u.unit > 255 || t.Line() && (u.unit == 0 || u.unit > 247) {
		return t, fmt.Errorf("unit %d: give 1 to 247 on a line, 0 to 255 on TCP", u.unit)
	}
	t.Serial.Baud, t.Serial.StopBits, t.Serial.Parity = u.baud, u.stop, u.parity
	if t.Serial.Address != "" {
		t.Serial.Parity = ""
	}
	return t, nil
}

var functions = map[string]profile.Function{"coil": profile.Coil, "discrete": profile.Discrete, "holding": profile.Holding, "input": profile.Input}

// probe shows registers of one unit.
func probe(args []string, stdout, stderr io.Writer) int {
	const how = "probe TARGET --unit N [--table holding] --at 0x2100 [--count 16] [--times 1]"
	fs, words, rest, _ := toolFlags("probe", args, stderr)
	var u unitFlags
	u.add(fs)
	table := fs.String("table", "holding", "`TABLE`: coil, discrete, holding or input")
	at := fs.String("at", "0", "first `ADDRESS` on the wire, from zero: 0x2100, or one less than a manual that begins with 1")
	count := fs.Int("count", 16, "how many registers")
	p := tools.Probe{}
	fs.IntVar(&p.Times, "times", 1, "read so often, and mark what moved")
	fs.DurationVar(&p.Every, "every", time.Second, "pause between two reads")
	fs.DurationVar(&p.Timeout, "timeout", time.Second, "for a reply")
	if !parse(fs, rest, &words) || len(words) != 1 {
		return wrongUse(stderr, how)
	}
	first, err := strconv.ParseUint(*at, 0, 16)
	if err == nil {
		p.Target, err = u.target(words[0])
	}
	f, ok := functions[*table]
	if err == nil && (!ok || *count < 1 || *count > 2000 || int(first)+*count > 0x10000) {
		err = fmt.Errorf("%s %s, %d registers: use coil, discrete, holding or input, and 1 to 2000 below 65536", *table, *at, *count)
	}
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	p.Unit, p.Span = byte(u.unit), profile.Span{Func: f, First: uint16(first), Count: uint16(*count)}
	ctx, stop := signals()
	defer stop()
	return told(p.Run(ctx, stdout), stderr)
}
