package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"strconv"
	"strings"
)

// All numbers are little-endian.
//
// Segment: header, then records.
//
//	header   magic "FBJSEG01", index u64, prev u64, base u64, crc u32
//	record   length u32, crc u32, seq u64, behind u32, payload
//
// index is the number in the file's name. prev is the last durable sequence when the segment was
// begun. No sequence from base on had been handed out by an earlier process or written to an
// earlier segment as durable. behind is seq less the last durable sequence when the record was
// written: a record that is read back proves that everything up to seq-behind was once durable.
// The record's crc also covers index, so that a stale block of another file never fits.
//
// Snapshot: magic "FBJSNP01", covers u64, length u64, crc u32, payload.
const (
	segmentMagic  = "FBJSEG01"
	snapshotMagic = "FBJSNP01"

	segmentHeader  = 8 + 8 + 8 + 8 + 4
	recordHeader   = 4 + 4 + 8 + 4
	snapshotHeader = 8 + 8 + 8 + 4

	// Bounds for what is read back, whatever the options of the process that wrote it were.
	hardRecord   = 16 << 20
	hardSegment  = 64 << 20
	hardSnapshot = 64 << 20

	// seqGap is left free at each Open. It exceeds all that one lost file and one full queue can
	// hold, so that a number that was handed out is not handed out again.
	seqGap         = 1 << 20
	segmentRecords = 1 << 19
	hardQueue      = 1 << 18

	// hardNumber bounds every sequence and index read back, so that none can ever wrap. It lasts
	// for 2^42 openings.
	hardNumber = 1 << 62

	behindUnknown = math.MaxUint32

	segmentSuffix  = ".log"
	snapshotSuffix = ".snap"
	asideMark      = ".damaged-"
	tempName       = "snapshot.tmp"
)

var errBad = errors.New("not a valid header")

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

type segHeader struct {
	index, prev, base uint64
}

func appendSegHeader(b []byte, h segHeader) []byte {
	at := len(b)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint64(b, h.index)
	b = binary.LittleEndian.AppendUint64(b, h.prev)
	b = binary.LittleEndian.AppendUint64(b, h.base)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli()))
}

func parseSegHeader(b []byte) (segHeader, error) {
	if len(b) < segmentHeader || string(b[:8]) != segmentMagic {
		return segHeader{}, errBad
	}
	if crc32.Checksum(b[:segmentHeader-4], castagnoli()) != binary.LittleEndian.Uint32(b[segmentHeader-4:]) {
		return segHeader{}, errBad
	}
	h := segHeader{
		index: binary.LittleEndian.Uint64(b[8:]),
		prev:  binary.LittleEndian.Uint64(b[16:]),
		base:  binary.LittleEndian.Uint64(b[24:]),
	}
	if max(h.index, h.prev, h.base) > hardNumber {
		return segHeader{}, errBad
	}
	return h, nil
}

// rawRecord is one record as it stands in a segment.
type rawRecord struct {
	seq    uint64
	synced uint64 // everything up to here was durable when it was written
	load   []byte // aliases the input
	size   int
}

func appendRecord(b []byte, index, seq, durable uint64, payload []byte) []byte {
	at := len(b)
	behind := uint32(behindUnknown)
	if seq-durable < behindUnknown {
		behind = uint32(seq - durable)
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint32(b, behind)
	b = append(b, payload...)
	binary.LittleEndian.PutUint32(b[at+4:], recordSum(index, b[at:]))
	return b
}

func recordSum(index uint64, rec []byte) uint32 {
	var ix [8]byte
	binary.LittleEndian.PutUint64(ix[:], index)
	t := castagnoli()
	sum := crc32.Update(0, t, ix[:])
	sum = crc32.Update(sum, t, rec[:4])
	return crc32.Update(sum, t, rec[8:])
}

// plausible reads the fields of a record without its checksum.
func plausible(b []byte) (rawRecord, bool) {
	if len(b) < recordHeader {
		return rawRecord{}, false
	}
	n := binary.LittleEndian.Uint32(b)
	if n > hardRecord || int(n) > len(b)-recordHeader {
		return rawRecord{}, false
	}
	r := rawRecord{seq: binary.LittleEndian.Uint64(b[8:]), size: recordHeader + int(n)}
	r.load = b[recordHeader:r.size]
	behind := binary.LittleEndian.Uint32(b[16:])
	if behind != behindUnknown && uint64(behind) <= r.seq {
		r.synced = r.seq - uint64(behind)
	}
	return r, r.seq != 0 && r.seq <= hardNumber
}

func parseRecord(index uint64, b []byte) (rawRecord, bool) {
	r, ok := plausible(b)
	if !ok || recordSum(index, b[:r.size]) != binary.LittleEndian.Uint32(b[4:]) {
		return rawRecord{}, false
	}
	return r, true
}

func encodeSnapshot(covers uint64, payload []byte) []byte {
	b := make([]byte, 0, snapshotHeader+len(payload))
	b = append(b, snapshotMagic...)
	b = binary.LittleEndian.AppendUint64(b, covers)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(payload)))
	sum := crc32.Update(crc32.Checksum(b, castagnoli()), castagnoli(), payload)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, payload...)
}

// parseSnapshot wants the file to end with the payload: a longer file is not what was written.
func parseSnapshot(covers uint64, b []byte) ([]byte, error) {
	if len(b) < snapshotHeader || string(b[:8]) != snapshotMagic {
		return nil, errBad
	}
	if binary.LittleEndian.Uint64(b[8:]) != covers {
		return nil, errors.New("its name does not fit its content")
	}
	load := b[snapshotHeader:]
	if binary.LittleEndian.Uint64(b[16:]) != uint64(len(load)) {
		return nil, errors.New("its length is wrong")
	}
	sum := crc32.Update(crc32.Checksum(b[:24], castagnoli()), castagnoli(), load)
	if sum != binary.LittleEndian.Uint32(b[24:]) {
		return nil, errors.New("its checksum is wrong")
	}
	return bytes.Clone(load), nil
}

func segmentName(index uint64) string   { return fmt.Sprintf("%016x%s", index, segmentSuffix) }
func snapshotName(covers uint64) string { return fmt.Sprintf("%016x%s", covers, snapshotSuffix) }

// parseName reads the number of a name made by segmentName or snapshotName.
func parseName(name, suffix string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, suffix)
	if !ok || len(hex) != 16 || strings.ToLower(hex) != hex {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && n <= hardNumber
}
