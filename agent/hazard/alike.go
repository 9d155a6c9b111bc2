package hazard

import (
	"math/bits"
	"slices"
	"strings"
	"time"

	"firebreak/sensors"
)

// A group that fails alike is distrusted: where all that is true behind one bus or gateway, on three
// devices or more, turned from false to true within two seconds, what is between them is the likelier
// cause (a shifted register, a swapped word, old values replayed) than a fire that reaches all of them
// between two polls. They count as two devices at most, however many they are, and an alarm says so:
// a vote that needs three needs one from elsewhere. Two, not one, because one more true member must
// never make a vote less than it was: two that see a fire together are two. Nobody is distrusted whose
// turn nobody has seen: what comes back true after a silence did not turn.

// DefaultAlikeWithin is how near together such turns are, unless the rules say.
const DefaultAlikeWithin = 2 * time.Second

const (
	minAlike = 3 // devices are a group that can fail alike: two may well see one fire
	maxAlike = 2 // devices that such a group counts for
)

// alike is a set of entries of one vote behind one cause.
type alike struct {
	group int // index into Engine.groups
	set   uint64
}

func (e *Engine) alikeWithin() time.Duration {
	if e.r.AlikeWithin != 0 {
		return e.r.AlikeWithin
	}
	return DefaultAlikeWithin
}

// buildAlike finds, for each vote, the causes behind which three or more of its devices stand.
func (e *Engine) buildAlike() {
	if e.alikeWithin() < 0 {
		return
	}
	for i := range e.conds {
		v := e.conds[i].vote
		if v == nil {
			continue
		}
		for g := range e.groups {
			if strings.HasPrefix(e.groups[g].name, "supply/") {
				continue // it makes nobody say anything
			}
			a, devices := alike{group: g}, map[sensors.DeviceID]bool{}
			for k := range v.entries {
				n := &v.entries[k]
				if n.member >= 0 && slices.Contains(e.groups[g].devices, n.device) {
					a.set |= 1 << k
					devices[n.device] = true
				}
			}
			if len(devices) >= minAlike {
				v.alike = append(v.alike, a)
			}
		}
	}
}

// turnedAlike returns the members of set behind one cause if they have turned true together.
func (e *Engine) turnedAlike(v *vote, a *alike, set uint64) uint64 {
	together := a.set & set
	first, last := never, sensors.Mono(0)
	for b := together; b != 0; b &= b - 1 {
		n := &v.entries[bits.TrailingZeros64(b)]
		m := &e.members[n.member]
		if m.turn0 == 0 {
			return 0
		}
		first, last = min(first, m.turn0), max(last, m.turn1)
	}
	if v.devices(together) < minAlike || last.Sub(first) > e.alikeWithin() {
		return 0
	}
	return together
}

// devices counts the devices of a set.
func (v *vote) devices(set uint64) (n int) {
	for b := set; b != 0; b &= b - 1 {
		i := bits.TrailingZeros64(b)
		first := true
		for c := set & (1<<i - 1); c != 0 && first; c &= c - 1 {
			first = v.entries[bits.TrailingZeros64(c)].device != v.entries[i].device
		}
		if first {
			n++
		}
	}
	return n
}

// turns notes when the true points of a member turned.
func (e *Engine) turns(m *member) {
	m.turn0, m.turn1 = never, 0
	for i := m.i0; i < m.i1; i++ {
		if in := &e.inputs[i]; in.is == True {
			m.turn0, m.turn1 = min(m.turn0, in.turn), max(m.turn1, in.turn)
		}
	}
}

// Alike names the causes behind which the true members of some vote have turned together.
func (e *Engine) Alike() (names []string) {
	for i := range e.conds {
		v := e.conds[i].vote
		if v == nil || v.alike == nil {
			continue
		}
		set := uint64(0)
		for k := range v.entries {
			if n := &v.entries[k]; n.member >= 0 && e.members[n.member].v.Is == True {
				set |= 1 << k
			}
		}
		for k := range v.alike {
			a := &v.alike[k]
			if name := e.groups[a.group].name; e.turnedAlike(v, a, set) != 0 && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// weighTrusted is weigh with each group that turned alike as its two heaviest devices.
func (e *Engine) weighTrusted(v *vote, set uint64) int {
	weight := v.weigh(set)
	for k := range v.alike {
		if together := e.turnedAlike(v, &v.alike[k], set); together != 0 {
			weight = min(weight, v.weigh(set&^together)+v.heaviestTwo(together))
		}
	}
	return weight
}

func (v *vote) heaviestTwo(set uint64) int {
	first, second := 0, 0
	for rest := set; rest != 0; {
		device, own := v.entries[bits.TrailingZeros64(rest)].device, uint64(0)
		for b := rest; b != 0; b &= b - 1 {
			if i := bits.TrailingZeros64(b); v.entries[i].device == device {
				own |= 1 << i
			}
		}
		rest &^= own
		if w := v.weigh(own); w > first {
			first, second = w, first
		} else {
			second = max(second, w)
		}
	}
	return first + second
}
