package profile

import (
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"firebreak/sensors"
)

//go:embed testdata/*/*.txt
var recorded embed.FS

// Recorded are the recorded cases of the built-in profiles, a folder for each: what `firebreak profile test`
// runs where no source is at hand.
func Recorded() fs.FS {
	sub, err := fs.Sub(recorded, "testdata")
	if err != nil {
		return recorded // the path is a constant: not reached
	}
	return sub
}

// Outcome is what a file of recorded cases has shown.
type Outcome struct {
	Cases int
	Seen  map[string]bool // channels and "command NAME" that a case speaks of
	Wrong []string        // each with its file and case
}

// Cases runs a file of recorded cases, divided by lines of "---": registers as they came over the wire, and
// what must come of them.
//
//	holding 0x2100 = 0x01F4 12   registers from that address on
//	var ups.status = OB LB       a variable of a UPS, or an object of SNMP
//	object 0x88 = 1=UPS2000      an object of the device identification: its text, or "bytes 00 00 00 01"
//	want temperature 25.7        or bad:sentinel, or "80 uncertain:over-range"; identity: ok or wrong
//	command NAME = CODE ADDRESS VALUE... DIRECTION
//	done NAME yes                or no, or unknown: what its read back says
func (p *Profile) Cases(where, text string) Outcome {
	o := Outcome{Seen: map[string]bool{}}
	for i, c := range strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "---\n") {
		o.Cases++
		r := caseRun{p: p, regs: map[string]uint16{}, vars: map[string]string{}, out: &o, where: fmt.Sprintf("%s case %d", where, i+1)}
		r.run(c)
	}
	return o
}

type caseRun struct {
	p     *Profile
	where string
	regs  map[string]uint16 // "holding 8448"
	vars  map[string]string // of a UPS, by name
	says  map[byte][]byte   // objects of the identification; nil: the device was not asked
	wants [][]string
	dones [][]string
	out   *Outcome
}

func (r *caseRun) wrong(format string, args ...any) {
	r.out.Wrong = append(r.out.Wrong, r.where+": "+fmt.Sprintf(format, args...))
}

func (r *caseRun) run(text string) {
	for _, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		r.line(strings.Fields(line), line)
	}
	raw := make([]Raw, len(r.p.Channels))
	for i := range r.p.Channels {
		if c := &r.p.Channels[i]; c.Variable != "" {
			raw[i] = c.Text(r.vars)
			continue
		}
		raw[i] = Raw{Words: span16(r.regs, r.p.Channels[i].Span())}
		if raw[i].Words == nil {
			raw[i].Fail = sensors.Comm
		}
	}
	dec, err := NewDecoder(r.p, r.p.Expand(sensors.Device{Name: "dev"}, time.Second))
	if err != nil {
		r.wrong("%v", err)
		return
	}
	r.compare(dec.Decode(raw, nil))
}

func (r *caseRun) line(f []string, line string) {
	switch {
	case len(f) == 0:
	case f[0] == "want" && len(f) >= 3:
		r.wants = append(r.wants, f[1:])
	case f[0] == "var" && len(f) >= 3 && f[2] == "=":
		_, text, _ := strings.Cut(line, "=")
		r.vars[f[1]] = strings.TrimSpace(text)
	case f[0] == "object" && len(f) >= 4 && f[2] == "=":
		r.object(f[1], line)
	case f[0] == "command" && len(f) >= 6:
		r.out.Seen["command "+f[1]] = true
		r.command(f[1], strings.Join(f[3:], " "))
	case f[0] == "done" && len(f) == 3:
		r.dones = append(r.dones, f[1:])
	case len(f) >= 4 && f[2] == "=":
		first, err := strconv.ParseUint(f[1], 0, 16)
		for i, w := range f[3:] {
			v, e := strconv.ParseUint(w, 0, 16)
			if e != nil || err != nil {
				r.wrong("cannot read %q: addresses and words are numbers up to 65535, such as 0x2100", line)
				return
			}
			r.regs[fmt.Sprintf("%s %d", f[0], int(first)+i)] = uint16(v)
		}
	default:
		r.wrong("cannot read %q: write \"holding 0x2100 = 0x01F4\", \"want CHANNEL VALUE\", \"command NAME = ...\" or \"done NAME yes\"", line)
	}
}

