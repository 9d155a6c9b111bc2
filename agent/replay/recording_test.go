package replay

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"firebreak/agent/app"
	"firebreak/sensors"
)

const battery = "../../configs/scenarios/sites/battery-room.toml"

// record replays a recording under the battery room, and returns what was printed and refused.
func record(t *testing.T, file, mapping string) (r *Result, out, refused string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	r, err = Run(t.Context(), Options{What: file, Config: battery, Map: mapping, Kinds: app.Kinds(), Out: &o, Errs: &e})
	return r, o.String(), e.String(), err
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// logged is a scenario's readings as a recorder at the site would have them, in one of the formats.
func logged(t *testing.T, scenario string, line func(w io.Writer, at time.Time, p *sensors.Point, r *sensors.Reading)) string {
	t.Helper()
	sc, err := loadScenario(scenario)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sc.config(Options{Kinds: app.Kinds()}, sc.site)
	if err != nil {
		t.Fatal(err)
	}
	rules := armed(c.Rules, sensors.Simulated)
	s := newScript(sc, rules, newWorks(rules, sc.works))
	var b strings.Builder
	for now := base; now < at(sc.lasts); {
		now = s.poll(now, func(in []sensors.Reading) {
			for i := range in {
				line(&b, sc.begins.Add(in[i].At.Sub(base)), &rules.Hazard.Points[in[i].Point], &in[i])
			}
		})
	}
	return b.String()
}

// TestSameDoor: a scenario and a recording of its readings open the same stages at the same instants, whatever the
// format: recorded data goes through the same core.
func TestSameDoor(t *testing.T) {
	want := playScenario(t, "pangyo-2022")
	csv := "wall_time,mono_ns,device,point,value,unit,quality,reason,origin\n" + logged(t, "pangyo-2022", func(w io.Writer, at time.Time, p *sensors.Point, r *sensors.Reading) {
		fmt.Fprintf(w, "%s,0,d,%s,%g,%s,%s,%s,real\n", at.Format(time.RFC3339), p.Name, r.Value, p.Unit, r.Quality.Status(), r.Quality.Reason())
	})
	jsonl := logged(t, "pangyo-2022", func(w io.Writer, at time.Time, p *sensors.Point, r *sensors.Reading) {
		fmt.Fprintf(w, `{"time":%q,"point":%q,"value":%g,"unit":%q}`+"\n", at.Format(time.RFC3339), p.Name, r.Value, p.Unit)
	})
	for name, text := range map[string]string{"readings.csv": csv, "readings.jsonl": jsonl} {
		r, out, refused, err := record(t, write(t, name, text), "")
		if err != nil || refused != "" {
			t.Fatalf("%s: %v %s", name, err, refused)
		}
		if len(r.Stages) != len(want.Stages) || len(r.Stages) == 0 {
			t.Fatalf("%s: stages %+v, want %+v\n%.3000s", name, r.Stages, want.Stages, out)
		}
		for i, s := range r.Stages { // a recording begins at its first row; its T+0 is that
			if w := want.Stages[i]; s.Stage != w.Stage || s.AtS != w.AtS+300 {
				t.Errorf("%s: stage %s at %v s, want %s at %v s", name, s.Stage, s.AtS, w.Stage, w.AtS+300)
			}
		}
		if r.Origin != "replay" || !strings.Contains(out, "origin replay") {
			t.Errorf("%s: origin %s", name, r.Origin)
		}
	}
}

// TestExamplesOfTheDocument: the examples of docs/replay.md are files that are replayed here.
func TestExamplesOfTheDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/replay.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"room.csv", "columns.toml", "room.jsonl"} {
		b, err := os.ReadFile("testdata/recordings/" + f)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), string(b)) {
			t.Errorf("docs/replay.md does not show testdata/recordings/%s as it is", f)
		}
	}
	r, out, refused, err := record(t, "testdata/recordings/room.csv", "testdata/recordings/columns.toml")
	if err != nil || refused != "" {
		t.Fatalf("%v %s", err, refused)
	}
	if len(r.Stages) == 0 || !strings.Contains(out, "smoke-action@asd-1 at 0.41 %/m") {
		t.Errorf("the CSV opens %+v\n%s", r.Stages, out)
	}
	r, out, refused, err = record(t, "testdata/recordings/room.jsonl", "")
	if err != nil || refused != "" {
		t.Fatalf("%v %s", err, refused)
	}
	if !strings.Contains(out, "alarm    loss/supply/C P2 unacknowledged") || r.Readings != 8 {
		t.Errorf("the JSON Lines: %+v\n%s", r, out)
	}
}

