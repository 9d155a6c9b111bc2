package i2c

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The structures of linux/i2c.h and linux/i2c-dev.h, by the rules of the C ABI on this pointer size.
func TestLayout(t *testing.T) {
	ptr := unsafe.Sizeof(uintptr(0))
	for _, c := range []struct {
		name      string
		got, want uintptr
	}{
		{"sizeof i2c_msg", unsafe.Sizeof(message{}), 8 + ptr},
		{"i2c_msg.flags", unsafe.Offsetof(message{}.flags), 2},
		{"i2c_msg.len", unsafe.Offsetof(message{}.len), 4},
		{"i2c_msg.buf", unsafe.Offsetof(message{}.buf), 8},
		{"sizeof i2c_rdwr_ioctl_data", unsafe.Sizeof(rdwr{}), 2 * ptr},
		{"i2c_rdwr_ioctl_data.nmsgs", unsafe.Offsetof(rdwr{}.nmsgs), ptr},
		{"sizeof i2c_smbus_ioctl_data", unsafe.Sizeof(smbusCall{}), 8 + ptr},
		{"i2c_smbus_ioctl_data.command", unsafe.Offsetof(smbusCall{}.command), 1},
		{"i2c_smbus_ioctl_data.size", unsafe.Offsetof(smbusCall{}.size), 4},
		{"i2c_smbus_ioctl_data.data", unsafe.Offsetof(smbusCall{}.data), 8},
		{"sizeof i2c_smbus_data", unsafe.Sizeof(smbusData{}), 34},
		{"alignof i2c_smbus_data", unsafe.Alignof(smbusData{}), 2},
		{"i2c_smbus_data.block", unsafe.Offsetof(smbusData{}.bytes), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", c.name, c.got, c.want)
		}
	}
}

