package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	socketName = "helper.sock"
	lockName   = "helper.lock"
	firstFD    = 3 // sd_listen_fds(3)

	lockPatience = 2 * time.Second
	lockPause    = 5 * time.Millisecond
)

// lockDir makes the run directory and takes its lock: two helpers would answer on one path.
func lockDir(dir string) (*os.File, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("run directory %q is not absolute: give a directory on tmpfs, such as %s", dir, defaultRun)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	fi, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if fi.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("run directory %s can be written by others (mode %v): chmod go-w it, or they decide what has been done", dir, fi.Mode().Perm())
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	if err := takeLock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("another helper has the run directory %s (%w): stop that one first", dir, err)
	}
	return f, nil
}

// takeLock waits a little for a lock that is about to be free: a shim that a killed helper had forked, and
// that had not yet executed its program, holds a copy of it for some milliseconds more.
func takeLock(f *os.File) error {
	pause := time.NewTicker(lockPause)
	defer pause.Stop()
	for end := time.Now().Add(lockPatience); ; <-pause.C {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			return err
		}
	}
}

// listen takes the socket of the service manager, or makes its own at path for group.
func listen(path, group string) (*net.UnixListener, error) {
	if ln, err := handedOver(); ln != nil || err != nil {
		return ln, err
	}
	// Bound under another name, and moved into place when it is ready: nobody ever finds a socket on
	// which nobody listens, or one with the wrong rights.
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("socket: %w", err)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // the path may be that of the next helper by then
	if err := settle(fresh, path, group); err != nil {
		ln.Close()
		return nil, fmt.Errorf("socket: %w", err)
	}
	return ln, nil
}

func settle(fresh, path, group string) error {
	if group != "" {
		gid, err := lookupGroup(group)
		if err != nil {
			return fmt.Errorf("-group: %w", err)
		}
		n, err := strconv.Atoi(gid)
		if err != nil {
			return err
		}
		if err := os.Chown(fresh, -1, n); err != nil {
			return err
		}
	}
	if err := os.Chmod(fresh, 0o660); err != nil {
		return err
	}
	return os.Rename(fresh, path)
}

// handedOver is the socket of the service manager (LISTEN_FDS); nil when there is none.
func handedOver() (*net.UnixListener, error) {
	pid, fds := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS")
	if pid != strconv.Itoa(os.Getpid()) || fds == "" {
		return nil, nil
	}
	if fds != "1" {
		return nil, fmt.Errorf("the service manager hands over %s sockets: one ListenStream= is wanted", fds)
	}
	f := os.NewFile(firstFD, "socket")
	defer f.Close()
	ln, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("the socket of the service manager: %w", err)
	}
	u, ok := ln.(*net.UnixListener)
	if !ok {
		ln.Close()
		return nil, errors.New("the socket of the service manager is no Unix stream socket: use ListenStream= with a path")
	}
	u.SetUnlinkOnClose(false)
	return u, nil
}
