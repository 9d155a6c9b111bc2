// Package schema is how firebreak's readings, alarms and plans look as metrics of Telegraf. Names, tags and
// types of fields are stable: docs/telegraf.md lists them, and a test holds the two together. What is added
// is added; what is there keeps its name and its type.
//
// Concurrency: a Schema is read-only once it is made, and may be used from any goroutine. Failure: what is
// told and has no place here makes no metric.
package schema

import (
	"strings"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/telegraf/line"
	"firebreak/sensors"
)

// Measurements.
const (
	Reading = "firebreak_reading"
	Alarm   = "firebreak_alarm"
	Plan    = "firebreak_plan"
	Step    = "firebreak_step"
	Event   = "firebreak_event"
)

// Prefix is that of all of them: no input may bring a measurement of such a name.
const Prefix = "firebreak_"

// Schema knows the agent and its points.
type Schema struct {
	site, zone, agent string
	points            []point
}

type point struct {
	device, channel string
	unit, physics   string
	kind            sensors.Kind
}

// New returns the schema of an agent with these devices and points, by ID.
func New(site, zone, agent string, devices []sensors.Device, points []sensors.Point) *Schema {
	s := &Schema{site: site, zone: zone, agent: agent}
	for _, p := range points {
		d := devices[p.Device].Name
		s.points = append(s.points, point{device: d, channel: strings.TrimPrefix(p.Name, d+"."), unit: string(p.Unit), physics: p.Physics.String(), kind: p.Kind})
	}
	return s
}

// Metrics are those of one update.
func (s *Schema) Metrics(u plugins.Update) []line.Metric {
	at := u.Wall.UnixNano()
	switch {
	case u.State != nil:
		return s.readings(u.State, u.Mark, at)
	case u.Alarm != nil:
		return []line.Metric{s.alarm(u.Alarm, u.Mark, at)}
	case u.Plan != nil:
		return s.plan(u.Plan, u.Mark, at)
	case u.Event != nil:
		return []line.Metric{s.event(u.Event, u.Mark, at)}
	}
	return nil
}

func (s *Schema) metric(name string, mark plugins.Mark, at int64, tags ...line.Tag) line.Metric {
	out := line.Metric{Name: name, Time: at, Tags: []line.Tag{{Key: "site", Value: s.site}, {Key: "zone", Value: s.zone}, {Key: "agent", Value: s.agent}, {Key: "mark", Value: mark.String()}}}
	out.Tags = append(out.Tags, tags...)
	return out
}

// readings has one metric for each point, since their qualities differ. A bad reading has no value. Of one
// device all have one time, that of the poll: the newest of its readings was taken then.
func (s *Schema) readings(b *sensors.Batch, mark plugins.Mark, at int64) []line.Metric {
	if !b.Wall.IsZero() {
		at = b.Wall.UnixNano()
	}
	var newest sensors.Mono
	for i := range b.Readings {
		newest = max(newest, b.Readings[i].At)
	}
	out := make([]line.Metric, 0, len(b.Readings))
	for i := range b.Readings {
		r := &b.Readings[i]
		if int(r.Point) >= len(s.points) {
			continue
		}
		p := &s.points[r.Point]
		m := s.metric(Reading, mark, at-int64(newest.Sub(r.At)), line.Tag{Key: "device", Value: p.device}, line.Tag{Key: "point", Value: p.channel},
			line.Tag{Key: "physics", Value: p.physics}, line.Tag{Key: "unit", Value: p.unit}, line.Tag{Key: "origin", Value: r.Quality.Origin().String()})
		if r.Quality.Usable() {
			m.Fields = append(m.Fields, line.Field{Key: "value", Value: r.Value})
		}
		m.Fields = append(m.Fields, line.Field{Key: "quality", Value: r.Quality.Status().String()}, line.Field{Key: "reason", Value: r.Quality.Reason().String()},
			line.Field{Key: "usable", Value: r.Quality.Usable()})
		out = append(out, m)
	}
	return out
}