func TestOpenSetsTimeoutAndRetries(t *testing.T) {
	k := &fakeKernel{funcs: funcI2C}
	if _, err := open("/dev/i2c-7", k, Options{Timeout: 45 * time.Millisecond, Retries: 3}); err != nil {
		t.Fatal(err)
	}
	if k.sets[ioTimeout] != 5 || k.sets[ioRetries] != 3 {
		t.Errorf("time-out %d x 10 ms, retries %d", k.sets[ioTimeout], k.sets[ioRetries])
	}
	k = &fakeKernel{funcs: funcI2C}
	openFake(t, k)
	if k.sets[ioTimeout] != 10 || k.sets[ioRetries] != 1 {
		t.Errorf("defaults: time-out %d x 10 ms, retries %d", k.sets[ioTimeout], k.sets[ioRetries])
	}
	for name, k := range map[string]*fakeKernel{
		"no functions": {funcs: 0x10000},
		"funcs fails":  {fail: map[uint]error{ioFuncs: unix.ENOTTY}},
		"timeout":      {funcs: funcI2C, fail: map[uint]error{ioTimeout: unix.EINVAL}},
		"retries":      {funcs: funcI2C, fail: map[uint]error{ioRetries: unix.EINVAL}},
	} {
		if _, err := open("/dev/i2c-7", k, Options{}); err == nil || !strings.Contains(err.Error(), "/dev/i2c-7") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := open("x", &fakeKernel{funcs: funcI2C}, Options{Timeout: time.Hour}); err == nil {
		t.Error("a time-out of an hour was accepted")
	}
}

// What is here of the real ioctl layer: a file that is no adapter is refused with its errno.
func TestOpenOfAnotherFile(t *testing.T) {
	if _, err := Open(os.DevNull, Options{}); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("/dev/null: %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "i2c-9"), Options{}); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "i2c-dev") {
		t.Errorf("absent: %v", err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	k := fileKernel{f}
	if err := k.set(ioSlave, 0x48); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("set: %v", err)
	}
	if err := k.close(); err != nil {
		t.Error(err)
	}
	if err := k.set(ioSlave, 0x48); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestTransfersOnI2C(t *testing.T) {
	k := &fakeKernel{funcs: funcI2C, answer: []byte{0x0c, 0x80, 0x77}}
	a := openFake(t, k)
	r := make([]byte, 2)
	for _, c := range []struct {
		w, r []byte
		want string
	}{
		{[]byte{0x00}, r, "slave 0x48|write 0x48 00 flags 0|read 0x48 2"}, // claimed once
		{[]byte{0x01, 0x02, 0x20}, nil, "write 0x48 010220 flags 0"},
		{nil, r, "read 0x48 2"},
	} {
		k.log = nil
		clear(r)
		if err := a.Tx(0x48, c.w, c.r); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(k.log, "|"); got != c.want {
			t.Errorf("kernel saw %s, want %s", got, c.want)
		}
		if c.r != nil && !bytes.Equal(r, []byte{0x0c, 0x80}) {
			t.Errorf("read %x", r)
		}
	}
	k.answer = nil // an adapter that fills nothing in
	if err := a.Tx(0x48, []byte{0}, r); err != nil || !bytes.Equal(r, []byte{0, 0}) {
		t.Errorf("%v, bytes of an earlier transfer: %x", err, r)
	}
	for _, c := range []struct {
		addr uint16
		w, r []byte
	}{{0x80, nil, r}, {0x48, nil, nil}, {0x48, make([]byte, maxMessage+1), nil}} {
		if err := a.Tx(c.addr, c.w, c.r); err == nil {
			t.Errorf("Tx(%#x, %d, %d bytes) was accepted", c.addr, len(c.w), len(c.r))
		}
	}
}

func TestTransfersOnSMBus(t *testing.T) {
	all := uintptr(funcByte | funcWriteByte | funcByteData | funcWriteByteData | funcWordData | funcWriteWordData | funcBlockData | funcWriteBlock)
	answer := []byte{0x0c, 0x80, 0x77}
	for _, c := range []struct {
		funcs uintptr
		w     []byte
		nr    int
		want  string // empty: refused
	}{
		{all, nil, 1, "smbus read 1 0x0"},
		{all, []byte{5}, 0, "smbus write 1 0x5 0"},
		{all, []byte{0}, 1, "smbus read 2 0x0"},
		{all, []byte{0}, 2, "smbus read 3 0x0"},
		{all &^ funcWordData, []byte{0}, 2, "smbus read 8 0x0"},
		{all, []byte{2}, 3, "smbus read 8 0x2"},
		{all, []byte{1, 0xab}, 0, "smbus write 2 0x1 ab"},
		{all, []byte{1, 0x02, 0x20}, 0, "smbus write word 0x1 2002"},
		{all &^ funcWriteWordData, []byte{1, 0x02, 0x20}, 0, "smbus write block 0x1 0220"},
		{all, []byte{1, 2, 3, 4}, 0, "smbus write block 0x1 020304"},
		{all, []byte{1, 2}, 2, ""},
		{all, []byte{1}, 33, ""},
		{all, nil, 2, ""},
		{all, make([]byte, 34), 0, ""},
		{funcByteData, []byte{0}, 2, ""},
	} {
		k := &fakeKernel{funcs: c.funcs, answer: answer}
		a := openFake(t, k)
		r := make([]byte, c.nr)
		err := a.Tx(0x48, c.w, r)
		if c.want == "" {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("write %x read %d: %v", c.w, c.nr, err)
			}
			continue
		}
		if got := strings.Join(k.log, "|"); err != nil || got != "slave 0x48|"+c.want {
			t.Errorf("write %x read %d: %v, kernel saw %s, want %s", c.w, c.nr, err, got, c.want)
		}
		if !bytes.Equal(r, answer[:c.nr]) {
			t.Errorf("write %x read %d: got %x", c.w, c.nr, r)
		}
	}
}

func TestSMBusSelectsTheAddressAndSeesShortBlocks(t *testing.T) {
	k := &fakeKernel{funcs: funcByteData | funcBlockData, answer: []byte{1, 2}}
	a := openFake(t, k)
	for _, addr := range []uint16{0x48, 0x48, 0x49, 0x48} {
		if err := a.Tx(addr, []byte{0}, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	want := "slave 0x48|smbus read 2 0x0|smbus read 2 0x0|slave 0x49|smbus read 2 0x0|slave 0x48|smbus read 2 0x0"
	if got := strings.Join(k.log, "|"); got != want {
		t.Errorf("kernel saw %s", got)
	}
	r := make([]byte, 4)
	if err := a.Tx(0x48, []byte{0}, r); !errors.Is(err, unix.EPROTO) || !bytes.Equal(r, make([]byte, 4)) {
		t.Errorf("a block of 2 for 4 bytes: %v, %x", err, r)
	}
}

func TestErrnoIsKeptAndExplained(t *testing.T) {
	for _, funcs := range []uintptr{funcI2C, funcWordData} {
		for _, c := range []struct {
			req  uint
			err  error
			want string
		}{
			{ioRdwr, unix.ENXIO, "no device acknowledges"},
			{ioRdwr, unix.EREMOTEIO, "address switches"},
			{ioRdwr, unix.ETIMEDOUT, "pull-ups"},
			{ioRdwr, unix.EAGAIN, "arbitration"},
			{ioRdwr, unix.EIO, "wiring"},
			{ioRdwr, unix.EOPNOTSUPP, "cannot do this"},
			{ioRdwr, unix.ENODEV, "no such device"},
			{ioSlave, unix.EBUSY, "kernel driver"},
		} {
			k := &fakeKernel{funcs: funcs, answer: []byte{0, 0}}
			a := openFake(t, k)
			k.fail = map[uint]error{c.req: c.err}
			if c.req == ioRdwr {
				k.fail[ioSMBus] = c.err
			}
			r := []byte{0xaa, 0xaa}
			err := a.Tx(0x48, []byte{0}, r)
			if !errors.Is(err, c.err) {
				t.Errorf("%v became %v", c.err, err)
				continue
			}
			for _, want := range []string{c.want, "0x48", "/dev/i2c-7"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			k.fail = nil
			if err := a.Tx(0x48, []byte{0}, r); err != nil {
				t.Errorf("after %v: %v", c.err, err)
			}
		}
	}
}

// What the kernel writes arrives, though the caller's stack grew and a collection ran meanwhile.
func TestMemoryStaysPutDuringATransfer(t *testing.T) {
	for _, funcs := range []uintptr{funcI2C, funcWordData} {
		k := &fakeKernel{funcs: funcs, answer: []byte{0x0c, 0x80}}
		a := openFake(t, k)
		k.before = func() { growStack(200); runtime.GC() }
		for range 20 {
			done := make(chan [2]byte)
			go func() { // a small stack
				var r [2]byte
				if err := a.Tx(0x48, []byte{0}, r[:]); err != nil {
					t.Error(err)
				}
				done <- r
			}()
			if r := <-done; r != [2]byte{0x0c, 0x80} {
				t.Fatalf("read %x", r)
			}
		}
	}
}

//go:noinline
func growStack(n int) byte {
	var pad [1024]byte
	pad[n%len(pad)] = byte(n)
	if n == 0 {
		return pad[0]
	}
	return pad[n%len(pad)] + growStack(n-1)
}

func TestConcurrentUseCloseAndNames(t *testing.T) {
	k := &fakeKernel{funcs: funcI2C, answer: []byte{1}}
	a := openFake(t, k)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if err := a.Tx(0x48, []byte{0}, make([]byte, 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := a.SetSpeed(400_000_000_000); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("SetSpeed: %v", err)
	}
	if err := a.Close(); err != nil || !k.closed || a.String() != "i2c(/dev/i2c-7)" {
		t.Errorf("%v, %v, %v", err, k.closed, a)
	}
}

// An adapter is gone when its name leads nowhere, or, after a link was moved or a node made anew, to another one.
func TestGone(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	link := func(to string) {
		if err := os.Symlink(to, filepath.Join(dir, "new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "cab")); err != nil {
			t.Fatal(err)
		}
	}
	first, second := file("i2c-7"), file("i2c-8")
	link(first)
	info, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	a := &Adapter{path: filepath.Join(dir, "cab"), file: info}
	if a.Gone() {
		t.Error("gone while it is there")
	}
	if link(second); !a.Gone() {
		t.Error("the name leads to another adapter")
	}
	if link(first); a.Gone() {
		t.Error("gone while it is there again")
	}
	if err := os.Remove(first); err != nil || !a.Gone() {
		t.Error("there while the name leads nowhere")
	}
	if (&Adapter{path: first}).Gone() {
		t.Error("gone, although nobody knows what was opened")
	}
}
