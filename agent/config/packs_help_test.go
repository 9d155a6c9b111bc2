package config

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"firebreak/configs"
)

// packRoom is a room that has all that a pack looks for, each kind of evidence on two paths, and a
// plan on the votes of the pack.
type packRoom struct {
	devices  string            // "NAME=PROFILE@BUS", by spaces; a load controller is there too
	roles    string            // of the pack
	stages   map[string]string // vote by level
	deadline string
}

const (
	smokeDevices = "asd-1=faast@b asd-2=asd@a duct-1=calectro-ug3@line "
	gasDevices   = "gas-1=gas-lel@a gas-2=gas-ppm@b gas-3=bme680@chips gas-4=sensepoint-xcl@line "
	panelDevices = "panel-1=panel@line panel-2=panel@a "
	heatDevices  = "cable-1=alarmline@line cable-2=alarmline@b "
	sightDevices = "spot-1=mlx90614@chips spot-2=amg8833@more "
	bmsDevices   = "bms-1=soltaro-c@a bms-2=bms-words@b shunt-1=victron-battery@b "
	upsDevices   = "ups-1=apc-smart-ups@a ups-2=apc-smart-ups@b ups-3=victron-vebus@a ups-4=ups-words@b cab-u=tmp117@chips "
)

// packRooms has one room for each pack that ships.
var packRooms = map[string]packRoom{
	"smoke":         {devices: smokeDevices, stages: map[string]string{"1": "smoke-warn", "2b": "smoke-high"}},
	"off-gas":       {devices: gasDevices, stages: map[string]string{"1": "gas-warn", "2b": "gas-high"}},
	"heat-line":     {devices: heatDevices, stages: map[string]string{"1": "heat-line", "2b": "heat-line"}},
	"hot-surface":   {devices: sightDevices, stages: map[string]string{"1": "surface-warm", "2b": "surface-hot"}},
	"fire-panel":    {devices: panelDevices, stages: map[string]string{"1": "panel-warn", "2b": "panel-high"}},
	"ups-internals": {devices: upsDevices, roles: `ups-cabinet = "cab-u.temperature"`, stages: map[string]string{"1": "ups-warn", "2b": "ups-high"}},
	"lithium-ion-room": {devices: smokeDevices + gasDevices + heatDevices + sightDevices + panelDevices + upsDevices + bmsDevices + "cells-1=cells@b cab-1=tmp117@chips room-1=room@line ",
		roles:  `cabinet = "cab-1.temperature", ups-cabinet = "cab-u.temperature"`,
		stages: map[string]string{"1": "battery-warn", "2a": "battery-high", "2b": "battery-high", "3": "battery-fire", "4": "battery-confirmed"}},
	"vrla-string": {devices: smokeDevices + gasDevices + heatDevices + sightDevices + panelDevices + "strings-1=alber-bdsu@b shunt-1=victron-battery@a vrla-1=vrla@a vrla-2=vrla@line ", roles: `vrla-ambient = "vrla-1.ambient.temperature"`,
		stages: map[string]string{"1": "vrla-warn", "2a": "vrla-high", "2b": "vrla-high", "3": "vrla-fire", "4": "vrla-confirmed"}},
	"it-inlet":         {devices: "in-1=inlets@a in-2=inlets@b ", stages: map[string]string{"1": "inlet-warn"}},
	"it-inlet-a1":      inletRoom,
	"it-inlet-a2":      inletRoom,
	"it-inlet-a3":      inletRoom,
	"it-inlet-a4":      inletRoom,
	"water-near-power": {devices: "room-1=room@a room-2=room@line ", stages: map[string]string{"1": "water-warn", "2b": "water-high"}},
	"cooling-loss": {devices: "in-1=inlets@a in-2=inlets@b cool-1=cooling@a cool-2=cooling@line ", deadline: "10m",
		stages: map[string]string{"1": "cooling-warn", "2b": "cooling-high", "3": "cooling-lost"}},
}