// TestBadRows: a bad row is told with its line and costs nothing but itself; a bad value costs nothing but itself.
func TestBadRows(t *testing.T) {
	file := write(t, "r.csv", `# a comment of the logger
time,asd-1.smoke.obscuration,cab-t1.temperature,of.nobody
2026-01-01T00:00:00Z,0.01,25,7
2026-01-01T00:00:01Z,zero,25,7
yesterday,0.01,25,7
2026-01-01T00:00:02Z,0.01,25
2026-01-01T00:00:03Z,0.01,"25,7
2025-12-31T00:00:00Z,0.01,25,7

2026-01-01T00:00:04Z,,bad:mood,7
2026-01-01T00:00:05Z,bad:sentinel,"25",7
2026-01-01T00:00:06Z,0.02,26,7
`)
	r, _, refused, err := record(t, file, "")
	if !errors.Is(err, ErrRefused) {
		t.Errorf("error %v, want %v", err, ErrRefused)
	}
	for _, want := range []string{`r.csv:4: column asd-1.smoke.obscuration: "zero" is no number`, `r.csv:5: column time: "yesterday" is no time`, "r.csv:6: 3 columns, and the header has 4",
		`r.csv:7: byte`, "r.csv:8: 2025-12-31T00:00:00Z lies 24h0m1s before the row above it", `r.csv:10: column cab-t1.temperature: "mood" is no reason`} {
		if !strings.Contains(refused, want) {
			t.Errorf("it does not tell %q:\n%s", want, refused)
		}
	}
	// Lines 3, 11 and 12 whole, of line 4 the good value: two, one, two, two readings.
	if r.Refused != 6 || r.Readings != 2+1+2+2 {
		t.Errorf("%d refused, %d readings; want 6 and 7", r.Refused, r.Readings)
	}
	if strings.Join(r.Unknown, " ") != "of.nobody" {
		t.Errorf("unknown points %v", r.Unknown)
	}
}

func TestBadLinesOfJSON(t *testing.T) {
	file := write(t, "r.jsonl", `{"time":1767225600,"point":"cab-t1.temperature","value":25,"unit":"C"}
not json
{"time":1767225601,"point":"cab-t1.temperature","value":25,"unit":"furlong"}
{"point":"cab-t1.temperature","value":25}
{"time":1767225602,"point":"cab-t1.temperature","value":"hot"}
{"time":1767225603,"point":"cab-t1.temperature","quality":"splendid","value":25}
{"time":1767225604,"point":"cab-t1.temperature","value":298.15,"unit":"K"}
{"time":1767225605,"point":"cab-t1.temperature","value":25,"unit":"V"}
{"time":1767225606,"cab-t1.temperature":26,"cab-t2.temperature":null}
{"device":"cab-t1","epoch":1,"seq":4,"ts":1767225607000,"temperature":null,"bad":"temperature:sentinel"}
`)
	r, _, refused, err := record(t, file, "")
	if !errors.Is(err, ErrRefused) {
		t.Errorf("error %v, want %v", err, ErrRefused)
	}
	for _, want := range []string{"r.jsonl:2: no JSON object", `r.jsonl:3: unknown unit "furlong"`, `r.jsonl:4: there is no "time"`, `r.jsonl:5: value: "hot" is no value`,
		`r.jsonl:6: quality "splendid"`, `r.jsonl:8: cab-t1.temperature: cannot convert "V" to "C"`} {
		if !strings.Contains(refused, want) {
			t.Errorf("it does not tell %q:\n%s", want, refused)
		}
	}
	if r.Refused != 6 || r.Readings != 5 {
		t.Errorf("%d refused, %d readings; want 6 and 5", r.Refused, r.Readings)
	}
}

// TestLongLine: a line that nobody can mean ends nothing.
func TestLongLine(t *testing.T) {
	file := write(t, "r.csv", "time,cab-t1.temperature\n2026-01-01T00:00:00Z,25\n"+strings.Repeat("x", maxLine+10)+"\n2026-01-01T00:00:01Z,25\n")
	r, _, refused, err := record(t, file, "")
	if !errors.Is(err, ErrRefused) || r.Readings != 2 || !strings.Contains(refused, "r.csv:3: a line of more than") {
		t.Errorf("%v, %+v, %s", err, r, refused)
	}
}

