// Package profile holds device profiles: which register of a device means what, as data. A
// profile is a TOML file; Parse checks it strictly and tells every fault at once, and a Decoder
// turns raw registers into readings. The language describes reads, and writes of fixed values under
// a name; none for a device that detects fire, smoke or gas, whatever its profile says (S25).
//
// Callers: the configuration expands a profile into points, sensors/modbus plans and decodes with
// it, sensors/sim encodes with it, sensors/i2c takes chip and points from it.
//
// Concurrency: a Profile is not changed after Parse and may be shared; a Decoder belongs to the
// goroutine that owns the device. Failure: a value that cannot be trusted is a reading of bad
// quality with its reason; nothing here panics on any register content or any file.
package profile

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"firebreak/sensors"
)

// Function is the Modbus function code of a read. Register is a register of an I2C chip, or a
// GPIO line.
type Function uint8

const (
	Register Function = 0
	Coil     Function = 1
	Discrete Function = 2
	Holding  Function = 3
	Input    Function = 4
)

var functionNames = [...]string{"register", "coil", "discrete", "holding", "input"}

func (f Function) String() string {
	if f == Identification {
		return "identification"
	}
	if int(f) < len(functionNames) {
		return functionNames[f]
	}
	return fmt.Sprintf("unknown(%d)", uint8(f))
}

// Bits is true for the functions that read single bits.
func (f Function) Bits() bool { return f == Coil || f == Discrete }

// Bus kinds.
const (
	Modbus = "modbus"
	I2C    = "i2c"
	GPIO   = "gpio"
	NUT    = "nut"
	SNMP   = "snmp"
)

// Span is a run of addresses of one function.
type Span struct {
	Func  Function
	First uint16
	Count uint16
}

// End is the first address behind the span.
func (s Span) End() int { return int(s.First) + int(s.Count) }

// Holds is true when o lies wholly within s.
func (s Span) Holds(o Span) bool {
	return s.Func == o.Func && s.First <= o.First && o.End() <= s.End()
}

// Touches is true when s and o share an address.
func (s Span) Touches(o Span) bool {
	return s.Func == o.Func && int(s.First) < o.End() && int(o.First) < s.End()
}

// ReadRules say how the device wants to be read.
type ReadRules struct {
	MaxWords   int           // registers in one request, at most 125
	MaxBits    int           // coils or discrete inputs in one request, at most 2000
	MaxGap     int           // addresses read for nothing to join two items in one request
	Timeout    time.Duration // from the last byte sent to the whole reply
	Turnaround time.Duration // latest possible reply after a time-out: a serial line is drained so long
	FrameGap   time.Duration // silence between a reply and the next request; the line's own t3.5 is kept anyway
	Single     bool          // one value a request, whatever else could be joined
	ReplyUnit  int           // added to the unit of a request: the one that the reply bears
	Window     int           // requests under way at once over Modbus TCP; 1: one after the other
	Blocks     []Span        // read exactly so, whole or not at all
	Forbidden  []Span        // never read, not even to bridge a gap
}

// Answers is the unit that the device answers under, asked as unit: that one itself, where it keeps the
// specification, or where there is no unit that is away so far.
func (r *ReadRules) Answers(unit byte) byte {
	if a := int(unit) + r.ReplyUnit; a >= 1 && a <= 247 {
		return byte(a)
	}
	return unit
}

// Alive is a channel that moves as long as the device renews its values: when it stands still for
// Within, all others are stale. Zero: there is none.
type Alive struct {
	Channel int // index into Profile.Channels
	Within  time.Duration
}

// Profile is one kind of device.
type Profile struct {
	Name       string // the file's name without .toml
	Title      string
	Maker      string
	Bus        string        // Modbus, I2C, GPIO, NUT or SNMP
	Chip       string        // I2C: the driver's name
	Source     string        // where the register map comes from
	Unverified string        // what nobody has confirmed; empty: all comes from the source
	Template   string        // what its user has to fill in, and from where; empty: it is whole
	Refresh    time.Duration // of channels that state none
	Wait       time.Duration // I2C: what the driver waits within one poll, beside its transfers
	Read       ReadRules
	SNMP       SNMPRules
	Identity   []Check
	Alive      Alive
	Channels   []Channel // arrays unrolled; the order is the order of points
	Commands   []Command // arrays unrolled; the only writes that there are (S25)
}

// Load reads and parses name.toml from fsys.
func Load(fsys fs.FS, name string) (*Profile, error) {
	file := name + ".toml"
	if strings.ContainsAny(name, `/\`) || !fs.ValidPath(file) {
		return nil, fmt.Errorf("profile %q: a profile is named without folder and ending, such as \"tmp117\"", name)
	}
	data, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, fmt.Errorf("profile %q: %w; the known ones are %s", name, err, strings.Join(List(fsys), ", "))
	}
	p, err := Parse(file, data)
	if err != nil {
		return nil, err
	}
	if p.Name != name {
		return nil, fmt.Errorf("%s: the profile calls itself %q: name and file must agree", file, p.Name)
	}
	return p, nil
}

// List names the profiles in fsys, sorted.
func List(fsys fs.FS) []string {
	files, _ := fs.Glob(fsys, "*.toml") // the pattern is well formed: no error is possible
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(path.Base(f), ".toml")
	}
	return names
}

// Channel finds a channel by name, unrolled arrays included; nil when there is none.
func (p *Profile) Channel(name string) *Channel {
	for i := range p.Channels {
		if p.Channels[i].Name == name {
			return &p.Channels[i]
		}
	}
	return nil
}

// Expand makes the points of one device, in the order of Channels. Their IDs are left zero for
// the caller. Register names the place without the bit, since two bits of one word come from one
// register and are one member of a quorum (S5).
func (p *Profile) Expand(dev sensors.Device, stale time.Duration) []sensors.Point {
	points := make([]sensors.Point, len(p.Channels))
	for i := range p.Channels {
		c := &p.Channels[i]
		points[i] = sensors.Point{
			Device: dev.ID, Name: dev.Name + "." + c.Name, Register: c.Place(),
			Unit: c.Unit, Kind: c.Kind, Physics: c.Physics,
			Hazard: c.Hazard, Min: c.Min, Max: c.Max, MaxRate: c.MaxRate,
			Poll: dev.Poll, Stale: stale, Lag: c.Lag, Panel: c.Panel,
		}
	}
	return points
}
