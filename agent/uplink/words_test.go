package uplink

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"firebreak/agent/journal/faultfs"
	"firebreak/agent/wire"
	"firebreak/agent/wire/brokertest"
)

// testMemory is a memory of one life, and what others have left.
type testMemory struct {
	b      []byte
	fail   bool
	left   [][]byte
	forgot chan struct{}
}

func newTestMemory(left ...[]byte) *testMemory {
	return &testMemory{b: make([]byte, MemoryBytes), left: left, forgot: make(chan struct{})}
}

func (m *testMemory) WriteAt(p []byte, off int64) (int, error) {
	if m.fail {
		return copy(m.b[off:], p[:len(p)/2]), errors.New("it does not take it")
	}
	return copy(m.b[off:], p), nil
}

func (m *testMemory) Left() [][]byte { return m.left }
func (m *testMemory) Forget() error  { close(m.forgot); return nil }

// A kill at a moment at which nothing of the last transitions was handed to the kernel costs none: the next life
// finds them in memory, tells them, and has them in its log before it forgets them.
func TestKilledBeforeTheLogHasIt(t *testing.T) {
	const n = 300
	fs, mem := faultfs.New(), newTestMemory()
	cfg := lifeOf(1, fs, brokertest.Start(t, away).URL())
	cfg.Memory = mem
	u, _ := start(t, cfg)
	for i := range n / 2 {
		u.Offer(alarm(fmt.Sprint("a", i%7), uint64(i), 1, true))
	}
	written(t, u)
	disk := fs.Clone() // what the kernel has; the rest is told, and the process killed
	for i := range n / 2 {
		u.Offer(alarm(fmt.Sprint("a", i%7), uint64(n/2+i), 1, true))
		u.Offer(event(i))
	}
	in := newInbox()
	second := lifeOf(2, disk, brokertest.Start(t, acker(in)).URL())
	next := newTestMemory(bytes.Clone(mem.b))
	second.Memory = next
	u2, _ := start(t, second)
	got := in.await(t, "all of the killed life", func(got []received) bool {
		return len(of(got, "i1", "alarm")) >= n && len(of(got, "i1", "event")) >= n/2
	})
	if s := of(got, "i1", "alarm"); !slices.Equal(s, upTo(n)) {
		t.Errorf("%d of %d, or out of order", len(s), n)
	}
	<-next.forgot
	u2.outbox.mu.Lock()
	defer u2.outbox.mu.Unlock()
	if d := u2.outbox.j.DurableSeq(); u2.outbox.left == 0 || d < u2.outbox.left {
		t.Errorf("forgotten at %d, and durable are %d", u2.outbox.left, d)
	}
}

// Of what goes round the newest half at least reads back, to the last word and without a hole; a write that
// fails takes its half and nothing else.
func TestWordsGoRound(t *testing.T) {
	m := newTestMemory()
	w := words{to: m}
	word := func(i int) []byte { return fmt.Appendf(bytes.Repeat([]byte{'.'}, 3000+i%500), "%d", i) }
	for i := range 5000 {
		if !w.put(word(i)) {
			t.Fatal(i)
		}
		if i%97 > 0 && i < 4990 {
			continue
		}
		got := readWords(m.b)
		size := 0
		for k, b := range got {
			if size += len(b); !bytes.Equal(b, word(i-len(got)+1+k)) {
				t.Fatalf("after %d: word %d of %d is another", i, k, len(got))
			}
		}
		if size < MemoryBytes/2-8<<10 && len(got) < i+1 {
			t.Fatalf("after %d: %d bytes", i, size)
		}
	}
	m.fail = true
	if w.put(word(5000)) {
		t.Error("what was not written is said to be")
	}
	m.fail = false
	before := len(readWords(m.b))
	if !w.put(word(5001)) || before == 0 {
		t.Errorf("after a failure: %d", before)
	}
	if got := readWords(m.b); len(got) == 0 || !bytes.Equal(got[len(got)-1], word(5001)) {
		t.Error("what was told after a failure is not there")
	}
	if w.put(make([]byte, MemoryBytes/2)) || (&words{}).put(word(1)) {
		t.Error("what has no room is said to have it")
	}
}

// FuzzWords: whatever stands in memory, what is told of it is what was told, in order.
func FuzzWords(f *testing.F) {
	m := newTestMemory()
	w := words{to: m}
	said := map[string]int{}
	for i := range 400 {
		k := kept{place: place{41, uint64(i + 1), 0, uint64(i + 1)}, m: wire.Message{Class: wire.Event, Seq: uint64(i + 1), Instance: "i1",
			Topic: "firebreak/1/event/site/zone/agent", Payload: fmt.Appendf(nil, `{"n":%d,"x":"%s"}`, i, bytes.Repeat([]byte{'x'}, 4000))}}
		b := k.append(nil)
		w.put(b)
		said[string(b)] = i
	}
	f.Add(uint32(20), []byte{1}, uint32(MemoryBytes))
	f.Add(uint32(MemoryBytes/2+9), []byte{0xff, 0xff, 0xff, 0xff}, uint32(MemoryBytes/2))
	f.Fuzz(func(t *testing.T, at uint32, with []byte, size uint32) {
		b := bytes.Clone(m.b[:min(int(size), MemoryBytes)])
		for i, v := range with {
			if k := int(at) + i; k < len(b) {
				b[k] ^= v
			}
		}
		last := -1
		for _, r := range readWords(b) {
			i, ok := said[string(r)]
			if !ok || i <= last {
				t.Fatalf("word %d after %d, known %v", i, last, ok)
			}
			last = i
		}
	})
}
