// Package config reads the configuration file: TOML into a tree that knows every place, the tree
// into the compiled rules of the core and the settings of buses, hooks and brokers. It also
// computes what `firebreak check` prints: worst cases and smallest sets of failures.
//
// Concurrency: Load and Parse share nothing and may run at once; a Config is read-only afterwards.
// Failure: every fault of a file, semantic ones too, comes at once with its place, and there is
// no Config then: a configuration that disables protection is a fault (S24), never a warning.
package config

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"firebreak/agent/core"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// maxFile bounds the file that is read.
const maxFile = 1 << 20

// HookKind decodes the keys of one kind of hook from its table. It reports what is wrong to the
// table, and returns the kind's own configuration. The common keys (name, kind, stands, needs) and
// the search for unknown keys are done by the caller.
type HookKind func(t *Table) any

// Kinds is what the application hands in: this package knows no concrete hook and no profile.
type Kinds struct {
	Profiles fs.FS               // device profiles, NAME.toml
	Packs    fs.FS               // hazard packs, NAME.toml
	Hooks    map[string]HookKind // by kind
}

// Stands says where a thing is: its failure domain and its power feed (S12).
type Stands struct{ Zone, Feed string }

// Bus is a way to devices: a serial line, a TCP endpoint or an I2C adapter.
type Bus struct {
	Name    string
	Kind    string // modbus-tcp, modbus-rtu, modbus-ascii, i2c, gpio, nut, snmp
	Address string // host:port of modbus-tcp, of upsd and of an SNMP agent, or of the serial server before a line
	Close   bool   // the connection to Address is closed after each round of polls
	Port    string // of a serial line: the device, "/dev/ttyUSB0"
	Baud    int
	Parity  string // none, even, odd
	Data    int
	Stop    int
	Adapter string // i2c: "/dev/i2c-1"; gpio: "/dev/gpiochip0"
	Gateway string
	Supply  string
	At      Pos `json:"-"` // a place in the file is no part of the hash

	FrameGap    time.Duration // silence between frames, if longer than t3.5
	RS485       string        // empty, rts-high, rts-low: the kernel switches the transmitter
	RS485Before time.Duration
	RS485After  time.Duration

	StartTLS bool   // nut: upsd is asked for encryption before anything else
	CA       string // nut: PEM file of the authority; empty: the system's

	SNMP SNMP
}

// protocol is what a profile calls the kind.
func (b *Bus) protocol() string {
	switch b.Kind {
	case "i2c":
		return profile.I2C
	case "gpio":
		return profile.GPIO
	case "nut":
		return profile.NUT
	case "snmp":
		return profile.SNMP
	}
	return profile.Modbus
}

// Device is one unit on a bus.
type Device struct {
	ID        sensors.DeviceID
	Name      string
	Profile   *profile.Profile
	Bus       int    // index into Config.Buses
	Unit      int    // Modbus unit, or I2C address
	Mux       int    // address of the I2C switch that it is behind; 0: none
	Channel   int    // of that switch
	UPS       string // nut: the name that its upsd gives it
	Zone      string // where it measures
	Supply    string // of its own; empty: that of its bus
	Poll      time.Duration
	Stale     time.Duration
	Transport time.Duration // pipe transport of an aspirating detector
	Episode   time.Duration // poll from stage 1 of a plan that depends on it; 0: as always
	Groups    []Group       // points that are polled together, all of its points once
	Deadband  int           // percent of a point's range, with Integrity
	Integrity time.Duration // telemetry by exception: a poll is told after so long in any case; 0: every poll is told
	First     sensors.PointID
	Count     int // its points are First .. First+Count-1
	At        Pos
}

// Group is the channels of a device, by their places in the profile, that have one period.
type Group struct {
	Channels []int
	Poll     time.Duration
	Stale    time.Duration
}

// Hook is one configured hook. Config is what its kind decoded.
type Hook struct {
	Name, Kind string
	Config     any
	Stands     Stands
	Needs      []string // targets and brokers that it depends on

	Irreversible bool // says the file, for every target and whatever the kind declares (S15)
	At           Pos
}

