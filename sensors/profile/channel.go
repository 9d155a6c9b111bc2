package profile

import (
	"fmt"
	"math"
	"math/bits"
	"time"

	"firebreak/sensors"
)

// Type is how a channel's raw value lies in its registers.
type Type uint8

const (
	Bool Type = iota // one coil or discrete input
	U16
	I16
	U32
	I32
	F32
	U8High
	U8Low
	S8High
	S8Low
)

var typeNames = [...]string{"bool", "u16", "i16", "u32", "i32", "f32", "u8-high", "u8-low", "s8-high", "s8-low"}

func (t Type) String() string { return typeNames[t] }

// Words is the number of registers (or bits, for Bool) that a value takes.
func (t Type) Words() int {
	if t == U32 || t == I32 || t == F32 {
		return 2
	}
	return 1
}

func (t Type) signed() bool { return t == I16 || t == I32 || t == S8High || t == S8Low }

func (t Type) width() int {
	switch t {
	case Bool:
		return 1
	case U8High, U8Low, S8High, S8Low:
		return 8
	case U16, I16:
		return 16
	}
	return 32
}

// Gate is a condition on another channel for this one to be good.
type Gate struct {
	Channel int  // index into Profile.Channels; that channel has no gate itself
	Equal   bool // good while the other equals Value (true) or differs from it (false)
	Value   float64
	Contact bool // of a guard over Modbus: good while its bit is not that of this channel; Equal and Value do not count
	Band    bool // good while the other is within Min and Max, whatever Equal and Value are
	Min     float64
	Max     float64
	Open    bool           // it does not close while the other channel cannot be read
	Reason  sensors.Reason // FlowFault makes the channel uncertain, all others bad
}

// Opens tells whether c, which reads own, is good by its gate g when the other channel reads v.
func (p *Profile) Opens(c *Channel, g *Gate, own, v float64) bool {
	if g.Contact { // of whole wires one is closed and the other open
		return (own != v) == (c.Invert == p.Channels[g.Channel].Invert)
	}
	if g.Band {
		return v >= g.Min && v <= g.Max
	}
	return (v == g.Value) == g.Equal
}

// Channel is one measured quantity of a device.
type Channel struct {
	Name    string
	Func    Function
	Address uint16 // on the wire, from zero
	Type    Type
	Swapped bool   // two words, the low one first
	Mask    uint32 // of the raw value, shifted down to bit 0; zero: the whole. A single bit is a mask.
	Invert  bool   // binary: 0 means true

	Scale, Offset  float64  // value = raw*Scale + Offset
	Sentinels      []uint32 // raw values that mean "no value", compared before the mask
	SentinelReason sensors.Reason

	Unit       sensors.Unit
	Kind       sensors.Kind
	Physics    sensors.Physics
	Hazard     int8
	Min, Max   float64
	MaxRate    float64
	Lag        time.Duration
	Refresh    time.Duration // how often the device itself renews the value; zero: at each read
	Panel      bool
	Gates      []Gate
	Guard      uint16 // GPIO line, or coil or discrete input, that reads the opposite while the wires are whole
	Guarded    bool
	Pull       string        // GPIO: up, down, or empty: as the board has it
	Stuck      time.Duration // not moved by more than Noise for so long: stuck; zero: it may stand still
	Noise      float64       // in Unit: a live sensor moves by more than that, by itself
	Zeros      string        // channels of one name that all hold zero at once hold no values
	Unverified string

	Variable string   // NUT: the variable of the UPS that holds the value; SNMP: the object, or the column of a table
	Word     string   // NUT, SNMP: true while it holds this word; empty: it holds a number
	None     []string // NUT, SNMP: words that mean "no value"
	Rows     string   // SNMP: the object that counts the rows of the column Variable
	Enum     [2]int64 // SNMP: the first and the last value that there are; zeros: any
	Digits   bool     // SNMP: the number comes as text
}

// Span is the run of addresses that the channel is read from.
func (c *Channel) Span() Span { return Span{c.Func, c.Address, uint16(c.Type.Words())} }

// Place names the register: "holding/0x2109".
func (c *Channel) Place() string {
	switch {
	case c.Variable != "" && isOID(c.Variable):
		return "snmp/" + c.Variable
	case c.Variable != "":
		return "nut/" + c.Variable
	}
	return fmt.Sprintf("%s/0x%04X", c.Func, c.Address)
}

