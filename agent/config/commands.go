package config

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"firebreak/agent/near"
	"firebreak/agent/response"
	"firebreak/plugins"
	"firebreak/sensors/profile"
)

// wantsCommands is the configuration of a hook that sends commands of device profiles. Resolve is
// given the way to look them up, and tells for each of its targets what is wrong.
type wantsCommands interface {
	Resolve(find func(device, command string) (*profile.Command, error)) (resolved any, faults []error)
}

// commands resolves the commands of a hook, if it has any, and holds them to S25.
func (c *compiler) commands(t *Table, decoded any) any {
	w, ok := decoded.(wantsCommands)
	if !ok {
		return decoded
	}
	resolved, faults := w.Resolve(c.command)
	tabs := t.Tables("command")
	for i, err := range faults {
		if err != nil && i < len(tabs) {
			c.fault(tabs[i].at, "%v", err)
		}
	}
	return resolved
}

// command finds a command of a device's profile.
func (c *compiler) command(device, command string) (*profile.Command, error) {
	i, ok := c.devices[device]
	if !ok {
		return nil, fmt.Errorf("there is no device %q: name one of this file", device)
	}
	if i >= len(c.cfg.Devices) || c.cfg.Devices[i].Profile == nil {
		return nil, fmt.Errorf("device %q could not be read: mend its table first", device)
	}
	p := c.cfg.Devices[i].Profile
	if why := p.Detects(); why != "" {
		return nil, fmt.Errorf("nothing is ever written to device %q: %s (S25)", device, why)
	}
	cmd := p.Command(command)
	switch names := p.CommandNames(); {
	case cmd != nil:
		return cmd, nil
	case len(names) == 0:
		return nil, fmt.Errorf("profile %q of device %q has no commands: nothing can be written to it", p.Name, device)
	default:
		return nil, fmt.Errorf("profile %q of device %q has no command %q%s", p.Name, device, command, near.Hint(command, names))
	}
}

// sends is the configuration of a hook that can say what it sends.
type sends interface {
	Sends() []plugins.DeviceCommand
}

// Writes prints every write that can ever be sent to a device, and by what (S25).
func Writes(w io.Writer, c *Config) error {
	p := &printer{w: w}
	n := 0
	for i := range c.Hooks {
		s, ok := c.Hooks[i].Config.(sends)
		if !ok {
			continue
		}
		for _, d := range s.Sends() {
			k := slices.IndexFunc(c.Devices, func(v Device) bool { return v.Name == d.Device })
			if k < 0 {
				continue
			}
			n++
			p.write(c, i, d, &c.Devices[k])
		}
	}
	if n == 0 {
		p.line("nothing is ever written to a device by this configuration")
	}
	p.line("what a hook's own program, a webhook's target or a host does is not in this list")
	return p.err
}

func (p *printer) write(c *Config, hook int, d plugins.DeviceCommand, dev *Device) {
	cmd := dev.Profile.Command(d.Command)
	p.line("%s of %s: %s", cmd.Name, dev.Name, cmd.Does)
	p.line("  write      function %d, %s %d, values %v; bus %s, unit %d; direction %s", cmd.Code(), cmd.Func, cmd.Address, cmd.Values, c.Buses[dev.Bus].Name, dev.Unit, cmd.Direction)
	if cmd.ReadBack >= 0 {
		p.line("  read back  %s is %g within %s", dev.Profile.Channels[cmd.ReadBack].Name, cmd.Want, show(cmd.Settle))
	} else {
		p.line("  read back  none: %s", cmd.NoReadBack)
	}
	if cmd.Unverified != "" {
		p.line("  unverified %s", cmd.Unverified)
	}
	p.line("  sent by    %s", strings.Join(c.senders(hook, d), ", "))
}

// senders says which steps, undos and orders reach a target of a hook.
func (c *Config) senders(hook int, d plugins.DeviceCommand) (by []string) {
	hits := func(h int, target string) bool { return h == hook && (target == d.Target || target == "") }
	for i := range c.Rules.Response.Plans {
		plan := &c.Rules.Response.Plans[i]
		for k := range plan.Steps {
			s := &plan.Steps[k]
			if !d.Undo && hits(s.Hook, s.Target) {
				by = append(by, fmt.Sprintf("step %s of stage %s of plan %s", s.Name, s.Stage, plan.Name))
			}
			if s.HasUndo && d.Undo && hits(s.Undo, s.UndoTarget) {
				by = append(by, fmt.Sprintf("the undo of step %s of plan %s, by order after a reset", s.Name, plan.Name))
			}
		}
	}
	if slices.ContainsFunc(c.Rules.Response.Energise, func(e response.Energise) bool { return !d.Undo && hits(e.Hook, e.Target) }) {
		by = append(by, "the order energise, at stage 0")
	}
	if by == nil {
		by = []string{"nothing: hook " + c.Hooks[hook].Name + " has the target, and no step names it"}
	}
	return by
}
