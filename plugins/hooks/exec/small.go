package exec

import (
	"context"
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"
	"time"

	"firebreak/plugins/hooks/exec/shim"
)

// smallName is the program that is a shim and nothing else. Agent and helper bring all their packages
// along, and their start takes several times as much processor time.
const smallName = "firebreak-shim"

const tryBound = 2 * time.Second // for it to answer

// SmallBeside gives the path of the small program in the directory of self, or nothing if there is none that
// only those can replace who can replace self.
func SmallBeside(self string) string {
	path := filepath.Join(filepath.Dir(self), smallName)
	mine, err := os.Stat(self)
	if err != nil || path == self {
		return ""
	}
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o111 == 0 || fi.Mode().Perm()&0o022 != 0 {
		return ""
	}
	if uid := ownerOf(fi); uid != 0 && uid != ownerOf(mine) {
		return ""
	}
	return path
}

func ownerOf(fi os.FileInfo) uint32 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Uid
	}
	return 0
}

// answers tells whether what is started from path, as name, is a shim that reads and writes what this one does.
func answers(ctx context.Context, path, name string) (bool, error) {
	cmd := osexec.CommandContext(ctx, path, shim.Command, shim.ProbeArg)
	cmd.Args[0] = name
	cmd.Env = shimEnv()
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return err == nil && string(out) == shim.Answer, err
}

// TryOut looks whether the small shim can be used until the next probe. Nothing is lost without it but time.
func (r *Runner) TryOut(ctx context.Context) {
	if r.Small == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, tryBound)
	defer cancel()
	was := r.small.Load()
	ok, err := r.tryOut(ctx, was)
	r.small.Store(ok)
	r.warm(true)
	if was && !ok && ctx.Err() == nil {
		r.Log.Warn("the small shim answers no more: the agent's own program is started, more slowly", "shim", r.Small, "err", err)
	}
}

func (r *Runner) tryOut(ctx context.Context, was bool) (bool, error) {
	late, err := r.memory.read(ctx, r.Small)
	if late { // nothing is started from there; the copy of before is as good as it was
		return was && r.memory.have(), err
	}
	if err != nil {
		return false, err
	}
	r.memory.mu.RLock()
	path := r.memory.path(r.Small)
	ok, err := answers(ctx, path, r.Small)
	r.memory.mu.RUnlock()
	if !ok && path != r.Small && ctx.Err() == nil { // a machine may forbid to start what lies in memory
		if ok, _ := answers(ctx, r.Small, r.Small); ok {
			r.memory.mu.Lock()
			r.memory.drop()
			r.memory.mu.Unlock()
			return true, nil
		}
	}
	return ok, err
}
