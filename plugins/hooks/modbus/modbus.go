// Package modbus is the hook that sends a command of a device profile (switch an outlet off, open a
// breaker, transfer to bypass) and reads back that the device is in that state. It knows no register:
// what is written stands in the profile, fixed, under the command's name (S25), and what it touches
// belongs to the one owner of the device's bus.
//
// Concurrency: all methods may be called at once; calls with one key share one command. Failure: Done
// only when the state was read back, or, where the profile has no read back, when the device has
// acknowledged; Failed when the device was not written to or has refused; Unknown when an answer was
// lost or the state does not come. A command is absolute, so that a second one does no more than the
// first: after Unknown the same key is tried again, and looks before it writes.
package modbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/plugins"
	"firebreak/sensors"
	"firebreak/sensors/profile"
)

// Devices is the way to the devices, by name. Its errors are those of sensors.Commander.
type Devices interface {
	Command(ctx context.Context, device, command string) ([]sensors.Reading, error)
	Inspect(ctx context.Context, device, command string) (at []sensors.Reading, done bool, err error)
}

// Target is one command of one device, under the name by which steps call it.
type Target struct {
	Name         string
	Device       string
	Command      string
	Undo         string // command that takes it back; empty: none
	Irreversible bool   // what it does cannot be taken back; a command with an undo can

	// From the profile, by Resolve.
	Direction     profile.Direction
	UndoDirection profile.Direction
	Does          string // in words
}

// Config of one hook.
type Config struct {
	Targets []Target
	Drill   string // "dry-run" or "": skipped in a drill
}

// Validate tells all faults at once. That devices and commands exist, the configuration checks.
func (c Config) Validate() error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	seen := map[string]bool{}
	if len(c.Targets) == 0 {
		bad("no command: give at least one [[hook.command]]")
	}
	for _, t := range c.Targets {
		switch {
		case t.Name == "" || t.Device == "" || t.Command == "":
			bad("a command needs name, device and command")
		case seen[t.Name]:
			bad("there are two commands named %q: a name is given once", t.Name)
		}
		seen[t.Name] = true
	}
	switch c.Drill {
	case "", "dry-run":
	case "native":
		bad(`drill "native": a write to a device is no drill; use "dry-run", which reads the state and says what would be written`)
	default:
		bad(`drill %q: use "dry-run", or leave it out`, c.Drill)
	}
	return errors.Join(faults...)
}

// Resolve looks the commands up in the profiles of their devices. It returns the configuration with
// what they do, and for each target what is wrong with it, or nil.
func (c Config) Resolve(find func(device, command string) (*profile.Command, error)) (resolved any, faults []error) {
	c.Targets = slices.Clone(c.Targets)
	faults = make([]error, len(c.Targets))
	for i := range c.Targets {
		t := &c.Targets[i]
		do, err := find(t.Device, t.Command)
		if err != nil {
			faults[i] = err
			continue
		}
		t.Direction, t.Does = do.Direction, do.Does
		if t.Undo == "" {
			continue
		}
		undo, err := find(t.Device, t.Undo)
		switch {
		case err != nil:
			faults[i] = err
		case undo.Direction == profile.On:
			faults[i] = fmt.Errorf("undo %q of device %q switches power on, and no undo does that: take it out; after the reset an engineer orders it by hand (S1)", t.Undo, t.Device)
		case t.Irreversible:
			faults[i] = fmt.Errorf("%q cannot be taken back and has an undo: say one of the two", t.Name)
		default:
			t.UndoDirection = undo.Direction
		}
	}
	return c, faults
}

// Sends lists every command that this hook can ever send.
func (c Config) Sends() (out []plugins.DeviceCommand) {
	for _, t := range c.Targets {
		out = append(out, plugins.DeviceCommand{Target: t.Name, Device: t.Device, Command: t.Command})
		if t.Undo != "" {
			out = append(out, plugins.DeviceCommand{Target: t.Name, Device: t.Device, Command: t.Undo, Undo: true})
		}
	}
	return out
}

var _ plugins.Declarer = Config{}

// Traits of a target: what switches power on is for the order of an engineer alone (S1).
func (c Config) Traits(target string) (plugins.Traits, error) {
	t, err := c.target(target)
	if err != nil {
		return plugins.Traits{}, err
	}
	return plugins.Traits{Irreversible: t.Irreversible, PowersOn: t.Direction == profile.On, Drill: c.Drill}, nil
}

func (c Config) target(name string) (*Target, error) {
	if name == "" && len(c.Targets) == 1 {
		return &c.Targets[0], nil
	}
	if i := slices.IndexFunc(c.Targets, func(t Target) bool { return t.Name == name }); i >= 0 {
		return &c.Targets[i], nil
	}
	var names []string
	for _, t := range c.Targets {
		names = append(names, t.Name)
	}
	return nil, fmt.Errorf("there is no target %q: use one of %s", name, strings.Join(names, ", "))
}

