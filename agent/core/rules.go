package core

import (
	"time"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/sensors"
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
	Sampling          []Sampling
}

// Sampling is a device that is polled more often while one of the plans is at stage 1 or above.
type Sampling struct {
	Device sensors.DeviceID
	Period time.Duration
	Plans  []string
}

// DependsOn is all points on which a plan depends: by a vote, evidence or an only_if, and those that
// these are compared with.
func (r *Rules) DependsOn(p *response.Plan) map[sensors.PointID]bool {
	out := map[sensors.PointID]bool{}
	var walk func(id hazard.CondID)
	walk = func(id hazard.CondID) {
		k := &r.Hazard.Conds[id]
		for _, m := range k.Members {
			for _, p := range m.Points {
				out[p] = true
			}
			for _, p := range m.Ref {
				if p != hazard.NoPoint {
					out[p] = true
				}
			}
		}
		for _, of := range k.Of {
			walk(of)
		}
	}
	for _, s := range p.Stages {
		walk(s.When)
	}
	for _, s := range p.Steps {
		if s.Evidence == response.ByCondition {
			walk(s.EvidenceCond)
		}
		if s.OnlyIf != hazard.NoCond {
			walk(s.OnlyIf)
		}
	}
	return out
}