func (s *Schema) alarm(a *plugins.AlarmState, mark plugins.Mark, at int64) line.Metric {
	m := s.metric(Alarm, mark, at, line.Tag{Key: "alarm", Value: a.Name}, line.Tag{Key: "origin", Value: a.Origin})
	m.Fields = []line.Field{{Key: "active", Value: a.Active}, {Key: "state", Value: a.State}, {Key: "priority", Value: int64(a.Priority)}, {Key: "basis", Value: a.Basis},
		{Key: "occurrence", Value: int64(a.Occurrence)}, {Key: "first_out", Value: a.FirstOut}, {Key: "since_ms", Value: a.SinceMs}, {Key: "cause", Value: a.Cause}}
	if a.Vote != nil {
		m.Fields = append(m.Fields, line.Field{Key: "vote_true", Value: int64(a.Vote.True)}, line.Field{Key: "vote_needed", Value: int64(a.Vote.K)}, line.Field{Key: "vote_members", Value: int64(a.Vote.N)},
			line.Field{Key: "vote_held", Value: int64(a.Vote.Held)}, line.Field{Key: "vote_bad", Value: int64(a.Vote.Bad)}, line.Field{Key: "vote_bypassed", Value: int64(a.Vote.Bypassed)})
	}
	return m
}

// stages are numbers by which a chart can order them.
var stages = map[string]int64{"0": 0, "1": 1, "2a": 2, "2b": 3, "3": 4, "4": 5}

func (s *Schema) plan(p *plugins.PlanState, mark plugins.Mark, at int64) []line.Metric {
	m := s.metric(Plan, mark, at, line.Tag{Key: "plan", Value: p.Plan}, line.Tag{Key: "origin", Value: p.Origin})
	m.Fields = []line.Field{{Key: "stage", Value: p.Stage}, {Key: "level", Value: stages[p.Stage]}, {Key: "mode", Value: p.Mode}, {Key: "episode", Value: int64(p.Episode)},
		{Key: "latched", Value: p.Latched}, {Key: "held", Value: p.HoldS > 0}, {Key: "reversible", Value: p.Reversible}, {Key: "elapsed_s", Value: int64(p.ElapsedS)},
		{Key: "power_loss_s", Value: int64(p.PowerLoss)}, {Key: "outstanding", Value: int64(len(p.Outstanding))}}
	if p.ActByS != nil {
		m.Fields = append(m.Fields, line.Field{Key: "act_by_s", Value: int64(*p.ActByS)})
	}
	out := []line.Metric{m}
	for i := range p.Steps {
		st := &p.Steps[i]
		k := s.metric(Step, mark, at, line.Tag{Key: "plan", Value: p.Plan}, line.Tag{Key: "stage", Value: st.Stage}, line.Tag{Key: "step", Value: st.Step}, line.Tag{Key: "origin", Value: p.Origin})
		k.Fields = []line.Field{{Key: "state", Value: st.State}, {Key: "attempt", Value: int64(st.Attempt)}, {Key: "evidence", Value: st.Evidence}, {Key: "journaled", Value: st.Journaled}, {Key: "detail", Value: st.Detail}}
		out = append(out, k)
	}
	return out
}

func (s *Schema) event(e *plugins.Event, mark plugins.Mark, at int64) line.Metric {
	m := s.metric(Event, mark, at, line.Tag{Key: "type", Value: e.Type}, line.Tag{Key: "plan", Value: e.Plan}, line.Tag{Key: "stage", Value: e.Stage}, line.Tag{Key: "step", Value: e.Step})
	m.Fields = []line.Field{{Key: "key", Value: e.Key}, {Key: "detail", Value: e.Detail}, {Key: "count", Value: int64(1)}}
	return m
}

// Column is a tag or a field of a measurement.
type Column struct {
	Name string
	Type string // tag, float, integer, boolean, string
}

// Table is a measurement with all that a metric of it may have, in order.
type Table struct {
	Name    string
	Columns []Column
}

// Tables are all measurements, as the code makes them.
func Tables() []Table {
	s := New("s", "z", "a", []sensors.Device{{Name: "d"}}, []sensors.Point{{Name: "d.p"}})
	act := 0
	wall := time.Unix(0, 0)
	var out []Table
	for _, u := range []plugins.Update{
		{State: &sensors.Batch{Readings: []sensors.Reading{{Quality: sensors.GoodQuality}}}}, {Alarm: &plugins.AlarmState{Vote: &plugins.Vote{}}},
		{Plan: &plugins.PlanState{ActByS: &act, Steps: []plugins.StepState{{}}}}, {Event: &plugins.Event{}},
	} {
		u.Wall = wall
		for _, m := range s.Metrics(u) {
			t := Table{Name: m.Name}
			for _, k := range m.Tags {
				t.Columns = append(t.Columns, Column{k.Key, "tag"})
			}
			for _, f := range m.Fields {
				t.Columns = append(t.Columns, Column{f.Key, typeOf(f.Value)})
			}
			out = append(out, t)
		}
	}
	return out
}

func typeOf(v any) string {
	switch v.(type) {
	case float64:
		return "float"
	case int64:
		return "integer"
	case bool:
		return "boolean"
	}
	return "string"
}
