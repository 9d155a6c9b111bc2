package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"firebreak/agent/hazard"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors"
)

// order carries out a person's order, or says why not. An order that its giver may not give is an
// alarm: somebody tries (timeline 29).
func (c *Core) order(now sensors.Mono, o Order, fx *[]Effect) error {
	err := allow(o, c.touched(o))
	if err == nil {
		err = c.carryOut(now, o, fx)
	}
	var denied *Denied
	switch {
	case errors.As(err, &denied):
		*fx = c.setAlarm(now, *fx, hazard.AlarmInput{Name: "orders/refused", Active: true, Priority: 1, Latching: true,
			Cause: fmt.Sprintf("an order was refused to %q (%s): %s %s", o.By, o.Channel, o.Kind, o.Name)})
		*fx = c.setAlarm(now, *fx, hazard.AlarmInput{Name: "orders/refused"}) // it happened once; the alarm stays latched
		fallthrough
	case err != nil:
		c.told("order.refused", o, err.Error())
	case o.Kind != HoldPlan: // a lease renews by the second, and tells itself when it begins
		c.told("order.done", o, "")
	}
	return err
}

// told leaves the name of who ordered what, in the journal of those who listen and of the events.
func (c *Core) told(kind string, o Order, why string) {
	text := fmt.Sprintf("%s %s by %s, %s", o.Kind, o.Name, o.who(), o.Channel)
	if o.Reason != "" {
		text += ", because: " + o.Reason
	}
	if why != "" {
		text += ": " + why
	}
	e := plugins.Event{Type: kind, Detail: text}
	if c.resp.Has(o.Name) {
		e.Plan = o.Name
	}
	c.out.Events = append(c.out.Events, e)
}

// who names all that have given an order.
func (o *Order) who() string {
	if o.Second == "" {
		return o.By
	}
	return o.By + " and " + o.Second
}

// touched is the highest open stage that an order touches: of its plan, or of all where it is about
// none.
func (c *Core) touched(o Order) plugins.Stage {
	plan, _, _ := strings.Cut(o.Name, "/")
	switch o.Kind {
	case ArmPlan, DisarmPlan, ResetPlan, UndoPlan, HoldPlan, ReleasePlan, TripPlan, SettleEntry, DrillPlan:
		if c.resp.Has(plan) {
			return c.resp.Stage(plan)
		}
	}
	return c.resp.Highest()
}

func (c *Core) carryOut(now sensors.Mono, o Order, fx *[]Effect) error {
	o.By = o.who() // both stand in the journal
	switch o.Kind {
	case ResetPlan:
		return c.resp.Reset(now, o.Name, o.By, c.eng, &c.out)
	case HoldPlan:
		return c.resp.Hold(now, o.Name, o.By, &c.out)
	case ReleasePlan:
		return c.resp.Release(now, o.Name, o.By, &c.out)
	case TripPlan:
		return c.resp.Trip(now, o.Name, o.Stage, o.By, o.Channel == AtTheBox, &c.out)
	case ArmPlan:
		if err := c.mayArm(o.Name); err != nil {
			return err
		}
		return c.resp.SetMode(now, o.Name, response.Armed, o.By, "", c.gate.unix(), &c.out)
	case DisarmPlan:
		return c.resp.SetMode(now, o.Name, response.Observe, o.By, o.Reason, c.gate.unix(), &c.out)
	case UndoPlan:
		return c.resp.Undo(now, o.Name, o.By, &c.out)
	case SettleEntry:
		plan, step, _ := strings.Cut(o.Name, "/")
		return c.resp.Settle(now, plan, step, o.By, o.Reason, &c.out)
	case EnergiseHook:
		return c.resp.Energise(now, o.Name, o.By, o.Confirm, &c.out)
	case AckAlarm, ResetAlarm, ShelveAlarm, UnshelveAlarm:
		return c.alarmOrder(now, o, fx)
	case TakeOutOfServe, ReturnToService:
		return c.serviceOrder(now, o, fx)
	case ProvePoint:
		return c.prove(now, o, fx)
	case ConsumerAnswers:
		return c.answered(now, o, fx)
	case BypassInput, EndBypass:
		return c.bypassOrder(now, o)
	case LearnBaseline:
		return c.learnOrder(now, o)
	case DrillPlan, EndDrill, ReloadConfig, RestartAgent:
		return nil // the shell does it; the core has been asked whether it may
	}
	return fmt.Errorf("unknown order %q", o.Kind)
}

func (c *Core) alarmOrder(now sensors.Mono, o Order, fx *[]Effect) error {
	if o.Kind == ResetAlarm && c.eng.Latched(o.Name) { // gas over range (S3): the alarm follows the condition
		return c.eng.Unlatch(now, o.Name)
	}
	var a hazard.Alarm
	var changed bool
	switch o.Kind {
	case AckAlarm:
		a, changed = c.book.Do(now, o.Name, hazard.Ack, o.By)
	case ResetAlarm:
		a, changed = c.book.Do(now, o.Name, hazard.ResetLatch, o.By)
	case ShelveAlarm:
		if longest := c.maxShelve(); o.For <= 0 || o.For > longest {
			return fmt.Errorf("a shelf lasts up to %v: say how long, with --for", longest)
		}
		c.know(o.Name)
		a, changed = c.book.Shelve(now, o.Name, now.Add(o.For), o.Once, o.By)
	case UnshelveAlarm:
		a, changed = c.book.Do(now, o.Name, hazard.Unshelve, o.By)
	case TakeOutOfServe:
		c.know(o.Name)
		a, changed = c.book.Do(now, o.Name, hazard.Retire, o.By)
	case ReturnToService:
		a, changed = c.book.Do(now, o.Name, hazard.Return, o.By)
	}
	if a.Name == "" {
		return c.noAlarm(o)
	}
	if !changed {
		return fmt.Errorf("alarm %q is %s: %s does not apply", o.Name, a.State, o.Kind)
	}
	*fx = c.tellAlarm(now, *fx, a)
	c.bookWake = now
	return nil
}

// know enters the alarm of a condition that was never raised: what comes during the work on it is to
// find it shelved or out of service.
func (c *Core) know(name string) {
	c.hasCond(name, func(r *hazard.Cond) bool {
		if r.Priority > 0 {
			c.book.Know(hazard.AlarmInput{Name: name, Priority: r.Priority, Latching: r.Latching, ReAlarm: r.ReAlarm, Group: c.groupOf(name)})
		}
		return false
	})
}

// serviceOrder takes a point out of every vote, or an alarm out of service (ISA-18.2), which moves no
// vote.
func (c *Core) serviceOrder(now sensors.Mono, o Order, fx *[]Effect) error {
	i := c.point(o.Name)
	if i < 0 {
		if err := c.alarmOrder(now, o, fx); err != nil {
			return fmt.Errorf("%w; as an alarm: %w", c.noPoint(o.Name), err)
		}
		return nil
	}
	c.eng.SetOutOfService(now, sensors.PointID(i), o.Kind == TakeOutOfServe)
	c.out.Events = append(c.out.Events, plugins.Event{Type: "point." + string(o.Kind), Detail: o.Name + " by " + o.By})
	return nil
}

func (c *Core) point(name string) int {
	return slices.IndexFunc(c.r.Hazard.Points, func(p sensors.Point) bool { return p.Name == name })
}
