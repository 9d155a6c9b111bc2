package core

import (
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
)

// Rules is one compiled configuration, as the core sees it.
type Rules struct {
	Site, Zone, Agent string
	Hash              string // of the configuration: a run is pinned to the one that started it (S8)
	Hazard            *hazard.Rules
	Response          *response.Rules
	Consumers         []string      // named consumers of alarms, one of which must have answered before a plan is armed (S18)
	ProofMax          time.Duration // a proof of a point is good for so long (S23); default 12 months
	MaxShelve         time.Duration // an alarm is shelved for so long at most (S17); default 8 h
	MaxBypass         int           // devices with a bypassed point at once (S19); default 1
	JournalBound      time.Duration // a hook starts at the latest so long after its record was handed over (S9); default 100 ms
}
