//go:build peers

package e2e

import (
	"math"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// bin/firebreak, with the hub in it, is below 35 MB as it is built and stripped, and docs/telegraf.md says what each part
// of it adds, and how large the companion is.
func TestSizeOfFirebreak(t *testing.T) {
	fi, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Size() >= 35e6 {
		t.Errorf("bin/firebreak has %d bytes, and is to stay below 35 MB", fi.Size())
	}
	out, err := exec.Command("make", "-s", "-C", "../..", "sizes").Output()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/telegraf.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "| part of `bin/firebreak` | MB |\n")
	told := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)\A(?:\|---\|---\|\n)?|^\| ([^|]+) \| ([0-9.]+) \|$`).FindAllStringSubmatch(strings.SplitN(table, "\n\n", 2)[0], -1) {
		if m[1] != "" {
			told[m[1]], _ = strconv.ParseFloat(m[2], 64)
		}
	}
	if fi, err = os.Stat(companionOfSet(t)); err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`the set above together is ([0-9.]+)\.\n`).FindStringSubmatch(string(doc))
	if m == nil {
		t.Fatal("docs/telegraf.md does not say how large the companion is")
	}
	if was, _ := strconv.ParseFloat(m[1], 64); math.Abs(was-float64(fi.Size())/1e6) > 1 {
		t.Errorf("bin/firebreak-telegraf has %.1f MB; docs/telegraf.md says %s", float64(fi.Size())/1e6, m[1])
	}
	measured := regexp.MustCompile(`(?m)^([0-9.]+)\t(.+)$`).FindAllStringSubmatch(string(out), -1)
	if len(measured) < 10 || len(told) != len(measured) {
		t.Errorf("make sizes has %d parts, docs/telegraf.md %d", len(measured), len(told))
	}
	for _, m := range measured {
		mb, err := strconv.ParseFloat(m[1], 64)
		if was, there := told[m[2]]; err != nil || !there || math.Abs(was-mb) > 0.3+0.05*mb {
			t.Errorf("%s is %s MB; docs/telegraf.md has %v (%v): take over what `make sizes` says", m[2], m[1], was, there)
		}
	}
}

// One plugin by itself, as .ci/companion-sizes measures it: what it adds, and to what, is what docs/telegraf.md says.
func TestSizeOfOnePlugin(t *testing.T) {
	out, err := exec.Command("bash", "../../.ci/companion-sizes", "inputs.mqtt_consumer").Output()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/telegraf.md")
	if err != nil {
		t.Fatal(err)
	}
	for what, forms := range map[string][2]string{
		"a companion without plugins": {`(?m)^no other plugin +([0-9.]+) MB$`, `nothing but the influx parser and serializer \(([0-9.]+)\)`},
		"inputs.mqtt_consumer":        {`(?m)^inputs\.mqtt_consumer +\+([0-9.]+) MB$`, "(?m)^\\| `inputs.mqtt_consumer` \\| ([0-9.]+) \\|"},
	} {
		is, told := regexp.MustCompile(forms[0]).FindSubmatch(out), regexp.MustCompile(forms[1]).FindSubmatch(doc)
		if is == nil || told == nil {
			t.Fatalf("%s is not in what .ci/companion-sizes prints, or not in docs/telegraf.md:\n%s", what, out)
		}
		mb, err1 := strconv.ParseFloat(string(is[1]), 64)
		was, err2 := strconv.ParseFloat(string(told[1]), 64)
		if err1 != nil || err2 != nil || math.Abs(was-mb) > 0.2+0.05*mb {
			t.Errorf("%s: %s MB; docs/telegraf.md says %s: take over what .ci/companion-sizes says", what, is[1], told[1])
		}
	}
}
