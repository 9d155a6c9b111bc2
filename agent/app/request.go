package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"firebreak/agent/core"
	"firebreak/agent/drill"
	"firebreak/agent/response"
	"firebreak/agent/uplink"
	"firebreak/plugins"
)

// Request is what a subcommand sends to the running agent.
type Request struct {
	Order   string             `json:"order"` // status, points, drill-report, or one of core.OrderKind
	Name    string             `json:"name,omitempty"`
	By      string             `json:"by,omitempty"`
	Second  string             `json:"second,omitempty"`
	Stage   string             `json:"stage,omitempty"`  // trip, drill
	For     string             `json:"for,omitempty"`    // shelve, bypass: a duration
	Reason  string             `json:"reason,omitempty"` // why, or the compensating measure
	Confirm bool               `json:"confirm,omitempty"`
	Once    bool               `json:"once,omitempty"`   // shelve: only until it clears
	Force   bool               `json:"force,omitempty"`  // reload, restart over a dead-man mode (S20)
	Inject  map[string]float64 `json:"inject,omitempty"` // drill

	channel core.Channel // how it came; nobody can write it
}

// Answer is what it gets.
type Answer struct {
	Error  string        `json:"error,omitempty"`
	Why    []string      `json:"why,omitempty"` // of a refusal: each reason
	Text   string        `json:"text,omitempty"`
	Status *Status       `json:"status,omitempty"`
	Points []PointState  `json:"points,omitempty"`
	Drill  *drill.Report `json:"drill,omitempty"`
}

// order is the request as the core hears it. What cannot be read leaves a field empty, and the core
// says what is missing.
func (r *Request) order() core.Order {
	o := core.Order{Kind: core.OrderKind(r.Order), Name: r.Name, By: r.By, Second: r.Second, Channel: r.channel, Reason: r.Reason, Confirm: r.Confirm, Once: r.Once}
	o.Stage, _ = plugins.ParseStage(r.Stage)
	o.For, _ = time.ParseDuration(r.For)
	return o
}

// looks tells whether a request asks for what stands ready: a console does each second.
func (r *Request) looks() bool { return r.Order == "status" || r.Order == "points" }

func (d *desk) answer(ctx context.Context, r Request) Answer {
	if !r.looks() {
		d.gear.raise()
	}
	switch core.OrderKind(r.Order) {
	case "status":
		s := d.board.Status()
		s.Unsynced = !clockSynced()
		if d.loads != nil {
			s.Buses = d.loads.told()
		}
		if d.telling != nil {
			s.Telling = d.telling()
		}
		return Answer{Status: &s}
	case "points":
		return Answer{Points: d.newest.told()}
	case "drill-report":
		rep, err := d.drills.report()
		return answerOf("", err, rep)
	case core.ReloadConfig:
		text, err := d.reload.ask(ctx, r)
		return answerOf(text, err, nil)
	case core.RestartAgent:
		text, err := d.reload.restart(ctx, r)
		return answerOf(text, err, nil)
	case core.DrillPlan:
		if err := d.order(ctx, r.order()); err != nil {
			return answerOf("", err, nil)
		}
		return answerOf("", d.drills.start(r), nil)
	case core.EndDrill:
		if err := d.order(ctx, r.order()); err != nil {
			return answerOf("", err, nil)
		}
		return answerOf("", d.drills.end(fmt.Sprintf("ended by %s", r.By)), nil)
	}
	return answerOf("", d.order(ctx, r.order()), nil)
}

// remote carries out an order that came over the network, verified: by the same door, and with fewer
// rights (S17).
func (d *desk) remote(ctx context.Context, o uplink.Order) error {
	r := Request{Order: o.CommandMessage.Order, Name: o.Name, By: o.By, Second: o.Second, Stage: o.Stage, For: o.For, Reason: o.Reason}
	if r.Order == "status" || r.Order == "points" || r.Order == "drill-report" {
		return fmt.Errorf("%s is no order", r.Order)
	}
	if a := d.answer(ctx, r); a.Error != "" {
		return errors.New(a.Error)
	}
	return nil
}

func answerOf(text string, err error, rep *drill.Report) Answer {
	if why, ok := err.(*response.Refusal); ok {
		return Answer{Error: err.Error(), Why: why.Reasons}
	}
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{Text: text, Drill: rep}
}
