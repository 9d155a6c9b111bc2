package app

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"firebreak/agent/guard"
	"firebreak/agent/history"
	"firebreak/agent/journal"
)

// historyReserve is what the history leaves of a disk that it shares with the journal.
const historyReserve = 64 << 20

// historyDir is a directory of its own below the journal's, which reads regular files only.
func historyDir(journalDir string) string { return filepath.Join(journalDir, "history") }

// buildHistory makes the log of readings; nil when the configuration wants none. Nothing is opened
// here: the disk may hang, and the history's writer is the one to wait for it.
func buildHistory(o *Options, boot guard.Boot) (*history.History, error) {
	c := o.Config
	if c.HistoryMax == 0 || c.HistoryAge == 0 {
		return nil, nil
	}
	dir := historyDir(c.Journal)
	return history.New(history.Options{
		Open: func() (journal.FS, func() error, error) {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return nil, nil, err
			}
			d, err := journal.OS(dir)
			if err != nil {
				return nil, nil, err
			}
			return d, d.Close, nil
		},
		Info: history.Info{Site: c.Site, Zone: c.Zone, Agent: c.Agent, Version: boot.Version, Go: runtime.Version(),
			Config: c.Rules.Hash, Instance: boot.Instance, Boot: boot.ID, Epoch: boot.Epoch},
		Devices: c.Rules.Hazard.Devices, Points: c.Rules.Hazard.Points, Clock: o.Clock, Synced: clockSynced,
		MaxBytes: c.HistoryMax, MaxAge: c.HistoryAge,
		Free: func() (int64, error) { return freeBytes(dir) }, Reserve: historyReserve,
		Log: o.Log.With("part", "history"),
	})
}

// remember runs the history. That its last words are lost is logged, and no failure of the agent.
func (o *Options) remember(h *history.History) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := h.Run(ctx); err != nil {
			o.Log.Warn("the history of readings did not end as it should", "err", err)
		}
		return nil
	}
}

// freeBytes is what this process may still write below a directory.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
