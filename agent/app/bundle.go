package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/history"
	"firebreak/agent/journal"
	"firebreak/plugins"
)

// BundleOptions say which episode goes into an archive, and from where.
type BundleOptions struct {
	Episode       string // PLAN/NUMBER, NUMBER, or last
	Journal       string // directory; the history lies in it
	Config        *config.Config
	Source        []byte // of Config; both are the present ones, and may be nil
	Out           string // the archive; empty: a name of its own in the working directory
	Before, After time.Duration
	Now           time.Time
}

// Bounds of a bundle.
const (
	bundleRead   = time.Minute // for the journal
	bundleStatus = 2 * time.Second
	maxSource    = 1 << 20 // of a configuration or profile
	shownRuns    = 10      // of those that there are, when one is not found
)

// bundle is one archive in the making.
type bundle struct {
	ctx     context.Context
	o       BundleOptions
	hist    journal.FS
	jr      *kept
	ep      *history.Episode
	dir     *bundleDir
	seen    *collector
	missing []string // lines of gaps.txt
}

// Bundle writes one archive with all that is known of an episode, and returns its path and what is
// missing from it. It reads the journal's directory and changes nothing there: the agent may run, or
// be long gone. Nothing of it is on the safety path.
func Bundle(ctx context.Context, o BundleOptions) (path string, missing []string, err error) {
	if fi, err := os.Stat(o.Journal); err != nil || !fi.IsDir() {
		return "", nil, fmt.Errorf("the journal directory %s cannot be read; run this as the agent's user or root, on the agent's machine or a copy of its disk: %w", o.Journal, orNotDir(err))
	}
	b := &bundle{ctx: ctx, o: o, hist: journal.ReadOnly(historyDir(o.Journal))}
	b.jr = readKept(ctx, o.Journal)
	b.gap(b.jr.faults...)
	if err := b.choose(); err != nil {
		return "", nil, err
	}
	if b.o.Out == "" {
		b.o.Out = fmt.Sprintf("firebreak-%s-%d.tar.gz", b.ep.Plan, b.ep.Number)
	}
	if b.dir, err = newBundleDir(filepath.Dir(b.o.Out)); err != nil {
		return "", nil, fmt.Errorf("no place for the archive: %w", err)
	}
	defer b.dir.remove()
	if err := b.fill(); err != nil {
		return "", nil, err
	}
	return b.o.Out, b.missing, b.dir.pack(b.o.Out, b.o.Now)
}

func orNotDir(err error) error {
	if err == nil {
		return errors.New("it is no directory")
	}
	return err
}

func (b *bundle) gap(lines ...string) { b.missing = append(b.missing, lines...) }

// choose finds the episode: in the history, or, where that does not hold it, in the journal.
func (b *bundle) choose() error {
	plan, number, err := parseEpisode(b.o.Episode)
	if err != nil {
		return err
	}
	all, _, err := history.Episodes(b.hist)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.gap("There is no history of readings: the agent ran without one (history_max, history_age), or it was removed. Readings, alarms and events are not in this archive.")
	case err != nil:
		b.gap("The history of readings cannot be read: " + err.Error())
	}
	all = b.jr.add(all)
	var fit []*history.Episode
	for _, e := range all {
		if plan == "" && number == 0 || e.Number == number && (plan == "" || e.Plan == plan) {
			fit = append(fit, e)
		}
	}
	if plan == "" && number == 0 && len(fit) > 0 {
		fit = fit[len(fit)-1:]
	}
	switch {
	case len(fit) == 0 && len(all) == 0:
		return fmt.Errorf("no episode %s: neither the history nor the journal in %s holds any", b.o.Episode, b.o.Journal)
	case len(fit) == 0:
		return fmt.Errorf("no episode %s; there are: %s", b.o.Episode, episodeNames(all))
	case len(fit) > 1:
		for _, e := range fit[1:] {
			if e.Plan != fit[0].Plan {
				return fmt.Errorf("episode %d is of more than one plan; say which: %s", number, episodeNames(fit))
			}
		}
	}
	b.ep = fit[len(fit)-1]
	return nil
}

func parseEpisode(s string) (plan string, number uint64, err error) {
	if s == "last" {
		return "", 0, nil
	}
	name, digits, ok := strings.Cut(s, "/")
	if !ok {
		name, digits = "", s
	}
	number, err = strconv.ParseUint(digits, 10, 64)
	if err != nil || number == 0 || ok && name == "" {
		return "", 0, fmt.Errorf("episode %q is not PLAN/NUMBER, NUMBER or last", s)
	}
	return name, number, nil
}