// Target is a thing that a hook depends on and that the agent does not run: a name service, a
// switch, an identity service (S12).
type Target struct {
	Name, Kind string
	Stands     Stands
	Needs      []string
	At         Pos
}

// Broker is an MQTT broker that is told.
type Broker struct {
	Name         string
	URL          string
	CA           string // PEM file of the authority; empty: the system's
	Cert, Key    string // PEM files of the client
	UsernameFile string // files are read at each connection, so that they can be changed
	PasswordFile string

	TelemetryCert, TelemetryKey string // PEM files of the telemetry's session; empty: the same

	Sessions  int  // 1: telemetry has no session of its own
	PlainText bool // over a network, as somebody said outright
	Stands    Stands
	At        Pos
}

// Config is a configuration without a fault.
type Config struct {
	File              string
	Site, Zone, Agent string
	Stands            Stands

	Journal string // directory
	Run     string // directory, on tmpfs
	Control string // path of the control socket
	Metrics string // host:port of /metrics; empty: it is not served

	HistoryMax int64         // bytes of the log of readings; 0: there is none
	HistoryAge time.Duration // of what belongs to no episode in it; 0: there is none

	Profiles    string   // directory of profiles of one's own; empty: none
	OwnProfiles []string // the profiles that were taken from there, sorted

	SigningKey    string // file of the key that messages are signed with; empty: they are not
	SignTelemetry bool   // readings too
	TrustedKeys   string // file of the keys of those who give orders and answer; empty: nobody does

	Packs    []PackReport // in the order of the file
	OwnPacks []string     // files of packs that are no built-in ones

	Buses   []Bus
	Devices []Device // by DeviceID
	Hooks   []Hook   // in the order of Rules.Response.Hooks
	Targets []Target
	Brokers []Broker

	Hub *Hub // nil: this file serves none

	Sources []AgentSource // other agents, by their word

	Telegraf *Telegraf // nil: there is no companion

	Drills []DrillSchedule

	Rules *core.Rules
	Plans []PlanReport // what check prints, in the order of Rules.Response.Plans
}

// Load reads and compiles a file. A file that cannot be read is one fault without a line.
func Load(path string, k Kinds) (*Config, []Fault) {
	f, err := os.Open(path)
	if err != nil {
		return nil, []Fault{{File: path, Text: fmt.Sprintf("cannot read the configuration: %v", err)}}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, []Fault{{File: path, Text: fmt.Sprintf("cannot read the configuration: %v", err)}}
	}
	return Parse(path, data, k)
}

// Parse compiles data; file is the name that faults show. It returns either a Config or faults.
func Parse(file string, data []byte, k Kinds) (c *Config, faults []Fault) {
	defer recovered(file, &c, &faults)
	return parse(file, data, k)
}

// recovered makes a fault of a panic: a kind's decoder or the TOML library may panic, and that must not end
// the agent on a reload. It is deferred itself.
func recovered(file string, c **Config, faults *[]Fault) {
	if p := recover(); p != nil {
		*c, *faults = nil, []Fault{{file, 1, 1, fmt.Sprintf("the configuration could not be read, please report this: %v", p)}}
	}
}

func tooLarge(file string) []Fault {
	return []Fault{{File: file, Text: fmt.Sprintf("the file is larger than %d bytes: it cannot be a configuration", maxFile)}}
}

func parse(file string, data []byte, k Kinds) (*Config, []Fault) {
	src := &source{file: file}
	if len(data) > maxFile {
		return nil, tooLarge(file)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	root := parseTree(src, data, "")
	if root == nil {
		return nil, src.sorted()
	}
	c := &compiler{source: src, kinds: k, root: root, cfg: &Config{File: file}, data: data}
	c.compile()
	if len(src.faults) > 0 {
		return nil, src.sorted()
	}
	return c.cfg, nil
}
