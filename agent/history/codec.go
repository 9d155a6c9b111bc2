package history

import (
	"encoding/binary"
	"math"
	"time"

	"firebreak/sensors"
)

// A frame is a group of polls with numbers in a row, each complete in itself: one that is lost takes
// nothing with it but its frame.
//
//	frame    count uvarint, polls
//	poll     device uvarint, seq uvarint, wall varint (ms after the frame's), count uvarint, readings
//	reading  flags u8, [quality uvarint], [at varint, ns after the last], [point varint, after the
//	         next], value
//
// The quality of the last reading holds, at first good; so does its instant, at first the frame's;
// points follow each other from the first of the device. So a quiet reading costs its flags and
// its value: most are small whole numbers or short decimals, and stand as such.
const (
	formZero byte = iota
	formInt       // varint; the next three in tenths, hundredths, thousandths
	formTenth
	formHundredth
	formThousandth
	formRaw     // 8 bytes
	formFloat32 // 4 bytes
	formMask    = 7

	hasQuality = 1 << 3
	hasAt      = 1 << 4
	hasPoint   = 1 << 5
	known      = formMask | hasQuality | hasAt | hasPoint
)

// shortDecimal bounds the whole number of a decimal to four bytes.
const shortDecimal = 1 << 27

func scale(form byte) float64 { return [...]float64{1, 10, 100, 1000}[form-formInt] }

func appendValue(b []byte, v float64) (byte, []byte) {
	bits := math.Float64bits(v)
	if bits == 0 {
		return formZero, b
	}
	for form := formInt; form <= formThousandth; form++ {
		m := math.Round(v * scale(form))
		if math.Abs(m) < shortDecimal && m != 0 && math.Float64bits(m/scale(form)) == bits {
			return form, binary.AppendVarint(b, int64(m))
		}
	}
	if f := float32(v); math.Float64bits(float64(f)) == bits {
		return formFloat32, binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return formRaw, binary.LittleEndian.AppendUint64(b, bits)
}

// appendPoll adds one poll to a frame that stands at base. first is the first point of its device.
func appendPoll(b []byte, base Instant, p *sensors.Batch, first sensors.PointID) []byte {
	b = binary.AppendUvarint(b, uint64(p.Device))
	b = binary.AppendUvarint(b, p.Seq)
	b = binary.AppendVarint(b, p.Wall.UnixMilli()-base.Wall)
	b = binary.AppendUvarint(b, uint64(len(p.Readings)))
	quality, at, next := sensors.GoodQuality, base.Mono, int64(first)
	for i := range p.Readings {
		r := &p.Readings[i]
		f := len(b)
		b = append(b, 0)
		var flags byte
		if r.Quality != quality {
			flags |= hasQuality
			b = binary.AppendUvarint(b, uint64(r.Quality))
		}
		if r.At != at {
			flags |= hasAt
			b = binary.AppendVarint(b, int64(r.At-at))
		}
		if int64(r.Point) != next {
			flags |= hasPoint
			b = binary.AppendVarint(b, int64(r.Point)-next)
		}
		var form byte
		form, b = appendValue(b, r.Value)
		b[f] = flags | form
		quality, at, next = r.Quality, r.At, int64(r.Point)+1
	}
	return b
}

// cursor reads with one error for all.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail() { c.b, c.err = nil, errBad }

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

func (c *cursor) bytes(n int) []byte {
	if len(c.b) < n {
		c.fail()
		return make([]byte, n)
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

// count reads a number of things of which each takes a byte at least.
func (c *cursor) count() int {
	n := c.uvarint()
	if n > uint64(len(c.b)) {
		c.fail()
		return 0
	}
	return int(n)
}

// decoder keeps its memory from frame to frame.
type decoder struct {
	polls    []sensors.Batch
	readings []sensors.Reading
}

// frame decodes the body of a frame; first gives the first point of a device. What it returns holds
// until the next call.
func (d *decoder) frame(body []byte, base Instant, first func(sensors.DeviceID) (sensors.PointID, bool)) ([]sensors.Batch, error) {
	d.polls, d.readings = d.polls[:0], d.readings[:0]
	c := cursor{b: body}
	var ends []int
	for range c.count() {
		dev := c.uvarint()
		p := sensors.Batch{Device: sensors.DeviceID(dev), Seq: c.uvarint()}
		p.Wall = time.UnixMilli(base.Wall + c.varint())
		from, ok := first(p.Device)
		if c.err != nil || dev > math.MaxUint32 || !ok {
			return nil, errBad
		}
		quality, at, next := sensors.GoodQuality, base.Mono, int64(from)
		for range c.count() {
			r := c.reading(quality, at, next)
			if c.err != nil {
				return nil, c.err
			}
			d.readings = append(d.readings, r)
			quality, at, next = r.Quality, r.At, int64(r.Point)+1
		}
		if c.err != nil {
			return nil, c.err
		}
		d.polls, ends = append(d.polls, p), append(ends, len(d.readings))
	}
	if c.err != nil || len(c.b) > 0 {
		return nil, errBad
	}
	at := 0
	for i, end := range ends { // only now, since appending may have moved them
		d.polls[i].Readings, at = d.readings[at:end:end], end
	}
	return d.polls, nil
}

func (c *cursor) reading(quality sensors.Quality, at sensors.Mono, next int64) sensors.Reading {
	flags := c.bytes(1)[0]
	if flags&^known != 0 {
		c.fail()
	}
	if flags&hasQuality != 0 {
		q := c.uvarint()
		if q > math.MaxUint16 {
			c.fail()
		}
		quality = sensors.Quality(q)
	}
	if flags&hasAt != 0 {
		at += sensors.Mono(c.varint())
	}
	if flags&hasPoint != 0 {
		next += c.varint()
	}
	if next < 0 || next > math.MaxUint32 {
		c.fail()
	}
	r := sensors.Reading{Point: sensors.PointID(next), Quality: quality, At: at}
	switch form := flags & formMask; form {
	case formZero:
	case formRaw:
		r.Value = math.Float64frombits(binary.LittleEndian.Uint64(c.bytes(8)))
	case formFloat32:
		r.Value = float64(math.Float32frombits(binary.LittleEndian.Uint32(c.bytes(4))))
	case formInt, formTenth, formHundredth, formThousandth:
		r.Value = float64(c.varint()) / scale(form)
	default:
		c.fail()
	}
	return r
}
