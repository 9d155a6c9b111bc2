package i2c

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/i2c"
)

// First and Last are the addresses that chips have; those outside are reserved.
const First, Last uint16 = 0x08, 0x77

// addresses are where each chip may stand, by its pins (the datasheets that the profiles name).
func addresses() map[string][2]uint16 {
	return map[string][2]uint16{
		"ads1115":  {0x48, 0x4B},
		"amg8833":  {0x68, 0x69},
		"bme280":   {0x76, 0x77},
		"bme680":   {0x76, 0x77},
		"ens160":   {0x52, 0x53},
		"hdc302x":  {0x44, 0x47},
		"ina226":   {0x40, 0x4F},
		"lm75":     {0x48, 0x4F},
		"max17048": {0x36, 0x36},
		"mcp23017": {0x20, 0x27},
		"mcp9808":  {0x18, 0x1F},
		"mlx90614": {0x5A, 0x5A},
		"mlx90640": {0x33, 0x33},
		"pcf8574":  {0x20, 0x27}, // and 0x38 to 0x3F of type A
		"sbs":      {0x0B, 0x0B},
		"scd4x":    {0x62, 0x62},
		"sgp40":    {0x59, 0x59},
		"sgp41":    {0x59, 0x59},
		"sht3x":    {0x44, 0x45},
		"sht4x":    {0x44, 0x46},
		"sps30":    {0x69, 0x69},
		"tmp117":   {0x48, 0x4B},
	}
}

// ChipsAt names the chips that may stand at addr, sorted: several share most addresses.
func ChipsAt(addr uint16) (names []string) {
	for n, r := range addresses() {
		if addr >= r[0] && addr <= r[1] || n == "pcf8574" && addr >= 0x38 && addr <= 0x3F {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// Survey finds the addresses that answer. It asks each for one byte and writes nothing, not even the pointer
// to a register: one written byte switches the outputs of a PCF8574. So it does not find chips that
// acknowledge a read only when they have measured, as those of Sensirion. held are addresses that a kernel driver
// has; they are not asked.
func Survey(ctx context.Context, b i2c.Bus) (there, held []uint16, err error) {
	var one [1]byte
	for addr := First; addr <= Last; addr++ {
		if err := ctx.Err(); err != nil {
			return there, held, err
		}
		switch err := b.Tx(addr, nil, one[:]); {
		case err == nil:
			there = append(there, addr)
		case errors.Is(err, unix.ENXIO), errors.Is(err, unix.EREMOTEIO):
		case errors.Is(err, unix.EBUSY):
			held = append(held, addr)
		default:
			return there, held, fmt.Errorf("address %#02x: %w", addr, err) // a stuck bus answers nobody
		}
	}
	return there, held, nil
}
