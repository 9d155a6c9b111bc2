package slave

import (
	"encoding/binary"
	"time"
)

// Exception codes of the Modbus specification (V1.1b3, section 7).
const (
	IllegalFunction = 1
	IllegalAddress  = 2
	IllegalValue    = 3
	DeviceFailure   = 4
	GatewayNoAnswer = 0x0B
)

// Request is what a fault hook sees of a request.
type Request struct {
	Unit, Function byte
	Start, Count   uint16
	N              uint64 // requests of this server before this one
}

// Fault changes one answer. Its zero value changes nothing. Fields combine, but for Silent, Hang
// and Drop, which send nothing.
type Fault struct {
	Delay     time.Duration // real time before the answer; the line is busy meanwhile
	Exception byte          // answer with this exception code
	Unit      byte          // answer as this unit; 0 keeps the right one
	TxShift   uint16        // added to the transaction id (TCP only)
	Short     int           // answer with so many registers (or bytes of bits) too few, lengths consistent
	Truncate  int           // send only the first so many bytes of the frame; 0 sends all
	BadCRC    bool          // RTU only
	Silent    bool          // no answer to this request
	Hang      bool          // no answer to this one nor to any later one on this connection or line
	Drop      bool          // close the connection (TCP); as Silent on a serial line
}

// FaultFunc decides the fault of each request. It is called from the goroutines of the server.
type FaultFunc func(Request) Fault

// answer makes the PDU that answers a request PDU, after the fault's Exception and Short.
func answer(bank *Bank, req Request, pdu []byte, f Fault) []byte {
	if f.Exception != 0 {
		return []byte{req.Function | 0x80, f.Exception}
	}
	if req.Function == writeCoil || req.Function == writeRegister {
		return acknowledge(bank, req, pdu)
	}
	if req.Function == identification {
		return bank.identify(pdu)
	}
	if req.Function < byte(Coils) || req.Function > byte(Inputs) {
		return []byte{req.Function | 0x80, IllegalFunction}
	}
	bits := req.Function <= byte(Discretes)
	limit := uint16(125)
	if bits {
		limit = 2000
	}
	if len(pdu) != 5 || req.Count == 0 || req.Count > limit {
		return []byte{req.Function | 0x80, IllegalValue}
	}
	if bank.onRead != nil {
		bank.onRead()
	}
	words, ok := bank.Words(Table(req.Function), req.Start, req.Count)
	if !ok {
		return []byte{req.Function | 0x80, IllegalAddress}
	}
	data := packBits(words)
	cut := f.Short
	if !bits {
		data = packWords(words)
		cut *= 2
	}
	data = data[:max(0, len(data)-cut)]
	return append([]byte{req.Function, byte(len(data))}, data...)
}

// Functions that write one coil and one holding register.
const (
	writeCoil     = 5
	writeRegister = 6
)

// acknowledge answers a write with its echo, or with what the unit has against it.
func acknowledge(bank *Bank, req Request, pdu []byte) []byte {
	t, value := Holdings, req.Count // the second word of these requests
	switch {
	case bank.write == nil:
		return []byte{req.Function | 0x80, IllegalFunction}
	case len(pdu) != 5:
		return []byte{req.Function | 0x80, IllegalValue}
	case req.Function == writeCoil && value != 0 && value != 0xFF00:
		return []byte{req.Function | 0x80, IllegalValue}
	case req.Function == writeCoil:
		t, value = Coils, value>>15
	}
	if code := bank.write(t, req.Start, value); code != 0 {
		return []byte{req.Function | 0x80, code}
	}
	return append([]byte(nil), pdu...)
}

func packWords(words []uint16) []byte {
	data := make([]byte, 0, 2*len(words))
	for _, w := range words {
		data = binary.BigEndian.AppendUint16(data, w)
	}
	return data
}

func packBits(words []uint16) []byte {
	data := make([]byte, (len(words)+7)/8)
	for i, w := range words {
		if w != 0 {
			data[i/8] |= 1 << (i % 8)
		}
	}
	return data
}

func parse(unit byte, pdu []byte, n uint64) Request {
	r := Request{Unit: unit, N: n}
	if len(pdu) > 0 {
		r.Function = pdu[0]
	}
	if len(pdu) >= 5 {
		r.Start, r.Count = binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:])
	}
	return r
}

// CRC16 is the checksum of Modbus RTU: polynomial 0xA001, initial value 0xFFFF, sent low byte first.
func CRC16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}

// pause waits d or until done is closed; false means closed.
func pause(d time.Duration, done <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-done:
		return false
	}
}