var inletRoom = packRoom{devices: "in-1=inlets@a in-2=inlets@b ", stages: map[string]string{"1": "inlet-warn", "2b": "inlet-high"}}

// packKinds are the packs that ship, and profiles that ship or are made up.
func packKinds(t testing.TB) Kinds {
	t.Helper()
	all := fstest.MapFS{}
	for _, dir := range []fs.FS{configs.Profiles(), os.DirFS("testdata/rooms")} {
		names, err := fs.Glob(dir, "*.toml")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			data, err := fs.ReadFile(dir, n)
			if err != nil {
				t.Fatal(err)
			}
			all[n] = &fstest.MapFile{Data: data}
		}
	}
	k := testKinds()
	k.Profiles, k.Packs = all, configs.Hazards()
	return k
}

const packSite = `site = "test"
zone = "room"
agent = "rack1"
stands = { zone = "corridor", feed = "X" }
`

var packBuses = map[string]string{
	"a":     "kind = \"modbus-tcp\"\naddress = \"127.0.0.1:1502\"\ngateway = \"sw-1\"\nsupply = \"A\"\n",
	"b":     "kind = \"modbus-tcp\"\naddress = \"127.0.0.2:1502\"\ngateway = \"sw-2\"\nsupply = \"B\"\n",
	"line":  "kind = \"modbus-rtu\"\ndevice = \"/dev/ttyS0\"\nsupply = \"C\"\n",
	"chips": "kind = \"i2c\"\nadapter = \"/dev/i2c-1\"\nsupply = \"D\"\n",
	"more":  "kind = \"i2c\"\nadapter = \"/dev/i2c-2\"\nsupply = \"E\"\n",
}

// config writes the configuration of a room that uses a pack, with more lines of its own for [[pack]].
func (r packRoom) config(pack, more string) []byte {
	var b strings.Builder
	b.WriteString(packSite)
	for _, n := range []string{"a", "b", "line", "chips", "more"} {
		if n == "more" && !strings.Contains(r.devices, "@more ") {
			continue
		}
		fmt.Fprintf(&b, "[[bus]]\nname = %q\n%s", n, packBuses[n])
	}
	for i, d := range strings.Fields(r.devices + " load=load-controller@b") {
		name, rest, _ := strings.Cut(d, "=")
		profile, bus, _ := strings.Cut(rest, "@")
		fmt.Fprintf(&b, "[[device]]\nname = %q\nprofile = %q\nbus = %q\n", name, profile, bus)
		if bus == "chips" || bus == "more" {
			fmt.Fprintf(&b, "address = %d\n", 0x40+i)
		} else {
			fmt.Fprintf(&b, "unit = %d\n", i+1)
		}
	}
	fmt.Fprintf(&b, "[[pack]]\nuse = %q\nroles = { %s }\n%s\n", pack, r.roles, more)
	b.WriteString("[[hook]]\nname = \"tell\"\nkind = \"web\"\nurl = \"http://127.0.0.1/\"\nstands = { zone = \"far\", feed = \"Y\" }\n")
	deadline := r.deadline
	if deadline == "" {
		deadline = "3m"
	}
	fmt.Fprintf(&b, "[[plan]]\nname = \"leave\"\nowner = \"noc\"\ndeadline = %q\npower_loss = \"30m\"\n", deadline)
	for _, level := range []string{"1", "2a", "2b", "3", "4"} {
		if vote := r.stages[level]; vote != "" {
			fmt.Fprintf(&b, "[[plan.stage]]\nlevel = %q\nwhen = %q\n", level, vote)
			if level == "3" || level == "4" {
				b.WriteString("if_blind = \"hold\"\n")
			}
			fmt.Fprintf(&b, "[[plan.stage.step]]\nname = \"s%s\"\nhook = \"tell\"\n", level)
			switch level {
			case "3":
			case "4":
				b.WriteString("evidence = \"load.bus_voltage < 5 V\"\n")
			default:
				b.WriteString("revert = \"nothing\"\n")
			}
		}
	}
	return []byte(b.String())
}
