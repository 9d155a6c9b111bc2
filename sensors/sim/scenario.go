package sim

import (
	"fmt"
	"strings"
	"time"

	"firebreak/sensors/sim/room"
)

// Scenario is what will happen, as data. Durations named "after" count from T+0, the spark.
type Scenario struct {
	Name  string
	Title string
	Seed  uint64 // of the instruments' noise

	QuietFor time.Duration // from the start until anything happens
	NoSpark  bool          // nothing ever happens

	// Precursor: a soft internal short heats the cell for SoftFor before the spark, so that it
	// vents early. Nothing of the kind is on record for Pangyo.
	Precursor bool
	SoftFor   time.Duration
	SoftW     float64

	ShortJ         float64 // heat of the internal short at T+0
	ShortOver      time.Duration
	DischargeAfter time.Duration // gas extinguishing; 0: none
	MainsLossAfter time.Duration // 0: the mains stay
	PowerLossAfter time.Duration // the UPS output is lost. Given, not modelled; 0: never

	ThermistorBurn float64 // C at which a cell's thermistor is lost; 0: never
	BreakerWelded  bool    // the battery breaker says open and is not
}

// SparkAt is T+0, counted from the start of the world.
func (s *Scenario) SparkAt() time.Duration {
	if s.Precursor {
		return s.QuietFor + s.SoftFor
	}
	return s.QuietFor
}

// Scenarios lists the built-in ones.
func Scenarios() []Scenario {
	pangyo := Scenario{
		Name:     "pangyo-2022",
		Title:    "SK C&C Pangyo, 15 October 2022: no precursor, spark at T+0, smoke and gas discharge at T+60 s, first power lost at T+480 s",
		Seed:     20221015,
		QuietFor: 5 * time.Minute,
		// Half of what the cell stores, in the time that a hard internal short takes. What the
		// battery management system showed after the spark is not on record; here it shows what
		// its sensors would.
		ShortJ: 5e5, ShortOver: 15 * time.Second,
		DischargeAfter: time.Minute,
		PowerLossAfter: 8 * time.Minute,
	}
	precursor := pangyo
	precursor.Name = "hypothetical-precursor"
	precursor.Title = "the same fire with eight minutes of heating before it, and off-gas in the last of them; not on record, to show what earlier signs are worth"
	precursor.Precursor = true
	precursor.SoftFor, precursor.SoftW = 8*time.Minute, 1700
	quiet := Scenario{Name: "quiet", Title: "nothing happens", Seed: 1, NoSpark: true}
	return []Scenario{pangyo, precursor, quiet}
}

// Find returns the built-in scenario of that name.
func Find(name string) (Scenario, error) {
	var names []string
	for _, s := range Scenarios() {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Scenario{}, fmt.Errorf("unknown scenario %q: use one of %s", name, strings.Join(names, ", "))
}

// params is the room in which the scenario happens.
func (s *Scenario) params() room.Params {
	p := room.Default()
	p.Events = room.Events{ThermistorBurn: s.ThermistorBurn}
	if s.NoSpark {
		return p
	}
	spark := s.SparkAt()
	p.Events.SparkAt = max(spark, room.Step) // 0 would mean never
	p.Events.Rack, p.Events.Module, p.Events.Cell = p.BMSRack, 3, 3
	p.Events.ShortJ, p.Events.ShortOver = s.ShortJ, s.ShortOver
	if s.Precursor {
		p.Events.SoftAt, p.Events.SoftW = max(s.QuietFor, room.Step), s.SoftW
	}
	if s.DischargeAfter > 0 {
		p.Events.DischargeAt = spark + s.DischargeAfter
	}
	return p
}
