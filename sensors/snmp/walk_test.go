package snmp

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gosnmp/gosnmp"
)

// TestTable: what is listed is true whatever the counter says; what is not is false only in a whole table.
func TestTable(t *testing.T) {
	count := func(a *agent, n int) { a.set("1.3.6.1.8.1.0", gosnmp.Gauge32, uint32(n)) }
	for name, k := range map[string]struct {
		change func(a *agent)
		want   string
	}{
		"empty":                 {func(a *agent) { a.fill(1) }, "0 good"},
		"there":                 {func(a *agent) { a.fill(1, "1.3.6.1.7.5", "1.3.6.1.7.1") }, "1 good"},
		"others":                {func(a *agent) { a.fill(1, "1.3.6.1.7.5", "1.3.6.1.7.11") }, "0 good"},
		"no table":              {func(a *agent) { a.fill(1); a.do(func() { delete(a.objects, "1.3.6.1.8.1.0") }) }, "bad:sentinel"},
		"counter is text":       {func(a *agent) { a.fill(1); a.set("1.3.6.1.8.1.0", gosnmp.OctetString, "0") }, "bad:implausible"},
		"fewer rows":            {func(a *agent) { a.fill(1, "1.3.6.1.7.5"); count(a, 2) }, "bad:implausible"},
		"more rows":             {func(a *agent) { a.fill(1, "1.3.6.1.7.5"); count(a, 0) }, "bad:implausible"},
		"listed, and fewer":     {func(a *agent) { a.fill(1, "1.3.6.1.7.1"); count(a, 2) }, "1 good"},
		"counted, and none":     {func(a *agent) { a.fill(1); count(a, 1) }, "bad:implausible"},
		"a row of another type": {func(a *agent) { a.fill(1, "1.3.6.1.7.5"); a.set("1.3.6.1.8.2.95", gosnmp.Integer, 5) }, "bad:implausible"},
		"sparse and long": {func(a *agent) {
			var many []string
			for i := range 60 {
				many = append(many, fmt.Sprintf("1.3.6.1.7.%d", 60-i))
			}
			a.fill(1, many...)
		}, "1 good"},
		"too long": {func(a *agent) { a.fill(1, slices.Repeat([]string{"1.3.6.1.7.5"}, 200)...) }, "bad:implausible"},
		"replies too big": {func(a *agent) {
			a.fill(1, "1.3.6.1.7.2", "1.3.6.1.7.3", "1.3.6.1.7.4", "1.3.6.1.7.5", "1.3.6.1.7.1")
			a.do(func() { a.max = 4 })
		}, "1 good"},
		"in circles": {func(a *agent) {
			a.fill(1, "1.3.6.1.7.5")
			a.do(func() {
				a.say = func(q *gosnmp.SnmpPacket) ([][]byte, bool) {
					return [][]byte{a.encode(q, gosnmp.NoError, 0, []gosnmp.SnmpPDU{a.objects["1.3.6.1.8.2.95"]})}, q.PDUType == gosnmp.GetBulkRequest
				}
			})
		}, "bad:implausible"},
		"refused": {func(a *agent) { a.fill(1); a.do(func() { a.refuse["1.3.6.1.8.2"] = gosnmp.GenErr }) }, "bad:implausible"},
	} {
		t.Run(name, func(t *testing.T) {
			a := serve(t, gosnmp.Version2c)
			k.change(a)
			newDevice(t, client(t, Options{Address: a.addr}), own(t, 1, "")).want(name, "a.1", "1 good", "alarm", k.want)
		})
	}
}

// TestTableChanges: rows that appear between counter and walk are no torn table: it is read once more.
func TestTableChanges(t *testing.T) {
	a := serve(t, gosnmp.Version2c)
	a.fill(1)
	a.do(func() {
		a.say = func(q *gosnmp.SnmpPacket) ([][]byte, bool) {
			if q.PDUType == gosnmp.GetBulkRequest { // at the first walk a row comes
				a.objects["1.3.6.1.8.1.0"] = gosnmp.SnmpPDU{Name: ".1.3.6.1.8.1.0", Type: gosnmp.Gauge32, Value: uint32(1)}
				a.objects["1.3.6.1.8.2.4"] = gosnmp.SnmpPDU{Name: ".1.3.6.1.8.2.4", Type: gosnmp.ObjectIdentifier, Value: "1.3.6.1.7.9"}
			}
			return nil, false
		}
	})
	newDevice(t, client(t, Options{Address: a.addr}), own(t, 1, "")).want("a row came", "alarm", "0 good")
}