// TestBundle: the archive of an episode is a recording, with the configuration that it ran under.
func TestBundle(t *testing.T) {
	conf, err := os.ReadFile(battery)
	if err != nil {
		t.Fatal(err)
	}
	readings := "wall_time,mono_ns,device,point,value,unit,quality,reason,origin\n" +
		"2026-01-01T00:00:00.000Z,1,cab-t1,cab-t1.temperature,25,C,good,,real\n" +
		"2026-01-01T00:00:01.500Z,1,cab-t1,cab-t1.temperature,,C,bad,comm,real\n" +
		"2026-01-01T00:00:01.200Z,1,asd-1,asd-1.smoke.obscuration,0.01,%/m,good,,real\n" // judged later, polled earlier
	file := filepath.Join(t.TempDir(), "e.tar.gz")
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range []struct{ name, text string }{{"e/README", "x"}, {"e/readings.csv", readings}, {"e/config.toml", string(conf)}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o600, Size: int64(len(f.text))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close(), os.WriteFile(file, b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r, err := Run(t.Context(), Options{What: file, Kinds: app.Kinds(), Out: &out, Errs: &out})
	if err != nil || r.Readings < 3 || r.Refused != 0 || r.Config != "config.toml" {
		t.Errorf("%v, %+v\n%s", err, r, out.String())
	}
	if err := os.WriteFile(file, b.Bytes()[:b.Len()/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Options{What: file, Kinds: app.Kinds(), Out: &out, Errs: &out}); err == nil {
		t.Error("half an archive was replayed as a whole one")
	}
}

// TestColumns: units, scales, offsets, other separators, decimal commas and clocks.
func TestColumns(t *testing.T) {
	mapping := write(t, "m.toml", `
time          = "Zeit"
format        = "02.01.2006 15:04:05"
zone          = "+01:00"
separator     = ";"
decimal_comma = true

[[column]]
name  = "T in K"
point = "bms-1.cell.temperature.max"
unit  = "K"

[[column]]
name   = "Kontakt"
point  = "smoke-1.smoke.alarm"
invert = true

[[column]]
name   = "raw"
point  = "asd-1.smoke.obscuration"
scale  = 0.001
offset = -1
`)
	rows := func(kelvin, contact, raw string) string {
		text := "\ufeffZeit;T in K;Kontakt;raw\r\n"
		for s := 0; s <= 24; s += 4 {
			text += fmt.Sprintf("01.02.2026 12:00:%02d;%s;%s;%s\r\n", s, kelvin, contact, raw)
		}
		return write(t, "r.csv", text)
	}
	file := rows("298,15", "1", "1010") // 25 C, no smoke, 0.01 %/m
	for name, raised := range map[string]bool{file: false, rows("330,15", "off", "1500"): true} {
		r, out, refused, err := record(t, name, mapping)
		if err != nil || refused != "" || r.Readings != 3*7 {
			t.Fatalf("%v %+v %s\n%s", err, r, refused, out)
		}
		if !strings.Contains(out, "From 2026-02-01 12:00:00 +01:00") {
			t.Errorf("the clock is wrong:\n%s", out)
		}
		for _, alarm := range []string{"alarm    cell-hot P1", "alarm    smoke-point P1", "alarm    smoke-action P1"} {
			if strings.Contains(out, alarm) != raised {
				t.Errorf("%s raised: %v, want %v\n%s", alarm, !raised, raised, out)
			}
		}
	}
	for text, want := range map[string]string{
		"tyme = \"a\"": `unknown key "tyme"`,
		"[[column]]\nname = \"a\"\npoint = \"no.such\"":                          `column "a" is of point "no.such", which the configuration does not have`,
		"[[column]]\nname = \"a\"\npoint = \"cab-t1.temperature\"\nunit = \"V\"": `cannot convert "V" to "C"`,
		"separator = \",\"\ndecimal_comma = true":                                "a comma cannot be both",
		"zone = \"Seoul\"": `"Seoul" is no offset`,
	} {
		if _, _, _, err := record(t, file, write(t, "m.toml", text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestWhatCannotBeReplayed says what to do instead.
func TestWhatCannotBeReplayed(t *testing.T) {
	empty := write(t, "e.csv", "time,cab-t1.temperature\n")
	headless := write(t, "h.csv", "when,cab-t1.temperature\n2026-01-01T00:00:00Z,1\n")
	for what, want := range map[string]string{
		"no-such-thing": "neither a scenario nor a recording: the scenarios are alibaba-hk-2022, ",
		"absent.csv":    "cannot read the recording",
		empty:           "holds no row that can be used",
		headless:        "holds no row that can be used",
	} {
		if _, _, _, err := record(t, what, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	_, err := Run(t.Context(), Options{What: empty, Kinds: app.Kinds(), Out: io.Discard, Errs: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "name it with --config") {
		t.Errorf("without a configuration: %v", err)
	}
}

// FuzzRows: no line of any kind ends more than itself.
func FuzzRows(f *testing.F) {
	f.Add(`2026-01-01T00:00:00Z,1,"2`, `{"time":1,"point":"a","value":1}`)
	f.Add("1e99,nan,bad:comm", `{"device":"d","ts":1,"x":true,"bad":"x:comm"}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		cols, err := loadColumns("")
		if err != nil {
			t.Fatal(err)
		}
		c := &csvRows{cols: cols}
		if _, _, err := c.line([]byte("time,x,y")); err != nil {
			t.Fatal(err)
		}
		check := func(r row, ok bool, err error) {
			if err == nil && ok && (r.at.IsZero() || r.at.Year() < 0) {
				t.Errorf("a row without a time: %+v", r)
			}
		}
		r, ok, err := c.line([]byte(a))
		check(r, ok, err)
		r, ok, err = (&jsonRows{cols: cols}).line([]byte(b))
		check(r, ok, err)
	})
}
