package wire

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"
)

// states encodes polls. It is the hot path: keys are made once, a message is appended to a buffer.
type states struct {
	points  []statePoint // by PointID
	devices []stateDevice
	notGood []noted // scratch
}

type statePoint struct {
	key     []byte // `,"battery.temperature":`
	channel string
	binary  bool
	known   bool
}

type stateDevice struct {
	head  []byte // `{"device":"ups-a","epoch":41,"seq":`
	topic [2]string
}

type noted struct {
	point sensors.PointID
	q     sensors.Quality
}

// reserved are the keys of a state message that are not channels.
const reserved = " device epoch seq ts origin bad uncertain replayed corrected_ts key_id sig "

// Channel is the key of a point in the state message of its device: its name without the device.
// A channel that would hide a key of the message keeps its full name.
func Channel(device, point string) string {
	ch, ok := strings.CutPrefix(point, device+".")
	if !ok || ch == "" || strings.Contains(reserved, " "+ch+" ") {
		return point
	}
	return ch
}

func newStates(id Identity, devices []sensors.Device, points []sensors.Point) *states {
	s := &states{}
	for _, d := range devices {
		for int(d.ID) >= len(s.devices) {
			s.devices = append(s.devices, stateDevice{})
		}
		sd := &s.devices[d.ID]
		sd.head = append([]byte(`{"device":`), quote(d.Name)...)
		sd.head = append(sd.head, `,"epoch":`...)
		sd.head = strconv.AppendUint(sd.head, id.Epoch, 10)
		sd.head = append(sd.head, `,"seq":`...)
		sd.topic = [2]string{id.Topic(State, false, d.Name), id.Topic(State, true, d.Name)}
	}
	names := make(map[sensors.DeviceID]string, len(devices))
	for _, d := range devices {
		names[d.ID] = d.Name
	}
	for _, p := range points {
		for int(p.ID) >= len(s.points) {
			s.points = append(s.points, statePoint{})
		}
		ch := Channel(names[p.Device], p.Name)
		key := append([]byte{','}, quote(ch)...)
		s.points[p.ID] = statePoint{key: append(key, ':'), channel: ch, binary: p.Kind == sensors.Binary, known: true}
	}
	return s
}

// quote marshals a string; that never fails.
func quote(s string) []byte {
	b, _ := json.Marshal(s)
	return b
}

// append encodes one poll of a known device.
func (s *states) append(dst []byte, b *sensors.Batch, seq uint64, wall time.Time, origin sensors.Origin) []byte {
	dst = append(dst, s.devices[b.Device].head...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, `,"ts":`...)
	dst = strconv.AppendInt(dst, wall.UnixMilli(), 10)
	if origin != sensors.Real {
		dst = append(dst, `,"origin":"`...)
		dst = append(dst, origin.String()...)
		dst = append(dst, '"')
	}
	s.notGood = s.notGood[:0]
	for i := range b.Readings {
		r := &b.Readings[i]
		if int(r.Point) >= len(s.points) || !s.points[r.Point].known {
			continue
		}
		p := &s.points[r.Point]
		q := r.Quality
		if q.Usable() && (math.IsNaN(r.Value) || math.IsInf(r.Value, 0)) {
			q = sensors.MakeQuality(sensors.Bad, sensors.Implausible, q.Origin())
		}
		dst = append(dst, p.key...)
		switch {
		case !q.Usable():
			dst = append(dst, "null"...)
		case p.binary:
			dst = strconv.AppendBool(dst, r.Value != 0)
		default:
			dst = appendFloat(dst, r.Value)
		}
		if q.Status() != sensors.Good {
			s.notGood = append(s.notGood, noted{r.Point, q})
		}
	}
	if len(s.notGood) > 0 {
		dst = s.appendNoted(dst, `,"bad":"`, false)
		dst = s.appendNoted(dst, `,"uncertain":"`, true)
	}
	return append(dst, '}')
}

// appendNoted lists the readings that are not good as name:reason. The names come from the quoted
// keys, so they need no escaping again.
func (s *states) appendNoted(dst []byte, key string, usable bool) []byte {
	any := false
	for _, n := range s.notGood {
		if n.q.Usable() != usable {
			continue
		}
		if any {
			dst = append(dst, ',')
		} else {
			dst = append(dst, key...)
			any = true
		}
		k := s.points[n.point].key
		dst = append(dst, k[2:len(k)-2]...)
		dst = append(dst, ':')
		dst = append(dst, reasonOf(n.q)...)
	}
	if any {
		dst = append(dst, '"')
	}
	return dst
}

func reasonOf(q sensors.Quality) string {
	if q.Reason() == sensors.NoReason {
		return "unstated"
	}
	return q.Reason().String()
}

// appendFloat writes a number as JSON. A value within a few units of the last place of a decimal
// with at most six digits after the point is written as that decimal: a register scaled by 0.1
// says 31.4 and not 31.400000000000002. All others are written in the shortest form that reads
// back to the same bits.
func appendFloat(dst []byte, v float64) []byte {
	const scale, digits = 1e6, 6
	if v == 0 {
		return append(dst, '0')
	}
	if math.Abs(v) < 1<<53 && v == math.Trunc(v) {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	x := v * scale
	n := math.RoundToEven(x)
	if math.Abs(n) < 1<<53 && n != 0 && math.Abs(x-n) <= math.Abs(x)*1e-15 {
		return appendDecimal(dst, int64(n), digits)
	}
	if a := math.Abs(v); a < 1e-6 || a >= 1e21 {
		return strconv.AppendFloat(dst, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(dst, v, 'f', -1, 64)
}

// appendDecimal writes n / 10^digits without trailing zeros; it has a fraction.
func appendDecimal(dst []byte, n int64, digits int) []byte {
	if n < 0 {
		dst, n = append(dst, '-'), -n
	}
	for n%10 == 0 {
		n, digits = n/10, digits-1
	}
	pow := int64(1)
	for range digits {
		pow *= 10
	}
	dst = strconv.AppendInt(dst, n/pow, 10)
	if digits == 0 {
		return dst
	}
	dst = append(dst, '.')
	for pow /= 10; pow > 0; pow /= 10 {
		dst = append(dst, byte('0'+n/pow%10))
	}
	return dst
}
