//go:build linux

// Package main is the first process of the emulated ARM board of `make board-test`: it loads the kernel's
// modules, brings the network up, and runs firebreak as a site would. As `init hook` it is the
// command of a hook. For tests only.
//
// Concurrency: one goroutine for each connection to the broker, which ends with it. Failure: what goes
// wrong is said on the console, and the test that watches it ends the machine.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// broker is where the machine's network answers for the broker on the host: broker=HOST:PORT on the
// kernel's command line.
func broker() (string, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", err
	}
	for _, word := range strings.Fields(string(line)) {
		if at, ok := strings.CutPrefix(word, "broker="); ok {
			return at, nil
		}
	}
	return "", fmt.Errorf("no broker= in %q", line)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "hook" {
		call, _ := io.ReadAll(io.LimitReader(os.Stdin, 1<<16))
		say("hook %s", bytes.TrimSpace(call))
		return
	}
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/run"}, {"tmpfs", "/var"}, {"tmpfs", "/tmp"}} {
		must(os.MkdirAll(m.at, 0o755))
		must(unix.Mount(m.kind, m.at, m.kind, 0, ""))
	}
	modules, err := os.ReadFile("/modules/order")
	must(err)
	for _, name := range strings.Fields(string(modules)) {
		must(load(filepath.Join("/modules", name)))
	}
	must(expander())
	must(up("lo", [4]byte{127, 0, 0, 1}, [4]byte{255, 0, 0, 0}))
	must(there("/sys/class/net/eth0"))
	must(up("eth0", [4]byte{10, 0, 2, 15}, [4]byte{255, 255, 255, 0}))
	go forward()
	say("up")
	cmd := exec.Command("/firebreak", "run", "-c", "/etc/firebreak.toml")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	say("firebreak ended: %v", cmd.Run())
	wait()
}

// wait ends with the machine: the kernel panics when its first process ends.
func wait() { _ = unix.Pause() }

func say(format string, a ...any) {
	if c, err := os.OpenFile("/dev/console", os.O_WRONLY, 0); err == nil {
		fmt.Fprintf(c, "BOARD "+format+"\n", a...)
		_ = c.Close()
	}
}

func must(err error) {
	if err != nil {
		say("failed: %v", err)
		wait()
	}
}

// expander lets the kernel find an I/O expander on its I2C bus, whose lines it offers as a GPIO chip of some number, and
// gives that a name.
func expander() error {
	const bus, chip = "/sys/bus/i2c/devices/i2c-0", "/sys/bus/i2c/devices/0-0022"
	if err := there(bus); err != nil {
		return err
	}
	if err := os.WriteFile(bus+"/new_device", []byte("pca9554 0x22"), 0o200); err != nil {
		return err
	}
	for range 100 {
		if found, _ := filepath.Glob(chip + "/gpiochip*"); len(found) > 0 {
			return os.Symlink("/dev/"+filepath.Base(found[0]), "/dev/gpiochip-panel")
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("%s offers no GPIO chip", chip)
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil {
		return fmt.Errorf("module %s: %w", path, err)
	}
	return nil
}

// there waits for what a driver makes some time after it was loaded.
func there(path string) error {
	for range 100 {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("%s has not come", path)
}

// up gives an interface its address and switches it on.
func up(name string, ip, mask [4]byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	type request struct {
		name [unix.IFNAMSIZ]byte
		data [24]byte
	}
	do := func(op uint, fill func(r *request)) error {
		r := &request{}
		copy(r.name[:], name)
		fill(r)
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(op), uintptr(unsafe.Pointer(r))); e != 0 {
			return fmt.Errorf("interface %s: %w", name, e)
		}
		return nil
	}
	address := func(a [4]byte) func(*request) {
		return func(r *request) {
			r.data[0] = unix.AF_INET // sockaddr_in: family, port, address
			copy(r.data[4:], a[:])
		}
	}
	if err := do(unix.SIOCSIFADDR, address(ip)); err != nil {
		return err
	}
	if err := do(unix.SIOCSIFNETMASK, address(mask)); err != nil {
		return err
	}
	return do(unix.SIOCSIFFLAGS, func(r *request) { r.data[0] = unix.IFF_UP | unix.IFF_RUNNING })
}

// forward makes the broker of the host one of this machine.
func forward() {
	at, err := broker()
	must(err)
	ln, err := net.Listen("tcp", "127.0.0.1:1883")
	must(err)
	for {
		c, err := ln.Accept()
		must(err)
		go func() {
			defer c.Close()
			b, err := net.Dial("tcp", at)
			if err != nil {
				return
			}
			defer b.Close()
			go func() { _, _ = io.Copy(b, c); _ = b.Close() }()
			_, _ = io.Copy(c, b)
		}()
	}
}
