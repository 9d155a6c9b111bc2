package core

import (
	"fmt"

	"firebreak/plugins"
)

// Channel is the way on which an order came. The zero value has the fewest rights: an order of which
// nobody has said how it came is no order at the box.
type Channel uint8

const (
	Remote   Channel = iota // over the network, verified
	AtTheBox                // the local socket: whoever reaches it stands at the box (S17)
)

func (c Channel) String() string {
	if c == AtTheBox {
		return "at the box"
	}
	return "remote"
}

// Rule is one row of the table of rights.
type Rule uint8

const (
	Anyone  Rule = iota // with a name
	TwoKeys             // two persons, or one at the box
	BoxOnly             // at the box, however many sign
)

// row is what an order needs: at rest, and when a stage above 0 of its plan is open (of any plan,
// where it is about none).
type row struct {
	rest, open Rule
}

// rights is S17, whole: an order that does not stand here is refused. Tested row by row.
var rights = map[OrderKind]row{
	AckAlarm:        {Anyone, Anyone},
	ResetAlarm:      {TwoKeys, TwoKeys},
	ShelveAlarm:     {Anyone, Anyone},
	UnshelveAlarm:   {Anyone, Anyone},
	HoldPlan:        {Anyone, Anyone},
	ReleasePlan:     {Anyone, Anyone},
	DrillPlan:       {Anyone, Anyone},
	EndDrill:        {Anyone, Anyone},
	TripPlan:        {Anyone, Anyone}, // to stage 2; to 3 and 4: tripRow
	ArmPlan:         {TwoKeys, TwoKeys},
	DisarmPlan:      {TwoKeys, BoxOnly},
	BypassInput:     {TwoKeys, BoxOnly},
	EndBypass:       {TwoKeys, TwoKeys},
	LearnBaseline:   {TwoKeys, BoxOnly}, // it may make a detector see less, as a bypass does
	TakeOutOfServe:  {TwoKeys, TwoKeys},
	ReturnToService: {TwoKeys, TwoKeys},
	ResetPlan:       {TwoKeys, TwoKeys},
	UndoPlan:        {TwoKeys, TwoKeys},
	SettleEntry:     {TwoKeys, TwoKeys},
	ProvePoint:      {TwoKeys, TwoKeys},
	ConsumerAnswers: {TwoKeys, TwoKeys},
	EnergiseHook:    {BoxOnly, BoxOnly},
	ReloadConfig:    {TwoKeys, BoxOnly},
	RestartAgent:    {TwoKeys, BoxOnly},
}

var tripRow = row{TwoKeys, TwoKeys}

// Denied is an order that its giver may not give: an alarm of its own (timeline 29).
type Denied struct{ text string }

func (d *Denied) Error() string { return "refused: " + d.text }

// allow holds an order against the table. stage is the highest open stage that it touches.
func allow(o Order, stage plugins.Stage) error {
	r, ok := rights[o.Kind]
	if !ok {
		return fmt.Errorf("unknown order %q", o.Kind)
	}
	if o.By == "" {
		return fmt.Errorf("an order needs the name of the person who gives it: --by NAME")
	}
	if o.Kind == TripPlan && o.Stage.Irreversible() {
		r = tripRow
	}
	need, when := r.rest, ""
	if stage > plugins.Watch {
		need, when = r.open, fmt.Sprintf(" while stage %s is open", stage)
	}
	switch {
	case o.Channel == AtTheBox, need == Anyone:
		return nil
	case need == BoxOnly:
		return &Denied{fmt.Sprintf("%s%s is done at the box only", o.Kind, when)}
	case o.Second == "" || o.Second == o.By:
		return &Denied{fmt.Sprintf("%s needs two persons, or one at the box", o.Kind)}
	}
	return nil
}
