package wire

// Severity is one row of the one table of severities: what a priority of an alarm is elsewhere. The
// table of docs/mqtt.md is this one, held by a test.
type Severity struct {
	Priority  int
	Means     string // what is asked of whom
	Event     string // CloudEvents: type
	Level     string // CloudEvents extension severitytext, as OpenTelemetry names it
	Number    int    // its severitynumber
	PagerDuty string // Events v2: severity
	Syslog    int    // RFC 5424
}

var severities = [...]Severity{
	{1, "act now: danger, or protection is lost", "dev.firebreak.alarm.p1", "FATAL", 21, "critical", 2},
	{2, "act within the shift: protection is weaker", "dev.firebreak.alarm.p2", "ERROR", 17, "error", 3},
	{3, "look at it today", "dev.firebreak.alarm.p3", "WARN", 13, "warning", 4},
	{4, "for the record", "dev.firebreak.alarm.p4", "INFO", 9, "info", 6},
}

// SeverityOf is the row of a priority. One that no alarm has is taken for the highest: what is not
// known is not harmless.
func SeverityOf(priority int) Severity {
	if priority < 1 || priority > len(severities) {
		priority = 1
	}
	return severities[priority-1]
}

// Severities is the whole table.
func Severities() []Severity { return append([]Severity(nil), severities[:]...) }
