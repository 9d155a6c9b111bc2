package config

import (
	"time"

	"firebreak/sensors/bus"
)

// What a key has when the file leaves it out. This is the one list of defaults; a default that
// depends on another key stands in the comment.
const (
	defJournal      = "/var/lib/firebreak"
	defRun          = "/run/firebreak" // a tmpfs: locks and outcomes of hooks
	defControl      = "control.sock"   // in the run directory
	defHistoryMax   = 256 << 20        // bytes
	defHistoryAge   = 7 * 24 * time.Hour
	defJournalBound = 100 * time.Millisecond // S9
	defHeldTrue     = 30 * time.Minute       // S4
	defLossPersist  = 10 * time.Second       // S2

	defTCPPort  = "502"
	defUpsdPort = "3493"
	defSNMPPort = "161"
	defBaud     = 9600
	defParity   = "none"
	defStop     = 1

	defPoll         = time.Second     // where the profile states none
	defStalePolls   = 3               // stale = this many polls,
	defStaleAtLeast = 2 * time.Second // and never less than this

	defOffDelay         = 10 * time.Second
	defDetectorPriority = 3
	defVotePriority     = 2

	defMaxHold   = time.Minute
	defClearTime = 10 * time.Minute // S6
	defResumeMax = 15 * time.Minute // S8

	defDrillEvery = 90 * 24 * time.Hour  // S18
	defProofMax   = 365 * 24 * time.Hour // S23

	defCountdown3 = 30 * time.Second // S15
	defCountdown4 = time.Minute      // S15

	defTimeout = 10 * time.Second
	defCap     = 2 * time.Minute
	defRetries = 3 // with on_failure = "retry"; else 0
	defBackoff = time.Second
	defReview  = 24 * time.Hour // S21

	energiseTimeout = time.Minute // of the call by an engineer's order (S1)
)

// What the worst case assumes where nothing is declared (see worst.go).
const (
	tcpExchange   = 20 * time.Millisecond  // one Modbus TCP transaction on a local network
	snmpExchange  = 150 * time.Millisecond // one request to the slow processor of a management card
	gpioExchange  = time.Millisecond       // all lines of a device by one ioctl
	i2cExchange   = 5 * time.Millisecond   // one transaction with a chip at 100 kHz
	rtuTurnaround = 40 * time.Millisecond  // silence, processing and gap of one RTU transaction
	decisionTime  = 5 * time.Millisecond
	hookStart     = 10 * time.Millisecond
)

// Bounds that keep a slip of the pen from switching protection off.
const (
	minPoll  = bus.MinPeriod
	maxPoll  = time.Hour
	maxDelay = time.Hour
	maxSpan  = 7 * 24 * time.Hour

	defMaxShelve = 8 * time.Hour // S17: a shift
	minReAlarm   = time.Minute
	maxReAlarm   = 7 * 24 * time.Hour

	minLearn    = time.Minute
	maxLearn    = 30 * 24 * time.Hour
	learnPolls  = 60 // polls in a learning window at least: one for each part of it
	minMedian   = 3  // points of a group that has one
	minDropOver = 10 * time.Second
	minPersist  = 3 * time.Second // a confirmed runaway lasts for more (GB 38031)

	minReview     = time.Minute
	maxCalendar   = 5 * 365 * 24 * time.Hour
	minHistory    = 16 << 20
	maxHistory    = 64 << 30
	minHistoryAge = time.Hour
	maxHistoryAge = 10 * 365 * 24 * time.Hour
)
