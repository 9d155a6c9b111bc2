package replay

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"firebreak/agent/config"
	"firebreak/sensors"
)

// parser turns a line into a row; ok is false where the line holds nothing.
type parser interface {
	line(text []byte) (r row, ok bool, err error)
}

// recordingKind tells what a file is by its name; empty if it is none.
func recordingKind(name string) string {
	for _, k := range [...]struct{ end, kind string }{{".csv", "csv"}, {".jsonl", "jsonl"}, {".ndjson", "jsonl"}, {".tar.gz", "bundle"}, {".tgz", "bundle"}} {
		if strings.HasSuffix(strings.ToLower(name), k.end) {
			return k.kind
		}
	}
	return ""
}

func runRecording(ctx context.Context, o Options, kind string) (*Result, error) {
	f, err := os.Open(o.What)
	if err != nil {
		return nil, fmt.Errorf("cannot read the recording: %w", err)
	}
	defer f.Close()
	var c *config.Config
	lines, file := io.Reader(f), o.What
	if kind == "bundle" {
		var text []byte
		if lines, text, err = openBundle(f); err != nil {
			return nil, fmt.Errorf("%s: %w", o.What, err)
		}
		if file, kind = "readings.csv", "csv"; o.Config == "" {
			if text == nil {
				return nil, fmt.Errorf("%s holds no config.toml: name a configuration with --config", o.What)
			}
			var faults []config.Fault
			if c, faults = config.Parse("config.toml", text, o.kinds()); len(faults) > 0 {
				return nil, fmt.Errorf("the configuration of the bundle cannot be used here, name one with --config:\n%w", joined(faults))
			}
		}
	}
	if c == nil {
		if o.Config == "" {
			return nil, errors.New("a recording needs a configuration: name it with --config")
		}
		if c, err = parseFile(o.Config, o.kinds()); err != nil {
			return nil, err
		}
	}
	cols, err := loadColumns(o.Map)
	if err != nil {
		return nil, err
	}
	return play(ctx, o, c, newRecording(lines, file, kind, cols, o.Errs), cols)
}

func play(ctx context.Context, o Options, c *config.Config, rec *recording, cols *columns) (*Result, error) {
	rules := armed(c.Rules, sensors.Replay)
	if err := rec.begin(ctx, rules, cols); err != nil {
		return nil, err
	}
	works := newWorks(rules, cols.works)
	works.silence(func(id sensors.PointID) bool { return rec.speaks[id] })
	p, err := newPlayer(rules, works, &timeline{out: o.Out, json: o.JSON, begin: rec.first, origin: sensors.Replay, rules: rules})
	if err != nil {
		return nil, err
	}
	rec.player = p
	p.tl.heading("A recording of real readings.", c.File, o.What, 0, nil)
	err = p.run(ctx, rec, longest)
	r := p.result(o.What, c.File)
	r.Refused, r.Unknown = rec.refused, rec.unknownNames()
	p.tl.ending(p.now, r, p.core)
	return r, errors.Join(err, rec.err, p.tl.err, rec.verdict())
}

// openBundle finds the readings in an archive of `firebreak bundle`, and the configuration of the
// episode, whichever stands first. It returns at the readings, which are read as they are replayed.
func openBundle(f io.ReadSeeker) (readings io.Reader, text []byte, err error) {
	for pass := range 2 {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, nil, err
		}
		z, err := gzip.NewReader(bufio.NewReader(f))
		if err != nil {
			return nil, nil, fmt.Errorf("no archive of firebreak bundle: %w", err)
		}
		for t := tar.NewReader(z); ; {
			h, err := t.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, nil, fmt.Errorf("the archive is damaged: %w", err)
			}
			switch name := path.Base(h.Name); {
			case pass == 0 && name == "config.toml":
				if text, err = io.ReadAll(io.LimitReader(t, maxText)); err != nil {
					return nil, nil, fmt.Errorf("the archive is damaged: %w", err)
				}
			case pass == 1 && name == "readings.csv":
				return t, text, nil
			}
		}
	}
	return nil, nil, errors.New("the archive holds no readings.csv")
}
