//go:build board && linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait; the emulated processor is some fifty times slower than this one.
const patience = 3 * time.Minute

// A real kernel and a real bus: firebreak on an emulated i.MX6 board reads an LM75 class chip through
// /dev/i2c-0. The temperature is changed from outside; the reading follows over MQTT, the alarm rises,
// the hook runs, and the chip that is not there is reported as bad. Contacts at the lines of an I/O expander follow too.
func TestBoard(t *testing.T) {
	kernel := os.Getenv("BOARD_KERNEL")
	if kernel == "" {
		t.Fatal(`BOARD_KERNEL names no folder: run it by "make board-test"`)
	}
	port, messages := hostBroker(t)
	b := boot(t, kernel, initrd(t, kernel), port)
	b.chip(25)
	b.console.want(t, "BOARD up")
	messages.want(t, "/state/", `"device":"cab-1"`, `"temperature":25`)
	messages.want(t, "/state/", `"device":"cab-2"`, `"temperature":null`, `"bad":"temperature:comm"`)
	messages.want(t, "/alarm/", "loss/device/cab-2", `"active":true`)
	b.chip(41.5)
	messages.want(t, "/state/", `"device":"cab-1"`, `"temperature":41.5`)
	b.chip(-5.5) // 9 bits: half degrees
	messages.want(t, "/state/", `"device":"cab-1"`, `"temperature":-5.5`)
	b.chip(70)
	messages.want(t, "/alarm/", `"cabinet-hot"`, `"active":true`)
	b.console.want(t, "BOARD hook ", "evacuate/board/1/proof/")
	messages.want(t, "/plan/", `"stage":"1"`)

	// Contacts at a GPIO chip of the kernel, changed from outside as well.
	b.lines(1)
	messages.want(t, "/state/", `"device":"panel-1"`, `"fire.alarm":false`, `"door.open":false`)
	b.lines(1, 7)
	messages.want(t, "/state/", `"device":"panel-1"`, `"fire.alarm":false`, `"door.open":true`)
	b.lines(0, 7)
	messages.want(t, "/state/", `"device":"panel-1"`, `"fire.alarm":true`)
	messages.want(t, "/alarm/", `"panel-alarm"`, `"active":true`)
	b.lines(7) // the wire is cut: a line and its guard read alike
	messages.want(t, "/state/", `"device":"panel-1"`, `"bad":"fire.alarm:sentinel"`)
}

// hostBroker runs mosquitto and mosquitto_sub on a port of loopback.
func hostBroker(t *testing.T) (port int, messages *feed) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listener %d 127.0.0.1\nallow_anonymous true\nuser root\nlog_dest stderr\n", port), 0o600); err != nil {
		t.Fatal(err)
	}
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto"
	}
	run(t, exec.Command(bin, "-c", conf)).want(t, "mosquitto version", "running")
	messages = run(t, exec.Command("mosquitto_sub", "-h", "127.0.0.1", "-p", fmt.Sprint(port), "-q", "1", "-t", "firebreak/#", "-F", "%t %p"))
	return port, messages
}

// board is the running machine.
type board struct {
	t       *testing.T
	console *feed
	qmp     net.Conn
	answers *bufio.Scanner
}

