// Package commission walks a person through the points on which a plan rests: it sees that exactly the one
// that was made to move does, in the right sense, has the proof recorded (S23), and writes the acceptance sheet. It asks
// the running agent, so what is proven is the whole way: sensor, line, profile, configuration.
//
// Concurrency: a Walk runs in the goroutine of its caller and starts none; it ends with its context. Failure: a
// point that cannot be proven costs itself alone, with the reason on the sheet; an agent that falls silent ends the walk. While
// a plan is armed nothing begins: a test would start its response.
package commission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
	"time"

	"firebreak/agent/app"
)

// Walk is one round through the points.
type Walk struct {
	Ask      func(app.Request) (app.Answer, error) // the running agent
	Lines    <-chan string                         // what the person types; closed: nobody is there any more
	Out      io.Writer
	By       string
	Only     []string      // points by pattern; none: all that vote
	Rest     time.Duration // how long each point is seen at rest first
	Patience time.Duration // how long a point is waited for
	After    time.Duration // how long the others are watched once it has moved

	rest map[string]*rest
}

// Result is what came of one point.
type Result struct {
	Point, Unit, Physics string
	Serial               string // of the unit that was proven, where it tells one: another one is no longer proven
	Before, After        float64
	Took                 time.Duration // from the word of the person to the reading
	At                   time.Time
	Proven               bool
	Why                  string // if it is not
}

const lookEvery = 200 * time.Millisecond

var errQuit = errors.New("stopped by the person")

// Run walks. The results so far come with an error too.
func (w *Walk) Run(ctx context.Context) (out []Result, err error) {
	if err := w.idle(); err != nil {
		return nil, err
	}
	points, err := w.points()
	if err != nil {
		return nil, err
	}
	var todo []app.PointState
	for _, p := range points {
		if w.wanted(&p) {
			todo = append(todo, p)
		}
	}
	slices.SortFunc(todo, func(a, b app.PointState) int { return strings.Compare(a.Name, b.Name) })
	if len(todo) == 0 {
		return nil, errors.New("no such point votes: firebreak watch shows them, and which vote")
	}
	fmt.Fprintf(w.Out, "%d points to prove. For each: it is seen at rest for %v, you make it move, and it has %v. Enter: ready; s: leave it out; q: stop\n", len(todo), w.Rest, w.Patience)
	for i := range todo {
		fmt.Fprintf(w.Out, "\n%d of %d: %s (%s)\n  %s\n", i+1, len(todo), todo[i].Name, strings.TrimSpace(todo[i].Physics+" "+todo[i].Unit), how(&todo[i]))
		if s := todo[i].Serial; s != "" {
			fmt.Fprintf(w.Out, "  the unit says its serial number is %s: is it the one that stands here?\n", s)
		}
		r, err := w.one(ctx, &todo[i])
		out = append(out, r)
		if r.Proven {
			fmt.Fprintf(w.Out, "  PROVEN: %s\n", r.moved())
		} else {
			fmt.Fprintf(w.Out, "  NOT PROVEN: %s\n", r.Why)
		}
		if err != nil {
			for k := i + 1; k < len(todo); k++ {
				out = append(out, Result{Point: todo[k].Name, Unit: todo[k].Unit, Physics: todo[k].Physics, Why: "not looked at"})
			}
			return out, err
		}
	}
	return out, nil
}

func (w *Walk) wanted(p *app.PointState) bool {
	if len(w.Only) == 0 {
		return p.Votes
	}
	return slices.ContainsFunc(w.Only, func(o string) bool { ok, _ := path.Match(o, p.Name); return ok })
}

// idle refuses while a test would be taken for the hazard.
func (w *Walk) idle() error {
	a, err := w.Ask(app.Request{Order: "status"})
	if err != nil {
		return err
	}
	if a.Status.Unsynced {
		fmt.Fprintln(w.Out, "THE CLOCK IS NOT SYNCHRONISED: no proof can be recorded, and you would do all of this again. Stop here (q) and see to its time service (chrony, timesyncd)")
	}
	for _, p := range a.Status.Plans {
		if p.Mode == "armed" {
			return fmt.Errorf("plan %s is armed: a test would start its response. Disarm it (firebreak disarm %s --reason commissioning --by NAME), and arm it again afterwards", p.Plan, p.Plan)
		}
	}
	return nil
}

func (w *Walk) points() ([]app.PointState, error) {
	a, err := w.Ask(app.Request{Order: "points"})
	return a.Points, err
}