// object takes a line "object NUMBER = TEXT".
func (r *caseRun) object(number, line string) {
	id, err := strconv.ParseUint(number, 0, 8)
	_, text, _ := strings.Cut(line, "=")
	text = strings.TrimSpace(text)
	b := []byte(text)
	if digits, is := strings.CutPrefix(text, "bytes "); is && err == nil {
		b, err = hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	}
	if err != nil {
		r.wrong("cannot read %q: write \"object 0x88 = TEXT\" or \"object 0x87 = bytes 00 00 00 01\"", line)
		return
	}
	if r.says == nil {
		r.says = map[byte][]byte{}
	}
	r.says[byte(id)] = b
}

func (r *caseRun) compare(readings []sensors.Reading) {
	got := map[string]string{"identity": r.identity()}
	for i, v := range readings {
		got[r.p.Channels[i].Name] = show(v)
	}
	for _, w := range r.dones {
		c := r.p.Command(w[0])
		if c == nil || c.ReadBack < 0 {
			r.wrong("no command %q that is read back", w[0])
			continue
		}
		state := "unknown"
		if v := readings[c.ReadBack]; v.Quality.Usable() {
			state = map[bool]string{true: "yes", false: "no"}[c.Done(v.Value)]
		}
		if state != w[1] {
			r.wrong("%s is done: %s, want %s", w[0], state, w[1])
		}
	}
	for _, w := range r.wants {
		r.out.Seen[w[0]] = true
		if want := strings.Join(w[1:], " "); got[w[0]] != want {
			r.wrong("%s is %q, want %q", w[0], got[w[0]], want)
		}
	}
}

// command compares what a command writes with "CODE ADDRESS VALUE... DIRECTION".
func (r *caseRun) command(name, want string) {
	c := r.p.Command(name)
	if c == nil {
		r.wrong("there is no command %q", name)
		return
	}
	if got := fmt.Sprintf("%d %d %s %s", c.Code(), c.Address, strings.Trim(fmt.Sprint(c.Values), "[]"), c.Direction); got != want {
		r.wrong("command %s is %q, want %q", name, got, want)
	}
}

// Wants are the lines of a case that say what comes of raw, one entry a channel: how a recording becomes a case.
func (p *Profile) Wants(raw []Raw) ([]string, error) {
	dec, err := NewDecoder(p, p.Expand(sensors.Device{Name: "dev"}, time.Second))
	if err != nil {
		return nil, err
	}
	var out []string
	for i, r := range dec.Decode(raw, nil) {
		out = append(out, fmt.Sprintf("want %s %s", p.Channels[i].Name, show(r)))
	}
	return out, nil
}

// Untold are the channels and commands that no case spoke of; of an array of commands the first and the
// last are enough.
func (p *Profile) Untold(seen map[string]bool) (missing []string) {
	for i := range p.Channels {
		if !seen[p.Channels[i].Name] {
			missing = append(missing, fmt.Sprintf("channel %q", p.Channels[i].Name))
		}
	}
	for _, c := range p.Commands {
		if n := strings.Trim(c.Name, "0123456789"); !strings.ContainsAny(n, "0123456789") && !seen["command "+c.Name] {
			missing = append(missing, fmt.Sprintf("command %q", c.Name))
		}
	}
	return missing
}

// CaseFiles names the files of recorded cases of a profile in fsys.
func CaseFiles(fsys fs.FS, name string) []string {
	files, _ := fs.Glob(fsys, path.Join(name, "*.txt")) // a name of a profile has nothing that Glob takes for a pattern
	return files
}

func show(r sensors.Reading) string {
	if !r.Quality.Usable() {
		return r.Quality.String()
	}
	s := strconv.FormatFloat(math.Round(r.Value*1e7)/1e7, 'g', -1, 64)
	if r.Quality.Status() == sensors.Uncertain {
		s += " " + r.Quality.String()
	}
	return s
}

func span16(regs map[string]uint16, s Span) []uint16 {
	words := make([]uint16, s.Count)
	for k := range words {
		w, ok := regs[fmt.Sprintf("%s %d", s.Func, int(s.First)+k)]
		if !ok {
			return nil
		}
		words[k] = w
	}
	return words
}

func (r *caseRun) identity() string {
	for i := range r.p.Identity {
		c := &r.p.Identity[i]
		if c.Func == Identification {
			if r.says != nil && !c.Names(r.says) {
				return "wrong"
			}
			continue
		}
		if w := span16(r.regs, c.Span); w != nil && !c.Matches(w) {
			return "wrong"
		}
	}
	return "ok"
}
