package replay

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"firebreak/agent/config"
	"firebreak/agent/core"
	"firebreak/configs"
	"firebreak/sensors/sim/hall"
	"firebreak/sensors/sim/room"
	"firebreak/sensors/sim/vrla"
)

// longest is how long a scenario may last.
const longest = 2 * 366 * 24 * time.Hour

// scenario is one file: what happens in a site, and what its points show of it.
type scenario struct {
	name, title, record, site string
	then                      string // site with the sensors that there were

	begins time.Time
	zero   time.Duration // T+0, after the beginning
	lasts  time.Duration
	seed   uint64

	battery *room.Params
	hall    *hall.Params
	vrla    *vrla.Params

	facts   []fact
	signals []signal
	acts    []act
	orders  []order
	works   []work
}

// fact is what is on record.
type fact struct {
	at           time.Duration // after the beginning
	text, source string
}

// signal is what points show, while nothing is wrong with them.
type signal struct {
	points []string // patterns
	from   string   // a quantity of a plant
	value  float64
	curve  []corner
	scale  float64
	offset float64
	noise  float64       // standard deviation
	daily  float64       // amplitude of a swing over the day, highest at 15:00
	yearly float64       // highest in mid-July
	delay  time.Duration // of transport
	lag    time.Duration // t90 of the sensor
	least  float64       // the sensor shows no less
}

// corner is a bend of a curve that is straight between them.
type corner struct {
	at time.Duration
	v  float64
}

// act is what is done to sensors: how they fail, or what a person does at them.
type act struct {
	at, lasts time.Duration
	points    []string
	does      string // silent, bad, stuck, set, add, noise
	reason    string // of bad
	value     float64
	over      time.Duration // of add and set: so long to get there
	why       string
	unseen    string // why no alarm can tell of it
}

// order is what a person orders.
type order struct {
	at time.Duration
	o  core.Order
}

func loadScenario(name string) (*scenario, error) {
	file := name + ".toml"
	data, err := fs.ReadFile(configs.Scenarios(), file)
	if err != nil {
		return nil, fmt.Errorf("scenario %s: %w", name, err)
	}
	return parseScenario(file, name, data)
}

func parseScenario(file, name string, data []byte) (*scenario, error) {
	sc := &scenario{name: name}
	return sc, joined(config.ReadFile(file, data, sc.read))
}

func (sc *scenario) read(t *config.Table) {
	t.Require("name", "title", "record", "site", "begins", "lasts")
	if n := t.String("name", sc.name); n != sc.name {
		t.Fault("name", "the file is of %q: name and file must agree", sc.name)
	}
	sc.title, sc.record, sc.site = t.String("title", ""), strings.TrimSpace(t.String("record", "")), t.String("site", "")
	sc.then = t.String("then", "")
	var err error
	if s := t.String("begins", ""); s != "" {
		if sc.begins, err = time.Parse(time.RFC3339, s); err != nil {
			t.Fault("begins", `%q is no instant such as "2022-10-15T15:14:00+09:00"`, s)
		}
	}
	sc.lasts = t.Duration("lasts", 0, time.Minute, longest)
	sc.zero = t.Duration("zero", 0, 0, longest)
	sc.seed = uint64(t.Int("seed", 1, 0, 1<<62))
	sc.readBattery(t.Table("battery"))
	sc.readHall(t.Table("hall"))
	sc.readVRLA(t.Table("vrla"))
	for _, f := range t.Tables("fact") {
		f.Require("at", "text", "source")
		sc.facts = append(sc.facts, fact{sc.instant(f, "at"), f.String("text", ""), f.String("source", "")})
		f.Unknown()
	}
	sc.readShows(t)
	for _, a := range t.Tables("act") {
		sc.readAct(a)
	}
	for _, o := range t.Tables("order") {
		sc.readOrder(o)
	}
	if shared := t.String("shows", ""); shared != "" { // behind its own, which win
		file := "shows/" + shared + ".toml"
		data, err := fs.ReadFile(configs.Scenarios(), file)
		if err == nil {
			err = joined(config.ReadFile(file, data, sc.readShows))
		}
		if err != nil {
			t.Fault("shows", "%v", err)
		}
	}
}

// readShows reads what points show, and what steps do in place of their hooks.
func (sc *scenario) readShows(t *config.Table) {
	for _, s := range t.Tables("signal") {
		sc.readSignal(s)
	}
	for _, w := range t.Tables("work") {
		sc.readWork(w)
	}
}

// instant reads a time after T+0, and returns it after the beginning.
func (sc *scenario) instant(t *config.Table, key string) time.Duration {
	return sc.zero + t.Duration(key, 0, -sc.zero, longest)
}

// event is an instant of a plant, for which 0 means never.
func (sc *scenario) event(t *config.Table, key string) time.Duration {
	at := sc.instant(t, key)
	if !t.Has(key) {
		return 0
	}
	return max(at, room.Step)
}

func (sc *scenario) readBattery(t *config.Table) {
	if t == nil {
		return
	}
	p := room.Default()
	e := &p.Events
	e.Rack, e.Module, e.Cell = p.BMSRack, int(t.Int("module", 3, 0, 7)), int(t.Int("cell", 3, 0, 7))
	e.SparkAt, e.ShortJ, e.ShortOver = sc.event(t, "spark"), t.Float("short_j", 5e5, 0, 1e7), t.Duration("short_over", 15*time.Second, time.Second, time.Hour)
	e.SoftAt, e.SoftW = sc.event(t, "soft"), t.Float("soft_w", 0, 0, 1e5)
	e.DischargeAt, e.CoolingOffAt = sc.event(t, "discharge"), sc.event(t, "cooling_off")
	e.ThermistorBurn = t.Float("thermistor_burn", 0, 0, 2000)
	p.SetPoint, p.Swing = t.Float("set_point", p.SetPoint, 5, 40), t.Float("swing", p.Swing, 0, 5)
	p.ASDTransport = t.Duration("asd_transport", p.ASDTransport, 0, 10*time.Minute)
	p.PointTransport = t.Duration("point_transport", p.PointTransport, 0, 30*time.Minute)
	t.Unknown()
	sc.battery = &p
}