// raw joins the words into an unsigned value of the type's width.
func (c *Channel) raw(words []uint16) uint32 {
	switch c.Type {
	case Bool:
		if words[0] != 0 {
			return 1
		}
		return 0
	case U8High, S8High:
		return uint32(words[0] >> 8)
	case U8Low, S8Low:
		return uint32(words[0] & 0xFF)
	case U32, I32, F32:
		if c.Swapped {
			return uint32(words[1])<<16 | uint32(words[0])
		}
		return uint32(words[0])<<16 | uint32(words[1])
	}
	return uint32(words[0])
}

func (c *Channel) setRaw(words []uint16, raw uint32) {
	switch c.Type {
	case U8High, S8High:
		words[0] = words[0]&0x00FF | uint16(raw)<<8
	case U8Low, S8Low:
		words[0] = words[0]&0xFF00 | uint16(raw)&0xFF
	case U32, I32, F32:
		hi, lo := uint16(raw>>16), uint16(raw)
		if c.Swapped {
			hi, lo = lo, hi
		}
		words[0], words[1] = hi, lo
	default:
		words[0] = uint16(raw)
	}
}

// Decode turns the registers of this channel, as they came over the wire, into a value in the
// channel's unit. A wrong number of words is bad (comm). Range and rate are the Qualifier's.
func (c *Channel) Decode(words []uint16) (float64, sensors.Quality) {
	if len(words) != c.Type.Words() {
		return 0, sensors.BadQuality(sensors.Comm)
	}
	raw := c.raw(words)
	for _, s := range c.Sentinels {
		if raw == s {
			return 0, sensors.BadQuality(c.SentinelReason)
		}
	}
	if c.Mask != 0 {
		raw = raw & c.Mask >> bits.TrailingZeros32(c.Mask)
	}
	if c.Kind == sensors.Binary {
		if (raw != 0) != c.Invert {
			return 1, sensors.GoodQuality
		}
		return 0, sensors.GoodQuality
	}
	v := float64(raw)
	switch c.Type {
	case F32:
		v = float64(math.Float32frombits(raw))
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, sensors.BadQuality(sensors.Implausible)
		}
	case I32:
		v = float64(int32(raw))
	case I16:
		v = float64(int16(raw))
	case S8High, S8Low:
		v = float64(int8(raw))
	}
	return v*c.Scale + c.Offset, sensors.GoodQuality
}

// Encode is the inverse of Decode, for simulated devices: it writes v into words, leaving the
// other bits of a shared register alone. A value that the registers cannot hold is clamped, as a
// real device's converter saturates.
func (c *Channel) Encode(v float64, words []uint16) {
	if len(words) != c.Type.Words() {
		return
	}
	var raw uint32
	switch {
	case c.Kind == sensors.Binary:
		if (v != 0) != c.Invert {
			raw = 1
			if c.Mask != 0 {
				raw = c.Mask >> bits.TrailingZeros32(c.Mask)
			}
		}
	case c.Type == F32:
		raw = math.Float32bits(float32((v - c.Offset) / c.Scale))
	default:
		raw = c.saturate((v - c.Offset) / c.Scale)
	}
	if c.Mask != 0 {
		raw = c.raw(words)&^c.Mask | raw<<bits.TrailingZeros32(c.Mask)&c.Mask
	}
	c.setRaw(words, raw)
}

// saturate rounds v to the nearest raw value of the type.
func (c *Channel) saturate(v float64) uint32 {
	width := c.Type.width()
	if c.Mask != 0 {
		width = bits.Len32(c.Mask) - bits.TrailingZeros32(c.Mask)
	}
	lo, hi := 0.0, math.Ldexp(1, width)-1
	if c.Type.signed() {
		lo, hi = -math.Ldexp(1, width-1), math.Ldexp(1, width-1)-1
	}
	v = math.Round(v)
	if !(v > lo) { // NaN too
		v = lo
	}
	return uint32(int64(math.Min(v, hi))) & uint32(1<<width-1)
}

// EncodeSentinel writes the channel's first "no value" into words; false when it has none.
func (c *Channel) EncodeSentinel(words []uint16) bool {
	if len(c.Sentinels) == 0 || len(words) != c.Type.Words() {
		return false
	}
	c.setRaw(words, c.Sentinels[0])
	return true
}
