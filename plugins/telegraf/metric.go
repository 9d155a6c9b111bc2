//go:build telegraf

package main

import (
	"time"

	"firebreak/plugins/telegraf/line"

	"github.com/influxdata/telegraf"
	"github.com/influxdata/telegraf/metric"
)

// toLine is a metric of Telegraf as the pipe knows it.
func toLine(m telegraf.Metric) line.Metric {
	out := line.Metric{Name: m.Name(), Time: m.Time().UnixNano()}
	for _, t := range m.TagList() {
		out.Tags = append(out.Tags, line.Tag{Key: t.Key, Value: t.Value})
	}
	for _, f := range m.FieldList() {
		out.Fields = append(out.Fields, line.Field{Key: f.Key, Value: f.Value})
	}
	return out
}

// fromLine is its inverse.
func fromLine(m line.Metric) telegraf.Metric {
	tags := make(map[string]string, len(m.Tags))
	for _, t := range m.Tags {
		tags[t.Key] = t.Value
	}
	fields := make(map[string]any, len(m.Fields))
	for _, f := range m.Fields {
		fields[f.Key] = f.Value
	}
	return metric.New(m.Name, tags, fields, time.Unix(0, m.Time))
}

// maker turns what a plugin adds into what goes on: it filters, renames and tags. Nil: filtered.
type maker interface {
	LogName() string
	MakeMetric(telegraf.Metric) telegraf.Metric
	Log() telegraf.Logger
}

// accumulator is what a plugin adds metrics to. It may be used from any goroutine.
type accumulator struct {
	maker
	put       func(telegraf.Metric)
	failed    func(error) // nil: errors are logged only
	precision time.Duration
}

var _ telegraf.Accumulator = (*accumulator)(nil)

func (a *accumulator) add(name string, fields map[string]any, tags map[string]string, kind telegraf.ValueType, at []time.Time) {
	t := time.Now()
	if len(at) > 0 {
		t = at[0]
	}
	a.AddMetric(metric.New(name, tags, fields, t, kind))
}

func (a *accumulator) AddFields(name string, fields map[string]any, tags map[string]string, t ...time.Time) {
	a.add(name, fields, tags, telegraf.Untyped, t)
}

func (a *accumulator) AddGauge(name string, fields map[string]any, tags map[string]string, t ...time.Time) {
	a.add(name, fields, tags, telegraf.Gauge, t)
}

func (a *accumulator) AddCounter(name string, fields map[string]any, tags map[string]string, t ...time.Time) {
	a.add(name, fields, tags, telegraf.Counter, t)
}

func (a *accumulator) AddSummary(name string, fields map[string]any, tags map[string]string, t ...time.Time) {
	a.add(name, fields, tags, telegraf.Summary, t)
}

func (a *accumulator) AddHistogram(name string, fields map[string]any, tags map[string]string, t ...time.Time) {
	a.add(name, fields, tags, telegraf.Histogram, t)
}

func (a *accumulator) AddMetric(m telegraf.Metric) {
	if a.precision > 0 {
		m.SetTime(m.Time().Round(a.precision))
	}
	if m = a.MakeMetric(m); m != nil {
		a.put(m)
	}
}

func (a *accumulator) SetPrecision(d time.Duration) { a.precision = d }

func (a *accumulator) AddError(err error) {
	if err == nil {
		return
	}
	a.Log().Error(err)
	if a.failed != nil {
		a.failed(err)
	}
}

func (a *accumulator) WithTracking(most int) telegraf.TrackingAccumulator {
	return &tracking{a, make(chan telegraf.DeliveryInfo, most)}
}

// tracking tells an input, such as one that consumes a queue, when a metric has been delivered.
type tracking struct {
	*accumulator
	delivered chan telegraf.DeliveryInfo
}

func (t *tracking) AddTrackingMetric(m telegraf.Metric) telegraf.TrackingID {
	m, id := metric.WithTracking(m, t.deliver)
	t.AddMetric(m)
	return id
}

func (t *tracking) AddTrackingMetricGroup(group []telegraf.Metric) telegraf.TrackingID {
	ms, id := metric.WithGroupTracking(group, t.deliver)
	for _, m := range ms {
		t.AddMetric(m)
	}
	return id
}

func (t *tracking) Delivered() <-chan telegraf.DeliveryInfo { return t.delivered }

// deliver never blocks: an input that tracks more than it said loses the word, and not the metric.
func (t *tracking) deliver(info telegraf.DeliveryInfo) {
	select {
	case t.delivered <- info:
	default:
		t.Log().Errorf("more metrics are tracked than the %d that were asked for", cap(t.delivered))
	}
}
