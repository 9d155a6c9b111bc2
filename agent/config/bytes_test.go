package config

import "testing"

func TestBytes(t *testing.T) {
	for s, want := range map[string]int64{"0 B": 0, "256 MiB": 256 << 20, "1GiB": 1 << 30, "7 KiB": 7 << 10, "15 B": 15,
		"": -1, "256": -1, "256 MB": -1, "-1 B": -1, "1.5 GiB": -1, "99999999999 GiB": -1, "MiB": -1} {
		n, ok := parseBytes(s)
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("%q is %d, %v; want %d", s, n, ok, want)
		}
		if again, ok2 := parseBytes(showBytes(n)); ok && (!ok2 || again != n) {
			t.Errorf("%d shows as %q", n, showBytes(n))
		}
	}
}