func (sc *scenario) readHall(t *config.Table) {
	if t == nil {
		return
	}
	p := hall.Default()
	p.LoadW, p.SetPoint = t.Float("load_w", p.LoadW, 1, 1e8), t.Float("set_point", p.SetPoint, 5, 40)
	p.ColdLostAt, p.ColdLeft, p.ColdBackAt = sc.event(t, "cold_lost"), t.Float("cold_left", 0, 0, 1), sc.event(t, "cold_back")
	p.FansLostAt = sc.event(t, "fans_lost")
	p.LoadShedAt, p.LoadShedTo = sc.event(t, "load_shed"), t.Float("load_shed_to", 0, 0, 1)
	t.Unknown()
	sc.hall = &p
}

func (sc *scenario) readVRLA(t *config.Table) {
	if t == nil {
		return
	}
	p := vrla.Default()
	p.FloatA, p.OutsideC, p.Swing = t.Float("float_a", p.FloatA, 0, 10), t.Float("outside_c", p.OutsideC, -20, 60), t.Float("swing", p.Swing, 0, 20)
	p.ShortsFrom, p.ShortsEvery = sc.event(t, "shorts_from"), t.Duration("shorts_every", time.Hour, time.Minute, longest)
	p.ShortsMost, p.ChargerOff = int(t.Int("shorts_most", 0, 0, 200)), sc.event(t, "charger_off")
	t.Unknown()
	sc.vrla = &p
}

func (sc *scenario) readSignal(t *config.Table) {
	t.Require("points")
	s := signal{points: t.Strings("points"), from: t.String("from", ""), value: t.Float("value", 0, -1e12, 1e12), scale: t.Float("scale", 1, -1e9, 1e9),
		offset: t.Float("offset", 0, -1e9, 1e9), noise: t.Float("noise", 0, 0, 1e6), daily: t.Float("daily", 0, -1e6, 1e6), yearly: t.Float("yearly", 0, -1e6, 1e6),
		delay: t.Duration("delay", 0, 0, time.Hour), lag: t.Duration("lag", 0, 0, time.Hour), least: t.Float("least", -1e12, -1e12, 1e12), curve: sc.curve(t, "curve")}
	given := 0
	for _, k := range []string{"from", "value", "curve"} {
		if t.Has(k) {
			given++
		}
	}
	if given != 1 {
		t.Fault("points", `a signal has one of "from", "value" and "curve"`)
	}
	if s.from != "" {
		if err := sc.knows(s.from); err != nil {
			t.Fault("from", "%v", err)
		}
	}
	t.Unknown()
	sc.signals = append(sc.signals, s)
}

// curve reads corners such as "10m 22.5".
func (sc *scenario) curve(t *config.Table, key string) []corner {
	var out []corner
	for _, s := range t.Strings(key) {
		when, what, _ := strings.Cut(s, " ")
		d, err := time.ParseDuration(when)
		v, err2 := strconv.ParseFloat(strings.TrimSpace(what), 64)
		switch {
		case err != nil || err2 != nil:
			t.Fault(key, `%q is no corner of a curve, such as "10m 22.5"`, s)
		case len(out) > 0 && sc.zero+d < out[len(out)-1].at:
			t.Fault(key, "%q goes back in time", s)
		default:
			out = append(out, corner{sc.zero + d, v})
		}
	}
	return out
}

func (sc *scenario) readAct(t *config.Table) {
	t.Require("at", "points", "does", "why")
	a := act{at: sc.instant(t, "at"), lasts: t.Duration("for", longest, time.Second, longest), points: t.Strings("points"),
		does: t.Enum("does", "", "silent", "bad", "stuck", "set", "add", "noise"), reason: t.String("reason", ""),
		value: t.Float("value", 0, -1e12, 1e12), over: t.Duration("over", 0, 0, longest), why: t.String("why", ""), unseen: t.String("unseen", "")}
	if a.does == "bad" && reasonNamed(a.reason) == 0 {
		t.Fault("reason", "%q is no reason for a bad reading, such as sentinel, test-mode or comm", a.reason)
	}
	t.Unknown()
	sc.acts = append(sc.acts, a)
}

func (sc *scenario) readOrder(t *config.Table) {
	t.Require("at", "order", "name", "by")
	o := order{sc.instant(t, "at"), core.Order{Kind: core.OrderKind(t.String("order", "")), Name: t.String("name", ""), By: t.String("by", ""), Channel: core.AtTheBox,
		For: t.Duration("for", 0, 0, longest), Reason: t.String("reason", "")}}
	t.Unknown()
	sc.orders = append(sc.orders, o)
}

func (sc *scenario) readWork(t *config.Table) {
	t.Require("step", "takes")
	w := work{step: t.String("step", ""), takes: t.Duration("takes", typical, 0, 24*time.Hour), does: t.Enum("does", "", "vrla.charger-off")}
	for _, s := range t.Tables("shows") {
		s.Require("point", "from", "to")
		w.shows = append(w.shows, shown{s.String("point", ""), s.Float("from", 0, -1e12, 1e12), s.Float("to", 0, -1e12, 1e12)})
		s.Unknown()
	}
	t.Unknown()
	sc.works = append(sc.works, w)
}
