package uplink

import (
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
)

// Memory outlives the process but not the boot, and waits for no disk: a file on tmpfs that has all its bytes.
type Memory interface {
	io.WriterAt     // of MemoryBytes
	Left() [][]byte // what lives before this one have left in theirs, oldest first
	Forget() error  // the lives before this one: what they left is on the disk. It may wait
}

// MemoryBytes is the size of a Memory.
const MemoryBytes = 2 << 20

// words are the last that was told, copied to where a SIGKILL does not reach while the log's writer is still on its
// way to the kernel: it may be in an fsync of what came before. Whoever tells waits for a copy in memory, as long as
// for one in its own.
//
// A memory is two halves. Each begins with a number, and goes on with records that are summed up with it; when
// one is full, the other is begun anew. So the newest half of a memory at least is always whole.
type words struct {
	to  Memory // nil: there is none
	gen uint64
	at  int64 // in the half of gen
	buf []byte
}

const (
	wordsMagic  = "FBWORDS1"
	wordsHeader = 8 + 8
	wordHeader  = 4 + 4
)

// put copies a record; false: it cannot.
func (w *words) put(record []byte) bool {
	const half = MemoryBytes / 2
	need := int64(wordHeader + len(record))
	if w.to == nil || wordsHeader+need > half {
		return false
	}
	w.buf = w.buf[:0]
	gen, at := w.gen, w.at
	if gen == 0 || at+need > half {
		gen, at = gen+1, 0
		w.buf = binary.LittleEndian.AppendUint64(append(w.buf, wordsMagic...), gen)
	}
	from := at + int64(len(w.buf))
	w.buf = binary.LittleEndian.AppendUint32(w.buf, uint32(len(record)))
	w.buf = binary.LittleEndian.AppendUint32(w.buf, wordSum(gen, from, record))
	w.buf = append(w.buf, record...)
	if _, err := w.to.WriteAt(w.buf, int64(gen%2)*half+at); err != nil {
		w.gen, w.at = gen, half // the half may be torn: the next goes to the other one
		return false
	}
	w.gen, w.at = gen, at+int64(len(w.buf))
	return true
}

func wordSum(gen uint64, at int64, record []byte) uint32 {
	t := crc32.MakeTable(crc32.Castagnoli)
	var seed [16]byte
	binary.LittleEndian.PutUint64(seed[:], gen)
	binary.LittleEndian.PutUint64(seed[8:], uint64(at))
	return crc32.Update(crc32.Update(0, t, seed[:]), t, record)
}

// readWords gives the records of a memory, oldest first. What does not read back ends its half.
func readWords(b []byte) (records [][]byte) {
	type part struct {
		gen uint64
		b   []byte
	}
	var parts []part
	middle := min(len(b), MemoryBytes/2)
	for _, h := range [][]byte{b[:middle], b[middle:]} {
		if len(h) > wordsHeader && string(h[:8]) == wordsMagic {
			parts = append(parts, part{binary.LittleEndian.Uint64(h[8:]), h})
		}
	}
	slices.SortFunc(parts, func(x, y part) int { return cmp.Compare(x.gen, y.gen) })
	for _, p := range parts {
		for at := wordsHeader; len(p.b)-at >= wordHeader; {
			n := binary.LittleEndian.Uint32(p.b[at:])
			rest := p.b[at+wordHeader:]
			if n == 0 || uint64(n) > uint64(len(rest)) || wordSum(p.gen, int64(at), rest[:n]) != binary.LittleEndian.Uint32(p.b[at+4:]) {
				break
			}
			records = append(records, rest[:n])
			at += wordHeader + int(n)
		}
	}
	return records
}