// Hook sends commands. Make it with New.
type Hook struct {
	name    string
	c       Config
	devices Devices
	flights plugins.Flights
}

var _ plugins.Hook = (*Hook)(nil)

// New makes the hook.
func New(name string, c Config, d Devices) (*Hook, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	return &Hook{name: name, c: c, devices: d}, nil
}

// probesAtOnce is for how many devices a probe waits at the same time: so few that it never fills the queue of
// a bus, in which a command has to find room.
const probesAtOnce = 4

// Probe reads the state that each command changes, through the bus and with the identity of the
// device: a command could be sent now. It writes nothing. A device that hangs uses up its own time alone,
// as long as there are not four.
func (h *Hook) Probe(ctx context.Context) error {
	faults := make([]error, len(h.c.Targets)) // in their order
	devices := map[string][]int{}
	for i := range h.c.Targets {
		devices[h.c.Targets[i].Device] = append(devices[h.c.Targets[i].Device], i)
	}
	var wg sync.WaitGroup
	free := make(chan struct{}, probesAtOnce)
	for _, targets := range devices {
		wg.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			for _, i := range targets {
				t := &h.c.Targets[i]
				if _, _, err := h.devices.Inspect(ctx, t.Device, t.Command); err != nil {
					faults[i] = fmt.Errorf("%s (%s of %s): %w", t.Name, t.Command, t.Device, err)
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("hook %q: %w", h.name, err)
	}
	return nil
}

// Do brings the device into the state of the target's command, or of its undo.
func (h *Hook) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	t, err := h.c.target(c.Target)
	if err != nil {
		return plugins.Outcome{Result: plugins.Failed, Detail: err.Error()}
	}
	command, direction := t.Command, t.Direction
	if c.Key.Undo {
		command, direction = t.Undo, t.UndoDirection
	}
	var o plugins.Outcome
	switch {
	case command == "":
		o = plugins.Outcome{Result: plugins.Failed, Detail: "target " + t.Name + " has no undo: take it back by hand"}
	case direction == profile.On && !c.Key.Energises():
		o = plugins.Outcome{Result: plugins.Failed, Detail: command + " of " + t.Device + " switches power on: only an engineer's order does that (S1)"}
	case c.Mark == plugins.MarkReal:
		o = h.flights.Do(ctx, c.ID(), seen, func(seen func(plugins.Evidence)) plugins.Outcome { return h.send(ctx, t, command, c, seen) })
	case c.Mark == plugins.MarkDry, c.Mark == plugins.MarkDrill && h.c.Drill == "dry-run":
		o = h.would(ctx, t, command)
	default:
		o = plugins.Outcome{Result: plugins.Skipped, Detail: "skipped: no write to a device in a drill (S7); would send " + command + " to " + t.Device}
	}
	o.Elapsed = time.Since(begin)
	return o
}

func (h *Hook) send(ctx context.Context, t *Target, command string, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	at, err := h.devices.Command(ctx, t.Device, command)
	what := command + " of " + t.Device
	switch {
	case err == nil && len(at) == 0:
		return plugins.Outcome{Result: plugins.Done, Detail: what + ": acknowledged; the profile has nothing to read back, so let a measured value be the evidence"}
	case err == nil:
		seen(plugins.Evidence{Key: c.Key, Name: plugins.SeenVerified, Detail: what, OK: true})
		return plugins.Outcome{Result: plugins.Done, Detail: fmt.Sprintf("%s: read back, %g", what, at[0].Value)}
	case errors.Is(err, sensors.ErrUnconfirmed):
		return plugins.Outcome{Result: plugins.Unknown, Detail: fmt.Sprintf("%s: %v", what, err)}
	case errors.Is(err, sensors.ErrNotSent), errors.Is(err, sensors.ErrRefused):
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("%s: %v", what, err)}
	}
	return plugins.Outcome{Result: plugins.Unknown, Detail: fmt.Sprintf("%s: %v", what, err)} // nothing is known of an error of no kind
}

// would reads the present state and says what a real call would write.
func (h *Hook) would(ctx context.Context, t *Target, command string) plugins.Outcome {
	at, done, err := h.devices.Inspect(ctx, t.Device, command)
	text := fmt.Sprintf("would send %s to %s (%s)", command, t.Device, t.Does)
	switch {
	case err != nil:
		text += fmt.Sprintf("; its state cannot be read now: %v", err)
	case done:
		text += "; it is in that state already"
	case len(at) > 0:
		text += fmt.Sprintf("; it reads %g now", at[0].Value)
	}
	return plugins.Outcome{Result: plugins.Skipped, Detail: text}
}