func boot(t *testing.T, kernel, initrd string, port int) *board {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "qmp")
	ln, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b := &board{t: t}
	// The first serial line of the board is left alone: its console is the second one. 10.0.2.2 is the
	// loopback of this host as the machine sees it; its first process calls nothing else.
	b.console = run(t, exec.Command("qemu-system-arm", "-M", "sabrelite", "-m", "512", "-smp", "1", "-display", "none", "-no-reboot",
		"-kernel", filepath.Join(kernel, "vmlinuz"), "-dtb", filepath.Join(kernel, "imx6q-sabrelite.dtb"), "-initrd", initrd,
		"-append", fmt.Sprintf("console=ttymxc1 panic=-1 broker=10.0.2.2:%d", port), "-serial", "null", "-serial", "stdio", "-monitor", "none",
		"-device", "tmp105,id=cab1,bus=i2c-bus.0,address=0x48",
		// It drives lamps; its first register has the levels of eight lines as that of a PCA9554, the kernel's driver of
		// which writes to it what moves none of them. A lamp that is on draws its line low.
		"-device", "pca9552,id=lines,bus=i2c-bus.0,address=0x22",
		"-nic", "user",
		"-qmp", "unix:"+sock))
	if err := ln.(*net.UnixListener).SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if b.qmp, err = ln.Accept(); err != nil {
		t.Fatalf("qemu does not come: %v\n%s", err, b.console.tail())
	}
	t.Cleanup(func() { _ = b.qmp.Close() })
	b.answers = bufio.NewScanner(b.qmp)
	b.answers.Scan() // its greeting
	b.do("qmp_capabilities", nil)
	return b
}

// chip sets the temperature of the chip, in C.
func (b *board) chip(c float64) {
	b.t.Helper()
	b.do("qom-set", map[string]any{"path": "/machine/peripheral/cab1", "property": "temperature", "value": int(c * 1000)})
}

// lines sets these lines high, and the other ones low.
func (b *board) lines(high ...int) {
	b.t.Helper()
	for i := range 8 {
		b.do("qom-set", map[string]any{"path": "/machine/peripheral/lines", "property": fmt.Sprintf("led%d", i), "value": map[bool]string{true: "on", false: "off"}[slices.Contains(high, i)]})
	}
}

func (b *board) do(command string, arguments map[string]any) {
	b.t.Helper()
	q := map[string]any{"execute": command}
	if arguments != nil {
		q["arguments"] = arguments
	}
	_ = b.qmp.SetDeadline(time.Now().Add(patience))
	if err := json.NewEncoder(b.qmp).Encode(q); err != nil {
		b.t.Fatal(err)
	}
	for b.answers.Scan() {
		if strings.Contains(b.answers.Text(), `"event"`) {
			continue
		}
		if !strings.Contains(b.answers.Text(), `"return"`) {
			b.t.Fatalf("%s: %s", command, b.answers.Text())
		}
		return
	}
	b.t.Fatalf("%s: no answer: %v", command, b.answers.Err())
}

// feed is what a program says.
type feed struct {
	mu      sync.Mutex
	lines   []string
	read    int // by want
	changed chan struct{}
}

// run starts a program that ends with the test.
func run(t *testing.T, cmd *exec.Cmd) *feed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(ctx, cmd.Path, cmd.Args[1:]...)
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		t.Fatalf("%s: %v: see .ci/run for the packages", cmd.Path, err)
	}
	f := &feed{changed: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { f.take(r) })
	t.Cleanup(func() { cancel(); _ = cmd.Wait(); wg.Wait(); _ = r.Close() })
	return f
}

func (f *feed) take(r io.Reader) {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		f.mu.Lock()
		f.lines = append(f.lines, strings.TrimSpace(sc.Text()))
		f.mu.Unlock()
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
}

// want waits for a line with all parts, after the one that was wanted last.
func (f *feed) want(t *testing.T, parts ...string) {
	t.Helper()
	late := time.After(patience)
	for {
		f.mu.Lock()
		for from := f.read; f.read < len(f.lines); {
			l := f.lines[f.read]
			f.read++
			n := 0
			for _, p := range parts {
				if strings.Contains(l, p) {
					n++
				}
			}
			if n == len(parts) {
				t.Logf("after %d lines: %.200s", f.read-from, l)
				f.mu.Unlock()
				return
			}
		}
		f.mu.Unlock()
		select {
		case <-f.changed:
		case <-late:
			t.Fatalf("never said %q; last:\n%s", parts, f.tail())
		}
	}
}

func (f *feed) tail() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.lines[max(0, len(f.lines)-60):], "\n")
}
