package demo

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"firebreak/plugins"
)

// screen is the live readout: a picture drawn again and again on a terminal, or lines as things
// happen when headless.
type screen struct {
	o     Options
	r     *run
	out   io.Writer
	said  int // lines already printed
	begun bool
}

func newScreen(o Options, r *run) *screen { return &screen{o: o, r: r, out: o.Out} }

func (s *screen) every() time.Duration {
	if s.o.Headless {
		return 50 * time.Millisecond
	}
	return 200 * time.Millisecond
}

func (s *screen) draw() {
	if s.o.Headless {
		s.drawLines()
		return
	}
	if !s.begun {
		fmt.Fprint(s.out, "\x1b[?25l\x1b[2J") // hide the cursor, clear
		s.begun = true
	}
	var b strings.Builder
	b.WriteString("\x1b[H")
	for _, l := range s.picture() {
		b.WriteString(shorten(l, 118) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	fmt.Fprint(s.out, b.String())
}

func (s *screen) close() {
	if s.begun {
		fmt.Fprint(s.out, "\x1b[?25h\x1b[2J\x1b[H")
	}
}

func (s *screen) drawLines() {
	s.r.rec.mu.Lock()
	lines := append([]line(nil), s.r.rec.lines[s.said:]...)
	s.said = len(s.r.rec.lines)
	s.r.rec.mu.Unlock()
	for _, l := range lines {
		fmt.Fprintf(s.out, "T%s  %s\n", signed(s.r.at(l.at)), shorten(l.text, 110))
	}
}

func signed(d time.Duration) string {
	if d < 0 {
		return clockText(d)
	}
	return "+" + clockText(d)
}

// picture is what a person sees: what is hot, which alarms, which stage, which hook, and how long.
func (s *screen) picture() []string {
	snap, now := s.r.world.Snapshot(), time.Now()
	left := s.r.sc.PowerLossAfter - snap.AfterSpark
	power := fmt.Sprintf("power is lost in %s", clockText(left))
	if snap.AfterSpark < 0 {
		power = "quiet"
	} else if left <= 0 {
		power = "POWER IS LOST"
	}
	out := []string{
		"firebreak demo   " + s.r.sc.Name + "   a simulated room, " + fmt.Sprintf("%gx", s.o.Speed),
		fmt.Sprintf("T%s   %s", signed(snap.AfterSpark), power), "",
		fmt.Sprintf("  cell max %6.1f C    cabinets %5.1f C %5.1f C    smoke in the pipe %6.3f %%/m    point detector %s",
			snap.BMS.MaxC, snap.CabinetC[0], snap.CabinetC[1], snap.ASD.Obscuration, onOff(snap.PointSmoke)),
		fmt.Sprintf("  sessions %5d    VMs %4d    replication lag %4.1f s    hosts %3d    outlets %3d",
			snap.Load.Sessions, snap.Load.VMs, snap.Load.ReplicationS, snap.Load.Hosts, snap.Load.Outlets), "",
	}
	s.r.rec.mu.Lock()
	defer s.r.rec.mu.Unlock()
	p := s.r.rec.plan
	head := fmt.Sprintf("plan %s   %s   STAGE %s", p.Plan, p.Mode, p.Stage)
	for st, sec := range p.Countdown {
		gone := int(s.r.clock.Factor() * now.Sub(s.r.rec.planAt).Seconds())
		if sec > gone {
			head += fmt.Sprintf("   stage %s starts in %d s", st, sec-gone)
		}
	}
	out = append(out, head)
	for _, st := range p.Steps {
		out = append(out, s.r.rec.stepLine(st, now))
	}
	if p.Asking != "" {
		out = append(out, "  asks: "+p.Asking)
	}
	out = append(out, "", "  * its work was seen done   > at work   ! ended otherwise", "", "alarms")
	for _, a := range activeAlarms(s.r.rec.alarms) {
		out = append(out, fmt.Sprintf("  P%d %-22s %s", a.Priority, a.Name, cause(a)))
	}
	return out
}

func onOff(b bool) string {
	if b {
		return "SMOKE"
	}
	return "clear"
}

func activeAlarms(m map[string]plugins.AlarmState) []plugins.AlarmState {
	var out []plugins.AlarmState
	for _, a := range m {
		if a.Active {
			out = append(out, a)
		}
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Priority < out[j].Priority || out[i].Priority == out[j].Priority && out[i].Name < out[j].Name
	})
	return out
}
