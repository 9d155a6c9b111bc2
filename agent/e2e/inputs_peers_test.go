//go:build peers

package e2e

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// inputs is one rack with a peer for each input. All but two are programs that we did not write: a machine without
// sensors has no temperatures below /sys, so that inputs.temp reads a tree of the test's, and nothing in Debian
// serves Redfish, so that recorded answers are served.
type inputs struct {
	*foreign
	UPS, Air      *card // an snmpd below apcupsd, and one for inputs.snmp
	APC, Modbus   int
	MQTT          int
	BMC, Redfish  string
	hwmon         string
	meter         *pymodbus
	bmc, victoria *process
	broker        *mosquitto
	celsius       atomic.Int64 // that the Redfish service says; below zero: it answers with an error
}

func newInputs(t *testing.T) *inputs {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, and .ci/run is to have it: the BMC answers at port 623, which is inputs.ipmi_sensor's only one, and upsd and its driver start as root. Run `sudo make peers`")
	}
	f := &inputs{foreign: &foreign{lab: newLab(t, "", "", ""), NUT: freePort(t), Prometheus: freePort(t)}, APC: freePort(t), Modbus: freePort(t)}
	f.Companion = companionOfSet(t)
	f.nut(t)
	f.startUPSD(t)
	f.Air = startCard(t, "rocommunity readers 127.0.0.1")
	f.startAPC(t)
	f.meter = startPymodbus(t, "tcp", fmt.Sprint(f.Modbus), 7)
	// inputs.ipmi_sensor knows no port, so that this is the BMC's own, at an address that nobody else has.
	f.BMC = fmt.Sprintf("127.62.%d.%d", os.Getpid()>>8&255, os.Getpid()&255|1)
	t.Setenv("BMC_PASSWORD", "keep-out")
	f.startBMC(t)
	t.Setenv("HOST_SYS", filepath.Join(f.Dir, "sys"))
	f.hwmon = filepath.Join(f.Dir, "sys/class/hwmon/hwmon0")
	mkdir(t, f.hwmon)
	put(t, filepath.Join(f.hwmon, "name"), "lm75\n")
	put(t, filepath.Join(f.hwmon, "temp1_label"), "Inlet\n")
	f.startRedfish(t)
	f.broker = newMosquitto(t)
	f.broker.start(t)
	f.MQTT = f.broker.port
	f.startPrometheus(t)
	return f
}

// companionOfSet is bin/firebreak-telegraf as `make telegraf` builds it.
func companionOfSet(t *testing.T) string {
	t.Helper()
	if out, err := exec.Command("make", "-C", "../..", "telegraf").CombinedOutput(); err != nil {
		t.Fatalf("make telegraf: %v\n%s", err, out)
	}
	path, err := filepath.Abs("../../bin/firebreak-telegraf")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// startAPC starts Debian's apcupsd, unpacked by .ci/apcupsd. None of its drivers does without a device; that for SNMP has
// an snmpd of Debian as its own. Its scripts are an empty directory, so that it can shut nothing down.
func (f *inputs) startAPC(t *testing.T) {
	t.Helper()
	f.UPS = startCard(t, "rocommunity readers 127.0.0.1")
	f.UPS.ups(t, 25)
	dir := t.TempDir()
	put(t, filepath.Join(dir, "apcupsd.conf"), fmt.Sprintf(`## apcupsd.conf v1.1 ##
UPSNAME ups-c
UPSCABLE ether
UPSTYPE snmp
DEVICE 127.0.0.1:%d:RFC:readers
POLLTIME 1
LOCKFILE %[2]s
SCRIPTDIR %[2]s
PWRFAILDIR %[2]s
NOLOGINDIR %[2]s
NOLOGON disable
BATTERYLEVEL -1
MINUTES -1
TIMEOUT 0
NETSERVER on
NISIP 127.0.0.1
NISPORT %[3]d
EVENTSFILE %[2]s/events
STATTIME 0
UPSCLASS standalone
UPSMODE disable
`, f.UPS.Port, dir, f.APC))
	start(t, "../../.ci/tmp/apcupsd/sbin/apcupsd", "-b", "-P", filepath.Join(dir, "pid"), "-f", filepath.Join(dir, "apcupsd.conf"))
}

// startBMC starts OpenIPMI's simulator of a BMC with two sensors, of which it does not scan the second.
func (f *inputs) startBMC(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "lan.conf"), fmt.Sprintf("name \"rack\"\nset_working_mc 0x20\nstartlan 1\naddr %s 623\npriv_limit admin\nallowed_auths_admin md5\nallowed_auths_operator md5\nallowed_auths_user md5\nendlan\nuser 2 true \"reader\" \"keep-out\" admin 10 md5\n", f.BMC))
	text := "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n"
	for number, name := range []string{"Inlet Temp", "Spare Temp"} {
		text += fmt.Sprintf("sensor_add 0x20 0 %d 0x01 0x01 poll 100 file \"%s/inlet\"\nmain_sdr_add 0x20 %s\n", number+1, f.Dir, fullSensor(byte(number+1), name))
	}
	const none = " 000000000000000"
	text += "sensor_set_event_support 0x20 0 1 enable scanning per-state" + none + none + none + none + "\nmc_enable 0x20\n"
	put(t, filepath.Join(dir, "emu"), text)
	mkdir(t, filepath.Join(dir, "state"))
	f.bmc = start(t, "ipmi_sim", "-c", filepath.Join(dir, "lan.conf"), "-f", filepath.Join(dir, "emu"), "-s", filepath.Join(dir, "state"), "-n")
}