func episodeNames(all []*history.Episode) string {
	var names []string
	for _, e := range all[max(0, len(all)-shownRuns):] {
		names = append(names, fmt.Sprintf("%s/%d (%s)", e.Plan, e.Number, e.Start.Time().UTC().Format(time.RFC3339)))
	}
	return strings.Join(names, ", ")
}

// fill writes every file of the archive into the working directory.
func (b *bundle) fill() error {
	c, err := newCollector(b.ctx, b.dir, b.ep)
	if err != nil {
		return err
	}
	b.seen = c
	rep, err := history.Around(b.hist, b.ep, b.o.Before, b.o.After, c.record)
	if err := errors.Join(b.ctx.Err(), c.close(), keepOurs(err)); err != nil {
		return err
	}
	b.gap(c.missing(b.ep, b.o.Before)...)
	if rep != nil {
		b.gap(b.reported(rep)...)
	}
	if err := b.jr.write(b.dir, b.ep, b.o.Before, b.o.After); err != nil {
		return err
	}
	b.gap(b.jr.missing(b.ep)...)
	for _, f := range []func() error{b.hooks, b.configs, b.versions, b.status, b.timeline, b.gaps, b.readme} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// keepOurs passes a fault of writing on; that the history cannot be listed stands in the gaps already.
func keepOurs(err error) error {
	if w := (*bundleError)(nil); errors.As(err, &w) {
		return err
	}
	return nil
}

// hooks writes what each hook's target said, a file for each key.
func (b *bundle) hooks() error {
	for _, h := range b.seen.hooks {
		if err := b.dir.write("hooks/"+keyFile(h.key)+".txt", h.text); err != nil {
			return err
		}
	}
	return nil
}

// keyFile is a key as a name of a file. Names in keys hold no dot and no slash.
func keyFile(k plugins.Key) string { return strings.ReplaceAll(k.String(), "/", ".") }

// configs writes the configuration that the episode ran under, and the present one. Nothing else that
// a configuration names is read, but for device profiles and hazard packs: secrets lie in files of their own.
func (b *bundle) configs() error {
	hash := b.jr.hash(b.ep)
	if hash == "" {
		hash = b.ep.Config
	}
	if data, err := readBounded(pinnedPath(b.o.Journal, hash), maxSource+4096); hash == "" || err != nil {
		b.gap(fmt.Sprintf("The configuration of the episode (hash %q) is not kept beside the journal: %v", hash, err))
	} else {
		text, whole := unseal(data)
		if !whole {
			b.gap("config.toml has lost its checksum: it is damaged, or was changed by hand.")
		}
		if err := b.dir.write("config.toml", text); err != nil {
			return err
		}
	}
	if b.o.Config == nil {
		return nil
	}
	if err := b.dir.write("config-present.toml", b.o.Source); err != nil {
		return err
	}
	for _, name := range b.o.Config.OwnProfiles {
		file := filepath.Base(strings.TrimSuffix(name, ".toml")) + ".toml"
		if err := b.own("device profile", filepath.Join(b.o.Config.Profiles, file), "profiles/"+file); err != nil {
			return err
		}
	}
	for i, path := range b.o.Config.OwnPacks { // two may have one name, in several directories
		if err := b.own("hazard pack", path, fmt.Sprintf("hazards/%d-%s", i+1, filepath.Base(path))); err != nil {
			return err
		}
	}
	return nil
}

// own takes a file of the site's own along that the configuration is made of.
func (b *bundle) own(what, path, name string) error {
	data, err := readBounded(path, maxSource)
	if err != nil {
		b.gap("The " + what + " " + filepath.Base(path) + " cannot be read: " + err.Error())
		return nil
	}
	return b.dir.write(name, data)
}

func readBounded(path string, limit int64) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > limit {
		return nil, fmt.Errorf("%s is no regular file of at most %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

// status adds what the running agent says now, if one answers.
func (b *bundle) status() error {
	if b.o.Config == nil || b.o.Config.Control == "" || !answers(b.o.Config.Control) {
		return nil
	}
	a, err := Ask(b.o.Config.Control, Request{Order: "status"})
	if err != nil || a.Status == nil {
		return nil
	}
	return b.dir.json("status.json", a.Status)
}
