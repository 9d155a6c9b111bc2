package faultfs

import "slices"

// Crash cuts the power: f answers ErrCrashed from now on, and what the disk holds is returned.
// pick(n) chooses from 0 to n-1 what becomes of each thing under way: of unsynced sectors any may
// be there, old, or zero, of unsynced names any may be done or not. With a nil pick nothing that
// was under way is there.
func (f *FS) Crash(pick func(n int) int) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	if pick == nil {
		pick = func(int) int { return 0 }
	}
	after := New()
	names := f.durable
	for _, op := range f.pending {
		if pick(2) == 0 {
			continue
		}
		if op.gone != "" {
			delete(names, op.gone)
		}
		if op.to == nil {
			delete(names, op.name)
		} else {
			names[op.name] = op.to
		}
	}
	seen := map[*inode]*inode{} // one file may stand under two names for a moment
	for _, name := range sortedNames(names) {
		old := names[name]
		if seen[old] == nil {
			seen[old] = old.crash(pick)
		}
		after.names[name] = seen[old]
		after.durable[name] = seen[old]
	}
	return after
}

// Kill ends the process but not the power: f answers ErrCrashed from now on, and the FS returned
// shows all that the kernel holds, with what is not durable still at risk.
func (f *FS) Kill() *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashed = true
	after := New()
	after.names, after.durable, after.pending = f.names, f.durable, f.pending
	return after
}

func sortedNames(m map[string]*inode) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (ino *inode) crash(pick func(n int) int) *inode {
	n := len(ino.disk)
	if more := len(ino.data) - n; more > 0 {
		n += pick(more + 1)
	}
	disk := ino.blend(n, func(i int) bool { return ino.dirty[i] && pick(2) == 1 })
	return &inode{data: slices.Clone(disk), disk: disk, dirty: map[int]bool{}}
}

// Put makes a file with this content, durable.
func (f *FS) Put(name string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ino := &inode{data: slices.Clone(data), disk: slices.Clone(data), dirty: map[int]bool{}}
	f.names[name], f.durable[name] = ino, ino
}

// Get returns a file's content as the kernel shows it; nil if there is none.
func (f *FS) Get(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ino := f.names[name]; ino != nil {
		return append([]byte{}, ino.data...)
	}
	return nil
}

// Delete removes a file, durably.
func (f *FS) Delete(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.names, name)
	delete(f.durable, name)
}

// Names lists the files.
func (f *FS) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return sortedNames(f.names)
}

// Flip inverts the bits of mask in one byte of a file, in memory and on disk.
func (f *FS) Flip(name string, at int, mask byte) {
	b := f.Get(name)
	b[at] ^= mask
	f.Put(name, b)
}

// Clone is an independent copy of all files as the kernel shows them, durable, without faults.
func (f *FS) Clone() *FS {
	c := New()
	for _, name := range f.Names() {
		c.Put(name, f.Get(name))
	}
	return c
}
