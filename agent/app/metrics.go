package app

import (
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"syscall"
	"time"

	"firebreak/agent/guard"
	"firebreak/agent/hazard"
	told "firebreak/agent/metrics"
	"firebreak/plugins"
	"firebreak/sensors/bus"
)

func newTally(o *Options, rec *guard.Recovered) *told.Tally {
	names := make([]string, len(o.Config.Hooks))
	for i := range o.Config.Hooks {
		names[i] = o.Config.Hooks[i].Name
	}
	r := o.Config.Rules.Hazard
	return told.NewTally(o.Clock.Now(), r.Devices, len(r.Points), names, rec.Core.Occurrences())
}

// fill writes one page of metrics. All that it reads are copies, made under locks that nobody holds
// across I/O; nothing here asks the loop, which owns the core, for anything.
func (p *parts) fill(m *told.Page) {
	m.Is("firebreak_build_info", true, p.boot.Version, p.o.Config.Agent, p.o.Config.Rules.Hash)
	m.Set("firebreak_start_time_seconds", float64(p.began.UnixMilli())/1000)
	m.Count("firebreak_epoch", p.boot.Epoch)
	g := p.guard.Stats()
	m.Count("firebreak_loop_events_total", g.Steps)
	for i, n := range g.Dropped {
		m.Count("firebreak_updates_dropped_total", n, p.publisherName(i))
	}
	p.tally.Put(m, p.o.Clock.Now(), time.Now())
	for _, b := range p.buses {
		fillBus(m, b)
	}
	p.fillDisk(m)
	fillBoard(m, p.board)
	p.fillUplink(m)
	fillProcess(m)
}

// publisherName is what the metrics call publisher i of the loop; those of hooks and of who runs the app have a number.
func (p *parts) publisherName(i int) string {
	switch p.listeners[i] {
	case p.board:
		return "status"
	case p.newest:
		return "points"
	case p.up:
		return "uplink"
	case p.drills:
		return "drills"
	case p.tally:
		return "metrics"
	case p.hist:
		return "history"
	case p.tele:
		return "telegraf"
	}
	return strconv.Itoa(i)
}

func fillBus(m *told.Page, b *bus.Bus) {
	s := b.Stats()
	m.Set("firebreak_bus_utilisation_ratio", s.Utilisation, s.Bus)
	m.Count("firebreak_bus_overruns", s.Overrun, s.Bus)
	m.Count("firebreak_bus_missed_slots_total", s.Missed, s.Bus)
	m.Count("firebreak_bus_polls_total", s.Polls, s.Bus)
	m.Count("firebreak_bus_poll_failures_total", s.Failures, s.Bus)
	m.Is("firebreak_bus_stuck", s.Stuck, s.Bus)
	for i := range s.Devices {
		d := &s.Devices[i]
		m.Is("firebreak_device_answers", d.State != bus.Failing && d.Good > 0, s.Bus, d.Name)
		m.Count("firebreak_device_polls_total", d.Polls, s.Bus, d.Name)
		m.Count("firebreak_device_poll_failures_total", d.Failures, s.Bus, d.Name)
		m.Count("firebreak_device_missed_slots_total", d.Missed, s.Bus, d.Name)
	}
}

// fillDisk tells of journal and history. Without a journal its other figures are absent, and not zero.
func (p *parts) fillDisk(m *told.Page) {
	if j := p.jr.j; j != nil {
		s := j.Stats()
		m.Took("firebreak_journal_sync_seconds", s.Syncs)
		m.Set("firebreak_journal_queue", float64(s.Queued))
		m.Set("firebreak_journal_waiting_seconds", s.Waiting.Seconds())
		m.Count("firebreak_journal_failures_total", s.Failures)
		m.Count("firebreak_journal_refused_total", s.Refused)
		m.Is("firebreak_journal_ok", s.Err == nil)
	} else {
		m.Is("firebreak_journal_ok", false)
	}
	if p.hist != nil {
		s := p.hist.Stats()
		m.Set("firebreak_history_queue", float64(s.Queued))
		m.Count("firebreak_history_readings_total", s.Readings)
		m.Count("firebreak_history_failures_total", s.Failures)
		m.Set("firebreak_history_bytes", float64(s.Size))
	}
}

func fillBoard(m *told.Page, b *Board) {
	s := b.Status()
	type kind struct {
		state    string
		priority int
	}
	count, active := map[kind]int{}, 0
	for i := range s.Alarms {
		count[kind{s.Alarms[i].State, s.Alarms[i].Priority}]++
		if s.Alarms[i].Active {
			active++
		}
	}
	for a := hazard.Unacknowledged; a <= hazard.OutOfService; a++ { // each, so that none is absent where it is 0
		state := a.String()
		for priority := 1; priority <= 4; priority++ {
			m.Set("firebreak_alarms", float64(count[kind{state, priority}]), state, strconv.Itoa(priority))
		}
	}
	m.Set("firebreak_alarms_active", float64(active))
	for i := range s.Plans {
		k := &s.Plans[i]
		for stage := plugins.Watch; stage <= plugins.Isolate; stage++ {
			m.Is("firebreak_plan_stage", k.Stage == stage.String(), k.Plan, stage.String())
		}
		m.Is("firebreak_plan_armed", k.Mode == "armed", k.Plan)
		m.Is("firebreak_plan_latched", k.Latched, k.Plan)
	}
}

func (p *parts) fillUplink(m *told.Page) {
	s := p.up.Stats()
	for i := range s.Brokers {
		b := &s.Brokers[i]
		m.Is("firebreak_broker_connected", b.Connected, b.Name)
		m.Is("firebreak_broker_telemetry_connected", b.Telemetry, b.Name)
		m.Is("firebreak_broker_granted", b.Granted, b.Name)
		m.Count("firebreak_broker_sessions_total", b.Sessions, b.Name)
		m.Count("firebreak_broker_published_total", b.Published, b.Name)
		m.Count("firebreak_broker_acked_total", b.Acked, b.Name)
		m.Set("firebreak_broker_queue", float64(b.Queued), b.Name)
		m.Count("firebreak_broker_dropped_total", b.Dropped.Alarm, b.Name, "alarm")
		m.Count("firebreak_broker_dropped_total", b.Dropped.Event, b.Name, "event")
		m.Count("firebreak_broker_dropped_total", b.Dropped.State, b.Name, "state")
	}
	m.Count("firebreak_untold_total", s.Untold)
	m.Count("firebreak_tampered_total", s.Tampered)
	m.Count("firebreak_commands_total", s.Commands)
	for reason, n := range s.Dropped {
		m.Count("firebreak_inbound_dropped_total", n, reason)
	}
}

// fillProcess tells what the kernel and the runtime know of this process. What cannot be read is absent.
func fillProcess(m *told.Page) {
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			if pages, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				m.Count("process_resident_memory_bytes", pages*uint64(os.Getpagesize()))
			}
		}
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		m.Set("process_open_fds", float64(len(fds)-1)) // one is that of the reading
	}
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) == nil {
		m.Set("process_cpu_seconds_total", time.Duration(use.Utime.Nano()+use.Stime.Nano()).Seconds())
	}
	from := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(from)
	for i, name := range []string{"go_goroutines", "go_heap_bytes"} {
		if from[i].Value.Kind() == metrics.KindUint64 {
			m.Count(name, from[i].Value.Uint64())
		}
	}
}
