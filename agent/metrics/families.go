package metrics

// Families is all that an agent tells; docs/metrics.md lists the same. A name that was once told keeps its
// meaning: dashboards and alerts are built on it.
var Families = [...]Family{
	{"firebreak_build_info", "gauge", []string{"version", "agent", "config"}, "Always 1: what runs, and under which configuration."},
	{"firebreak_start_time_seconds", "gauge", nil, "Unix time at which this configuration began to run."},
	{"firebreak_epoch", "gauge", nil, "Epoch of all messages; grows with each start."},
	{"firebreak_loop_events_total", "counter", nil, "Events that the safety loop has taken."},
	{"firebreak_updates_dropped_total", "counter", []string{"publisher"}, "Updates that one publisher was too slow for."},

	{"firebreak_readings_total", "counter", []string{"device", "quality"}, "Readings taken, by quality: good, uncertain, bad."},
	{"firebreak_points", "gauge", []string{"quality"}, "Points by their present quality; unheard: nothing was read yet."},
	{"firebreak_sample_age_seconds", "gauge", []string{"device"}, "Age of the newest usable reading; since the start while there is none."},
	{"firebreak_device_answers", "gauge", []string{"bus", "device"}, "1: the device answers; 0: it does not."},
	{"firebreak_device_polls_total", "counter", []string{"bus", "device"}, "Polls begun."},
	{"firebreak_device_poll_failures_total", "counter", []string{"bus", "device"}, "Polls that failed."},
	{"firebreak_device_missed_slots_total", "counter", []string{"bus", "device"}, "Polls skipped because the bus was busy."},

	{"firebreak_bus_utilisation_ratio", "gauge", []string{"bus"}, "Part of the last 10 s that was spent in polls."},
	{"firebreak_bus_overruns", "gauge", []string{"bus"}, "Slots missed in the last 10 s."},
	{"firebreak_bus_missed_slots_total", "counter", []string{"bus"}, "Slots skipped because the bus was busy."},
	{"firebreak_bus_polls_total", "counter", []string{"bus"}, "Polls begun."},
	{"firebreak_bus_poll_failures_total", "counter", []string{"bus"}, "Polls that failed, or went beyond their deadline."},
	{"firebreak_bus_stuck", "gauge", []string{"bus"}, "1: one device holds the bus."},

	{"firebreak_journal_sync_seconds", "histogram", nil, "Time of one write to the journal, fsync included."},
	{"firebreak_journal_queue", "gauge", nil, "Records that are not durable yet."},
	{"firebreak_journal_waiting_seconds", "gauge", nil, "Age of the oldest record that is not durable."},
	{"firebreak_journal_failures_total", "counter", nil, "Attempts to write that failed."},
	{"firebreak_journal_refused_total", "counter", nil, "Records that the journal did not take."},
	{"firebreak_journal_ok", "gauge", nil, "0: there is no journal, or its last write failed."},

	{"firebreak_hook_seconds", "histogram", []string{"hook"}, "Time of one call of a hook; drills are not counted."},
	{"firebreak_hook_calls_total", "counter", []string{"hook", "result"}, "Calls that have ended; drills are not counted."},

	{"firebreak_alarms", "gauge", []string{"state", "priority"}, "Alarms that are not at rest, by ISA-18.2 state."},
	{"firebreak_alarms_active", "gauge", nil, "Alarms whose condition is true or held."},
	{"firebreak_alarms_raised_total", "counter", []string{"priority"}, "Alarms raised."},
	{"firebreak_alarms_raised_10m", "gauge", nil, "Alarms raised in the last 10 minutes; more than 10 are a flood."},
	{"firebreak_alarm_flood", "gauge", nil, "1: the alarm alarms/flood is active."},

	{"firebreak_plan_stage", "gauge", []string{"plan", "stage"}, "1 for the present stage of the plan."},
	{"firebreak_plan_armed", "gauge", []string{"plan"}, "1: armed; 0: observes."},
	{"firebreak_plan_latched", "gauge", []string{"plan"}, "1: a person has to reset it."},

	{"firebreak_broker_connected", "gauge", []string{"broker"}, "1: the session for alarms is up."},
	{"firebreak_broker_telemetry_connected", "gauge", []string{"broker"}, "1: the session for readings is up."},
	{"firebreak_broker_granted", "gauge", []string{"broker"}, "1: the broker passes on what this agent writes, in each class."},
	{"firebreak_broker_sessions_total", "counter", []string{"broker"}, "Attempts to connect."},
	{"firebreak_broker_published_total", "counter", []string{"broker"}, "Messages handed to a connection, repeats included."},
	{"firebreak_broker_acked_total", "counter", []string{"broker"}, "Messages that the broker has acknowledged."},
	{"firebreak_broker_queue", "gauge", []string{"broker"}, "Messages that wait for the broker."},
	{"firebreak_broker_dropped_total", "counter", []string{"broker", "class"}, "Messages that the broker will never have, by class."},
	{"firebreak_untold_total", "counter", nil, "Updates that could not be made into a message."},
	{"firebreak_tampered_total", "counter", nil, "Words of others on topics that are this agent's."},
	{"firebreak_commands_total", "counter", nil, "Commands that were taken over the network."},
	{"firebreak_inbound_dropped_total", "counter", []string{"reason"}, "Commands and receipts that were not taken."},

	{"firebreak_history_queue", "gauge", nil, "Polls that wait for the history's disk."},
	{"firebreak_history_readings_total", "counter", nil, "Readings in the history of this start."},
	{"firebreak_history_failures_total", "counter", nil, "Attempts to write the history that failed."},
	{"firebreak_history_bytes", "gauge", nil, "Size of the history on the disk."},

	{"firebreak_scrapes_refused_total", "counter", nil, "Connections to this page beyond those that are served at once."},
	{"process_resident_memory_bytes", "gauge", nil, "Memory of the process, resident."},
	{"process_cpu_seconds_total", "counter", nil, "User and system time of the process."},
	{"process_open_fds", "gauge", nil, "Open file descriptors."},
	{"go_goroutines", "gauge", nil, "Goroutines."},
	{"go_heap_bytes", "gauge", nil, "Live and not yet swept objects on the heap."},
}