// fullSensor is the record of a temperature in whole degrees Celsius (IPMI 2.0, table 43-1).
func fullSensor(number byte, name string) string {
	r := make([]byte, 48, 64)
	copy(r, []byte{0, 0, 0x51, 0x01, 0, 0x20, 0, number, 0x37, number, 0x67, 0x40, 0x01, 0x01})
	r[21], r[24] = 1, 1 // degrees C, times 1
	r[34] = 0xFF        // maximum
	r[47] = 0xC0 | byte(len(name))
	r = append(r, name...)
	r[4] = byte(len(r) - 5)
	return strings.Trim(fmt.Sprintf("% #x", r), "[]")
}

// startRedfish serves what a server's Redfish service answered once, as Telegraf's own tests have it, by TLS and for
// one user.
func (f *inputs) startRedfish(t *testing.T) {
	t.Helper()
	mkdir(t, filepath.Join(f.Dir, "secrets"))
	put(t, filepath.Join(f.Dir, "secrets/bmc"), "a secret")
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/influxdata/telegraf").Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{}
	for at, name := range map[string]string{"Systems/System.Embedded.1": "systems", "Chassis/System.Embedded.1": "chassis", "Chassis/System.Embedded.1/Thermal": "thermal"} {
		b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "plugins/inputs/redfish/testdata/dell_"+name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		answers["/redfish/v1/"+at] = string(b)
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		c, answer := f.celsius.Load(), answers[r.URL.Path]
		switch {
		case user != "reader" || password != "a secret":
			w.WriteHeader(http.StatusUnauthorized)
		case answer == "":
			w.WriteHeader(http.StatusNotFound)
		case c < 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = fmt.Fprint(w, strings.Replace(answer, `"ReadingCelsius": 40`, fmt.Sprintf(`"ReadingCelsius": %d`, c), 1))
		}
	}))
	t.Cleanup(s.Close)
	f.Redfish = s.URL
	put(t, filepath.Join(f.Dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
}

// publish tells a temperature and its time over MQTT.
func (f *inputs) publish(t *testing.T, celsius int, at time.Time) {
	t.Helper()
	payload := fmt.Sprintf(`{"celsius": %d, "at": %d}`, celsius, at.UnixMilli())
	if out, err := exec.Command("mosquitto_pub", "-p", fmt.Sprint(f.MQTT), "-t", "room/aisle/heat", "-r", "-m", payload).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
}

// startPrometheus starts VictoriaMetrics, which serves what it was told with the time of that, as a Prometheus does for
// another one.
func (f *inputs) startPrometheus(t *testing.T) {
	t.Helper()
	f.victoria = start(t, "/usr/bin/victoria-metrics", fmt.Sprintf("-httpListenAddr=127.0.0.1:%d", f.Prometheus), "-storageDataPath="+filepath.Join(f.Dir, "victoria"))
	f.victoria.errs.line(t, 0, "started VictoriaMetrics")
}

func (f *inputs) scrape(t *testing.T, celsius int, at time.Time) {
	t.Helper()
	text := fmt.Sprintf("rack_temperature_celsius{place=\"top\"} %d %d\nrack_temperature_celsius{place=\"bottom\"} 99 %[2]d\n", celsius, at.UnixMilli())
	r, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/api/v1/import/prometheus", f.Prometheus), "text/plain", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
}
