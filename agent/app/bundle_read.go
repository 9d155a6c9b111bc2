package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/history"
	"firebreak/plugins"
	"firebreak/sensors"
)

// wallFormat is RFC 3339 with milliseconds, in UTC.
const wallFormat = "2006-01-02T15:04:05.000Z"

// collector takes the records of the window, in the order of writing, into the files of the archive.
type collector struct {
	ctx                             context.Context // of the command: a person may end it
	ep                              *history.Episode
	csv, alarms, plans, events      *bundleFile
	buf                             []byte
	first, last                     history.Instant
	readings, polls, alarmN, eventN int
	processes                       []*process
	hooks                           []*hookText
	gaps                            []string
	time                            timeline
}

// process is one life of the agent that has written in the window.
type process struct {
	history.Info
	From        string `json:"first_record"`
	To          string `json:"last_record"`
	SyncedFirst bool   `json:"clock_synchronised_at_first"`
	SyncedLast  bool   `json:"clock_synchronised_at_last"`
}

// hookText is what the target of one key has said, call by call.
type hookText struct {
	key  plugins.Key
	text []byte
}

func newCollector(ctx context.Context, d *bundleDir, ep *history.Episode) (*collector, error) {
	c := &collector{ctx: ctx, ep: ep}
	c.time.init(ep)
	var err error
	for _, f := range []struct {
		to   **bundleFile
		name string
	}{{&c.csv, "readings.csv"}, {&c.alarms, "alarms.jsonl"}, {&c.plans, "plan.jsonl"}, {&c.events, "events.jsonl"}} {
		if *f.to, err = d.create(f.name); err != nil {
			return nil, err
		}
	}
	_, err = c.csv.WriteString("wall_time,mono_ns,device,point,value,unit,quality,reason,origin\n")
	return c, wrote(err)
}

func (c *collector) close() error {
	return errors.Join(c.csv.close(), c.alarms.close(), c.plans.close(), c.events.close())
}

// record is called for each record of the window.
func (c *collector) record(r *history.Record) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if c.first == (history.Instant{}) && !r.Begins && r.Gap == nil {
		c.first = r.At
	}
	c.process(r)
	c.time.record(r)
	switch {
	case r.Poll != nil:
		c.last = r.At
		return c.poll(r)
	case r.Alarm != nil:
		c.alarmN++
		return c.json(c.alarms, r)
	case r.Plan != nil:
		return c.json(c.plans, r)
	case r.Event != nil:
		c.eventN++
		c.hook(r)
		return c.json(c.events, r)
	case r.Gap != nil:
		c.gaps = append(c.gaps, fmt.Sprintf("%s to %s: %d polls with %d readings, and %d states or events were dropped, because the disk did not keep up. Its last fault: %s",
			wall(r.Gap.From), wall(r.Gap.To), r.Gap.Polls, r.Gap.Readings, r.Gap.Others, orNone(r.Gap.Why)))
	}
	return nil
}

func wall(ms int64) string { return time.UnixMilli(ms).UTC().Format(wallFormat) }

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (c *collector) process(r *history.Record) {
	if r.Info == nil || r.Info.Instance == "" {
		return
	}
	n := len(c.processes)
	if n == 0 || c.processes[n-1].Instance != r.Info.Instance {
		c.processes = append(c.processes, &process{Info: *r.Info, From: wall(r.At.Wall), SyncedFirst: r.At.Synced})
		n++
	}
	p := c.processes[n-1]
	p.To, p.SyncedLast = wall(r.At.Wall), r.At.Synced
}

// json writes the record's JSON with its times in front.
func (c *collector) json(f *bundleFile, r *history.Record) error {
	return f.line(struct {
		Wall  string          `json:"wall"`
		Mono  sensors.Mono    `json:"mono_ns"`
		Since float64         `json:"since_start_s"`
		Mark  string          `json:"mark"`
		What  json.RawMessage `json:"state"`
	}{wall(r.At.Wall), r.At.Mono, c.ep.Since(r.At).Round(time.Millisecond).Seconds(), r.Mark.String(), r.JSON})
}

