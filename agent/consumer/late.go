package consumer

// late tells whether a message is of another life than the present one, and says that newer ones follow: an
// agent keeps for each broker what that lacked, over a restart. It is shown, each once, and never acted on.
// Without that mark what a life before has said is refused: somebody plays it again.
func (m *message) late(a *agent) bool {
	return !m.retained && m.replayed() && (a.cur == nil || m.head.Instance != a.cur.instance)
}

func (b *Book) takeLate(a *agent, m *message) {
	l := a.pastLife(m.head.Instance)
	switch {
	case l != nil:
	case a.cur == nil || m.head.Epoch > a.cur.epoch:
		l = a.life(m) // it may be heard alive yet
	default:
		l = &life{instance: m.head.Instance, epoch: m.head.Epoch}
		if o := a.lives[m.head.Instance]; o != nil {
			l = o
			delete(a.lives, m.head.Instance)
		}
		a.leave(l)
	}
	if l == nil || l.epoch != m.head.Epoch {
		b.refuse(m.now, m.broker, m.Place, "another epoch under the same instance", "")
		return
	}
	if !l.seqs[m.Class].take(m.now, m.head.Seq) {
		return
	}
	n := Note{Kind: EventTold, Alarm: m.alarm, Plan: m.plan, Event: m.event, Class: m.Class, Past: true}
	switch {
	case m.alarm != nil:
		n.Kind = AlarmTold
	case m.plan != nil:
		n.Kind = PlanTold
	}
	b.note(a, m, n)
}
