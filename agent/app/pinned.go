package app

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/guard"
	"firebreak/agent/journal"
	"firebreak/plugins/reread"
)

// keepSource writes the configuration beside the journal under its hash: a run is pinned to the
// configuration that started it (S8).
func keepSource(o *Options) {
	if len(o.Source) == 0 {
		return
	}
	path, sealed := pinnedPath(o.Config.Journal, o.Config.Rules.Hash), seal(o.Source)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, sealed) {
		return // whole: a torn one is written again
	}
	if err := reread.Replace(path, sealed); err != nil {
		o.Log.Warn("the configuration could not be kept beside the journal", "err", err)
	}
}

// sealMark begins the last line of a kept configuration: a comment with the sum of all before it.
const sealMark = "\n# kept whole: sha256 "

func seal(text []byte) []byte {
	return fmt.Appendf(bytes.Clone(text), "%s%x\n", sealMark, sha256.Sum256(text))
}

// unseal gives back what was sealed; ok is false for what is torn or was changed by hand.
func unseal(data []byte) (text []byte, ok bool) {
	i := bytes.LastIndex(data, []byte(sealMark))
	if i < 0 {
		return data, false
	}
	return data[:i], bytes.Equal(data, seal(data[:i]))
}

func pinnedPath(dir, hash string) string { return filepath.Join(dir, "config-"+hash+".toml") }

// pinned takes up an open run under the configuration that started it.
func (o *Options) pinned(hash string, jrec *journal.Recovered, left []byte, now *guard.Recovered, bootID string, synced bool) (*guard.Recovered, error) {
	// The start waits for no disk: the journal may be missing just because that one hangs (S9).
	data, _, err := reread.New(func() ([]byte, error) { return os.ReadFile(pinnedPath(o.Config.Journal, hash)) }).Get()
	if err != nil {
		return now, err
	}
	text, whole := unseal(data)
	old, faults := config.Parse(pinnedPath(o.Config.Journal, hash), text, Kinds())
	if len(faults) > 0 {
		return now, fmt.Errorf("%v", faults[0])
	}
	if old.Rules.Hash != hash {
		if !whole {
			return now, fmt.Errorf("the kept configuration has the hash %s: it is damaged, or was changed", old.Rules.Hash)
		}
		// The text is the one that started the run, and this program reads it with other defaults or
		// profiles: an upgrade in the middle of a run must not leave it without protection (S10).
		o.Log.Error("the open run was started by another version of firebreak, which understood its configuration otherwise", "pinned", hash)
		old.Rules.Hash = hash
	}
	old.Rules.Hazard.Origin = o.Origin
	rec, err := guard.Recover(old.Rules, jrec, left, o.Clock.Now(), bootID, synced, time.Now())
	if err != nil {
		return now, err
	}
	when := "when it has ended"
	if fixed(old, o.Config) == nil {
		o.then = &next{config: o.Config, source: o.Source}
	} else {
		when = "after a reset and a restart"
	}
	o.Log.Error("an open run goes on under the configuration that started it; the new one counts "+when, "pinned", hash, "new", o.Config.Rules.Hash)
	o.Config, o.Source = old, text
	return rec, nil
}