// how says how a point of a kind is made to move.
func how(p *app.PointState) string {
	switch p.Physics {
	case "temperature":
		return "warm the sensor itself: a hair dryer, a warm pack, never a flame"
	case "smoke":
		return "test smoke at this detector, or at the farthest hole of its pipe"
	case "gas":
		return "test gas at this sensor, of the kind and concentration that its maker names"
	case "leak":
		return "wet the cable or the probe with a damp cloth"
	case "humidity":
		return "breathe on the sensor, or hold a damp cloth near it"
	case "air-flow":
		return "block the inlet, or open the pipe"
	}
	if p.Kind == "binary" {
		return "make the contact itself change: its test key, or lift its wire at the device"
	}
	return "make the measured thing change, at the device and not in software"
}

// one proves one point.
func (w *Walk) one(ctx context.Context, p *app.PointState) (r Result, err error) {
	r = Result{Point: p.Name, Unit: p.Unit, Physics: p.Physics, Serial: p.Serial}
	fmt.Fprint(w.Out, "  ready? ")
	switch line, err := w.line(ctx); {
	case err != nil:
		r.Why = "not looked at"
		return r, err
	case line == "s":
		r.Why = "left out by the person"
		return r, nil
	}
	if err := w.atRest(ctx, p.Name); err != nil {
		r.Why = err.Error()
		return r, err
	}
	before := w.rest[p.Name]
	switch {
	case before == nil || before.bad != "":
		r.Why = "it cannot be read at rest"
		if before != nil {
			r.Why += ": " + before.bad
		}
		return r, nil
	case p.Kind == "binary" && p.Hazard != 0 && (before.hi == 1) == (p.Hazard > 0):
		r.Why = "it says danger at rest: look at its wiring, and whether it is normally closed"
		return r, nil
	}
	if err := w.idle(); err != nil { // a walk takes hours, and others work here too
		r.Why = err.Error()
		return r, err
	}
	r.Before = before.last
	fmt.Fprintf(w.Out, "  at rest: %g %s. Make it move NOW\n", r.Before, p.Unit)
	began := time.Now()
	if err := w.watch(ctx, p, &r, began); err != nil || r.Why != "" {
		return r, err
	}
	note := r.moved()
	if _, err := w.Ask(app.Request{Order: "prove", Name: p.Name, By: w.By, Reason: "commission: " + note}); err != nil {
		r.Why = fmt.Sprintf("it moved (%s), and the agent does not record it: %v", note, err)
		return r, nil
	}
	r.Proven = true
	return r, nil
}

func (r *Result) moved() string {
	return fmt.Sprintf("from %.6g to %s in %v", r.Before, strings.TrimSpace(fmt.Sprintf("%.6g %s", r.After, r.Unit)), r.Took.Round(100*time.Millisecond))
}

// line waits for what the person types.
func (w *Walk) line(ctx context.Context) (string, error) {
	select {
	case s, ok := <-w.Lines:
		if s = strings.TrimSpace(s); !ok || s == "q" {
			return "", errQuit
		}
		return s, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// rest is how a point was seen while nobody touched it.
type rest struct {
	lo, hi, last float64
	bad          string // its quality, when it could not be used
}

// atRest looks at all points for a while.
func (w *Walk) atRest(ctx context.Context, name string) error {
	// An agent that has just started has read nothing yet, which is no fault of the point.
	if err := w.look(ctx, w.Patience, func(points []app.PointState) bool {
		return !slices.ContainsFunc(points, func(p app.PointState) bool { return p.Name == name && p.Quality == app.NoneYet })
	}); err != nil {
		return err
	}
	fmt.Fprintf(w.Out, "  leave it alone for %v\n", w.Rest)
	w.rest = map[string]*rest{}
	return w.look(ctx, w.Rest, func(points []app.PointState) bool {
		for i := range points {
			p := &points[i]
			r := w.rest[p.Name]
			if r == nil {
				r = &rest{lo: math.Inf(1), hi: math.Inf(-1)}
				w.rest[p.Name] = r
			}
			if !p.Usable || p.Stale {
				r.bad = p.Quality
				continue
			}
			r.lo, r.hi, r.last = min(r.lo, p.Value), max(r.hi, p.Value), p.Value
		}
		return false
	})
}

// look asks the agent again and again until f is content or the time is over.
func (w *Walk) look(ctx context.Context, d time.Duration, f func([]app.PointState) bool) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for end := time.Now().Add(d); ; {
		points, err := w.points()
		if err != nil {
			return err
		}
		if f(points) || !time.Now().Before(end) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