// poll writes one line a reading.
func (c *collector) poll(r *history.Record) error {
	b := c.buf[:0]
	at := wall(r.Poll.Wall.UnixMilli())
	device := nameOf(r.Devices, int(r.Poll.Device))
	for i := range r.Poll.Readings {
		rd := &r.Poll.Readings[i]
		point, unit := "unknown-"+strconv.Itoa(int(rd.Point)), ""
		if int64(rd.Point) < int64(len(r.Points)) {
			point, unit = r.Points[rd.Point].Name, string(r.Points[rd.Point].Unit)
		}
		b = append(b, at...)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(rd.At), 10)
		b = appendField(b, device)
		b = appendField(b, point)
		b = append(b, ',')
		if shown(rd) {
			b = strconv.AppendFloat(b, rd.Value, 'g', -1, 64)
		}
		b = appendField(b, unit)
		b = appendField(b, rd.Quality.Status().String())
		b = appendField(b, rd.Quality.Reason().String())
		b = append(appendField(b, rd.Quality.Origin().String()), '\n')
	}
	c.polls++
	c.readings += len(r.Poll.Readings)
	c.buf = b
	_, err := c.csv.Write(b)
	return wrote(err)
}

// shown tells whether a value means anything: one that was never read is no zero.
func shown(r *sensors.Reading) bool {
	if math.IsNaN(r.Value) {
		return false
	}
	if r.Quality.Usable() {
		return true
	}
	switch r.Quality.Reason() {
	case sensors.NoReason, sensors.Comm, sensors.NotReady, sensors.Identity:
		return false
	}
	return true
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown-" + strconv.Itoa(i)
}

func appendField(b []byte, s string) []byte {
	b = append(b, ',')
	if strings.ContainsAny(s, ",\"\r\n") {
		return append(append(append(b, '"'), strings.ReplaceAll(s, `"`, `""`)...), '"')
	}
	return append(b, s...)
}

// hook keeps what a target of this episode said.
func (c *collector) hook(r *history.Record) {
	if r.Event.Type != plugins.EventHookEnded {
		return
	}
	key, err := plugins.ParseKey(r.Event.Key)
	if err != nil || key.Plan != c.ep.Plan || key.Episode != c.ep.Number {
		return
	}
	i := slices.IndexFunc(c.hooks, func(h *hookText) bool { return h.key == key })
	if i < 0 {
		i = len(c.hooks)
		c.hooks = append(c.hooks, &hookText{key: key})
	}
	var h plugins.HookEnded
	t := bytes.NewBuffer(c.hooks[i].text)
	if err := json.Unmarshal(r.Event.Data, &h); err != nil {
		fmt.Fprintf(t, "%s: the end of the call does not read back: %v\n", wall(r.At.Wall), err)
	} else {
		fmt.Fprintf(t, "key        %s\nended      %s, %s after the episode's start\nresult     %s\nexit code  %d\ntook       %v\njournaled  %v\nattached   %v\ndetail     %s\n",
			r.Event.Key, wall(r.At.Wall), c.ep.Since(r.At).Round(time.Millisecond), h.Result, h.ExitCode, time.Duration(h.ElapsedMs)*time.Millisecond, h.Journaled, h.Attached, r.Event.Detail)
		if h.Target != "" {
			fmt.Fprintf(t, "target     %s\n", h.Target)
		}
		fmt.Fprintf(t, "--- what it said, %d bytes\n%s\n", len(h.Output), h.Output)
		if h.Cut > 0 {
			fmt.Fprintf(t, "--- %d bytes more were not kept\n", h.Cut)
		}
		t.WriteByte('\n')
	}
	c.hooks[i].text = t.Bytes()
}

// missing says what the window itself shows to be missing.
func (c *collector) missing(ep *history.Episode, before time.Duration) []string {
	out := c.gaps
	switch {
	case c.first == (history.Instant{}):
		out = append(out, "The history holds nothing of this time.")
	default:
		if lead := -ep.Since(c.first); lead < before-time.Minute {
			out = append(out, fmt.Sprintf("The records begin %v before the episode's start, not %v: the agent was not running before, or the history had no room for more.",
				max(lead, 0).Round(time.Second), before))
		}
	}
	if ep.Late {
		out = append(out, "The beginning of the episode is not in the history: its start is what later states of the plan say, to the second.")
	}
	if ep.Open {
		out = append(out, "The end of the episode is not in the history: it was open when the last record was written.")
	}
	if ep.Unseen {
		out = append(out, "The history does not hold the episode itself: its start and end are those of the journal.")
	}
	return out
}
