package tools

import (
	"slices"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for in, want := range map[string]string{
		"tcp://10.0.3.20":         "tcp://10.0.3.20:502",
		"tcp://10.0.3.20:1502":    "tcp://10.0.3.20:1502",
		"tcp://[fd00::1]":         "tcp://[fd00::1]:502",
		"rtu:///dev/ttyUSB0":      "rtu:///dev/ttyUSB0, 9600 baud, parity none, 1 stop",
		"ascii:///dev/ttyS1":      "ascii:///dev/ttyS1, 9600 baud, parity none, 1 stop",
		"rtu+tcp://10.0.3.21:401": "rtu+tcp://10.0.3.21:401",
	} {
		if got, err := ParseTarget(in); err != nil || got.String() != want {
			t.Errorf("%s: %q, %v, want %q", in, got.String(), err, want)
		}
	}
	for _, bad := range []string{"", "tcp://", "10.0.3.20", "rtu://ttyUSB0", "udp://h:1", "rtu+tcp://h"} {
		if got, err := ParseTarget(bad); err == nil {
			t.Errorf("%q was taken for %s", bad, got.String())
		}
	}
}

func TestParseUnits(t *testing.T) {
	if got, err := ParseUnits("1-3, 255,2"); err != nil || !slices.Equal(got, []byte{1, 2, 3, 255}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "a", "3-1", "256", "1-", "-1", "1,,2"} {
		if got, err := ParseUnits(bad); err == nil {
			t.Errorf("%q was taken for %v", bad, got)
		}
	}
}
