package slave

import (
	"maps"
	"slices"
)

// Function 0x2B with MEI type 0x0E, "read device identification" (Modbus application protocol 1.1b3, 6.21).
const (
	identification    = 0x2B
	meiIdentification = 0x0E
	identHead         = 7
	maxPDU            = 253
)

// Say sets an object of the unit's identification, of 245 bytes at most: longer ones fit into no reply. A unit without
// objects does not know the function.
func (b *Bank) Say(object byte, text []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[byte][]byte{}
	}
	b.objects[object] = slices.Clone(text[:min(len(text), maxPDU-identHead-2)])
}

// identify answers a request for a list of objects: from the one that is asked for on, or from the first of all
// where that one does not exist, as many as one reply holds.
func (b *Bank) identify(pdu []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	refuse := func(code byte) []byte { return []byte{identification | 0x80, code} }
	switch {
	case b.objects == nil || len(pdu) < 2 || pdu[1] != meiIdentification:
		return refuse(IllegalFunction)
	case len(pdu) != 4 || pdu[2] < 1 || pdu[2] > 3:
		return refuse(IllegalValue)
	}
	last := [...]byte{0, 2, 0x7F, 0xFF}[pdu[2]]
	out := []byte{identification, meiIdentification, pdu[2], 0x03, 0, 0, 0}
	_, known := b.objects[pdu[3]]
	for _, id := range slices.Sorted(maps.Keys(b.objects)) {
		text := b.objects[id]
		switch {
		case known && id < pdu[3] || id > last:
			continue
		case len(out)+2+len(text) > maxPDU:
			out[4], out[5] = 0xFF, id
			return out
		}
		out[6]++
		out = append(append(out, id, byte(len(text))), text...)
	}
	return out
}
