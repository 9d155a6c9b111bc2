package modbus

import (
	"encoding/hex"
	"strings"
	"testing"
)

// way is one of all ways to a unit: what a request asks, and how a reply stands on it.
type way struct {
	ask   func(req []byte) (unit byte, pdu []byte)
	frame func(req []byte, unit byte, pdu []byte) []byte
	serve func(t testing.TB, h handler) Link
}

// ways are the lines, and Modbus TCP.
func ways() map[string]way {
	rtu := func(req []byte) (byte, []byte) { return req[0], req[1 : len(req)-2] }
	ascii := func(req []byte) (byte, []byte) {
		raw, err := hex.DecodeString(string(req[1 : len(req)-2]))
		if err != nil {
			panic(err)
		}
		return raw[0], raw[1 : len(raw)-1]
	}
	onLine := func(f func(unit byte, pdu []byte) []byte) func([]byte, byte, []byte) []byte {
		return func(_ []byte, unit byte, pdu []byte) []byte { return f(unit, pdu) }
	}
	out := map[string]way{"TCP": {
		func(req []byte) (byte, []byte) { return req[6], req[7:] }, mbap,
		func(t testing.TB, h handler) Link { return newTCP(t, tcpServer(t, h)) },
	}}
	for name, v := range variants {
		w := way{rtu, onLine(rtuFrame), func(t testing.TB, h handler) Link { return v.serve(t, h) }}
		if strings.HasPrefix(name, "ASCII") {
			w.ask, w.frame = ascii, onLine(asciiFrame)
		}
		out[name] = w
	}
	return out
}
