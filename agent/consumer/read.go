package consumer

import (
	"encoding/json"

	"firebreak/agent/wire"
	"firebreak/plugins"
	"firebreak/sensors"
)

// read parses a message and holds it against its topic and its signer; it returns why it is refused.
func (m *message) read(payload []byte) string {
	if m.Class == wire.State {
		return m.readState(payload)
	}
	var into any
	sub := func() string { return "" }
	switch m.Class {
	case wire.Alarm:
		m.alarm = &wire.AlarmMessage{}
		into, sub = m.alarm, func() string { return m.alarm.Hazard }
	case wire.Plan:
		m.plan = &wire.PlanMessage{}
		into, sub = m.plan, func() string { return m.plan.Plan }
	case wire.Event:
		m.event = &wire.EventMessage{}
		into = m.event
	case wire.Hello:
		m.hello = &wire.HelloMessage{}
		into = m.hello
	case wire.Status:
		m.status = &wire.StatusMessage{}
		into = m.status
	}
	if err := json.Unmarshal(payload, into); err != nil {
		return "no message of its class"
	}
	m.head = m.headOf()
	switch {
	case m.head.Schema != "firebreak."+m.Class.String()+"/1":
		return "a schema that is not known"
	case m.head.Instance == "" || m.head.Epoch == 0 || m.head.Seq == 0:
		return "no message of its class"
	case !m.Holds(&m.head, sub()):
		return "a message on a topic of another"
	case m.signed && !m.key.Speaks(&m.head):
		return "signed by somebody else"
	case m.plan != nil && !stageKnown(m.plan.Stage):
		return "a stage that is not known"
	}
	return ""
}

func stageKnown(s string) bool {
	_, err := plugins.ParseStage(s)
	return err == nil
}

func (m *message) headOf() wire.Head {
	switch m.Class {
	case wire.Alarm:
		return m.alarm.Head
	case wire.Plan:
		return m.plan.Head
	case wire.Event:
		return m.event.Head
	case wire.Hello:
		return m.hello.Head
	}
	return m.status.Head
}

// readState reads readings. They name their epoch and no instance; the topic says whose they are.
func (m *message) readState(payload []byte) string {
	var err error
	if m.state, err = wire.ParseState(payload); err != nil {
		return "no message of its class"
	}
	if wire.TopicName(m.state.Device) != m.Sub {
		return "a message on a topic of another"
	}
	if h := (wire.Head{Site: m.Site, Agent: m.Agent}); m.signed && !m.key.Speaks(&h) {
		return "signed by somebody else"
	}
	m.head = wire.Head{Site: m.Site, Zone: m.Zone, Agent: m.Agent, Epoch: m.state.Epoch, Seq: m.state.Seq}
	return ""
}

// real tells whether an alarm, a plan or readings speak of the real room.
func (m *message) real() bool {
	isReal := func(mark, origin string) bool {
		return !m.Drill && mark == plugins.MarkReal.String() && (origin == "" || origin == sensors.Real.String())
	}
	switch {
	case m.alarm != nil:
		return isReal(m.alarm.Mark, m.alarm.Origin)
	case m.plan != nil:
		return isReal(m.plan.Mark, m.plan.Origin)
	case m.event != nil:
		return isReal(m.event.Mark, "")
	case m.state != nil:
		return isReal(plugins.MarkReal.String(), m.state.Origin)
	}
	return !m.Drill
}
