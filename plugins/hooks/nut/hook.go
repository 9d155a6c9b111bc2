package nut

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"firebreak/plugins"
	"firebreak/plugins/reread"
	"firebreak/sensors"
)

// How long a call waits for hosts. One without any host fails soon, so that a retry or a person
// comes sooner; but hosts that lost their connection with the agent itself ask again only after
// their POLLFREQ, 5 s by default.
const (
	noneWait   = 2 * time.Second
	youngWait  = 12 * time.Second // since the port was opened
	returnWait = time.Minute      // a host that had seen FSD before the agent ended and has not come back so long is gone
)

// Deps is what the builder hands in.
type Deps struct {
	StateDirs []string                                // absolute; best one on tmpfs and one on disk
	Point     func(name string) (sensors.Point, bool) // nil: no point is known
	Log       *slog.Logger                            // nil: silent
}

// Hook is one server. Make it with New, and keep Run running.
type Hook struct {
	name   string
	cfg    Config
	log    *slog.Logger
	zones  []*zone          // in the order of the configuration
	byName map[string]*zone // in small letters
	wanted map[sensors.PointID]bool
	users  *reread.File[[]user]
	certs  *reread.File[*tls.Config]
	limit  limiter
	stores []*store

	mu       sync.Mutex
	changed  chan struct{} // closed and made anew when a host, a latch or the server changes
	plans    map[string]*planView
	readings map[sensors.PointID]reading
	conns    map[*conn]struct{}
	ports    map[string]error // by address of the configuration: why it is not listened on; nil: it is
	bound    map[string]string
	since    time.Time // the first port was opened; zero: the server does not run
	loaded   bool
	loadErr  error
	seq      uint64
	said     map[string]string // faults that were logged last, so that each is logged once
}

var (
	_ plugins.Hook      = (*Hook)(nil)
	_ plugins.Runner    = (*Hook)(nil)
	_ plugins.Publisher = (*Hook)(nil)
)

// New makes the hook. It touches no file and no port: Run does, and again when it fails.
func New(name string, cfg Config, d Deps) (*Hook, error) {
	if len(cfg.Listen) == 0 {
		cfg.Listen = []string{defaultListen}
	}
	if cfg.MaxClients == 0 {
		cfg.MaxClients = defaultMaxClients
	}
	if cfg.PerAddress == 0 {
		cfg.PerAddress = defaultPerAddress
	}
	err := cfg.Validate()
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Point == nil {
		d.Point = func(string) (sensors.Point, bool) { return sensors.Point{}, false }
	}
	h := &Hook{name: name, cfg: cfg, log: d.Log.With("hook", name), byName: map[string]*zone{}, wanted: map[sensors.PointID]bool{},
		changed: make(chan struct{}), plans: map[string]*planView{}, readings: map[sensors.PointID]reading{}, conns: map[*conn]struct{}{},
		ports: map[string]error{}, bound: map[string]string{}, said: map[string]string{}}
	h.users = reread.New(func() ([]user, error) { return loadUsers(cfg.UsersFile) })
	h.certs = reread.New(func() (*tls.Config, error) { return loadCert(cfg.CertFile, cfg.KeyFile) })
	for i := range cfg.UPS {
		z, zerr := newZone(&cfg.UPS[i], d.Point)
		err = errors.Join(err, zerr)
		h.zones, h.byName[strings.ToLower(z.cfg.Name)] = append(h.zones, z), z
		for _, v := range z.vars {
			h.wanted[v.point.ID] = true
		}
	}
	for _, dir := range d.StateDirs {
		if !filepath.IsAbs(dir) {
			err = errors.Join(err, fmt.Errorf("state directory %q is not absolute", dir))
		}
		h.stores = append(h.stores, &store{path: filepath.Join(dir, stateName(name))})
	}
	if err != nil {
		return nil, fmt.Errorf("hook %q: %w", name, err)
	}
	return h, nil
}

func newZone(u *UPS, find func(string) (sensors.Point, bool)) (*zone, error) {
	z := &zone{cfg: u, latches: map[string]*latch{}, live: map[netip.Addr]int{}, need: max(1, u.MinClients)}
	for _, s := range u.Clients {
		if a, err := netip.ParseAddr(s); err == nil { // else Validate has told
			z.listed = append(z.listed, a.Unmap())
		}
	}
	var err error
	if z.vars, err = newVars(u, find); err != nil {
		err = fmt.Errorf("ups %q: %w", u.Name, err)
	}
	return z, err
}

// Do latches FSD and waits until the hosts have seen it.
//
// A zone without a logged-in host is a failed step (S20), and the latch stays all the same: a host
// that comes late must still obey. That is no contradiction to what Failed says (S9): no host has
// been told, and a retry under a new key finds the latch, adds its key, and asks again who is there;
// nothing is done twice, because FSD is a state. With some of the expected hosts missing the call is
// done for those that are there, with the missing ones named; the evidence "logged-out" waits for
// all of them.
func (h *Hook) Do(ctx context.Context, c plugins.Call, seen func(plugins.Evidence)) plugins.Outcome {
	begin := time.Now()
	name, err := h.cfg.pick(c.Target)
	if err != nil {
		return plugins.Outcome{Result: plugins.Failed, Detail: "not set: " + err.Error()}
	}
	z := h.byName[strings.ToLower(name)]
	if o, refused := h.refuse(z, c); refused {
		return o
	}
	l, known, o := h.latch(z, c.Key)
	if o != nil {
		return *o
	}
	notSaved := h.saved(ctx, min(saveBound, c.Timeout/4))
	out := h.await(ctx, z, l, c.Timeout-time.Since(begin), seen)
	if notSaved != nil {
		out.Detail += "; it would not survive a crash of the agent: " + notSaved.Error()
	}
	out.Attached, out.Elapsed = known, time.Since(begin)
	h.mu.Lock()
	defer h.mu.Unlock()
	l.doing--
	if out.Result != plugins.Unknown && !l.ended {
		l.ended, l.out = true, out
	}
	h.changedLocked()
	return out
}

// refuse settles the calls that set nothing.
func (h *Hook) refuse(z *zone, c plugins.Call) (plugins.Outcome, bool) {
	h.mu.Lock()
	v := z.look()
	h.mu.Unlock()
	would := fmt.Sprintf("would set FSD on UPS %s, and its hosts would shut down: %s", z.cfg.Name, v)
	if o, spared := c.Spared(h.cfg.Drill, would); spared {
		return o, true
	}
	switch {
	case c.Key.Undo:
		return plugins.Outcome{Result: plugins.Failed, Detail: "FSD cannot be undone: whoever has seen it shuts down (S20); it ends with the reset of the plan"}, true
	case c.Timeout <= 0:
		return plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not set: the time-out %v is not above zero", c.Timeout)}, true
	}
	return plugins.Outcome{}, false
}

// await returns once every host that is there has seen FSD; at the latest somewhat before the
// time-out. It gives evidence while it runs; later Run does.
func (h *Hook) await(ctx context.Context, z *zone, l *latch, timeout time.Duration, seen func(plugins.Evidence)) plugins.Outcome {
	limit := time.NewTimer(timeout - min(timeout/10, 500*time.Millisecond))
	defer limit.Stop()
	none := time.NewTimer(noneWait)
	defer none.Stop()
	late, alone := false, false
	for {
		h.mu.Lock()
		v, changed, young := z.look(), h.changed, h.youngLocked()
		var evs []plugins.Evidence
		if seen != nil { // else Run tells, once the call has ended
			evs = l.tell(v)
		}
		h.mu.Unlock()
		for _, ev := range evs {
			seen(ev)
		}
		if len(evs) > 0 {
			h.save()
		}
		switch {
		case v.met() && len(v.untold) == 0:
			return plugins.Outcome{Result: plugins.Done, Detail: "FSD stands: " + v.String()}
		case v.met() && late:
			return plugins.Outcome{Result: plugins.Done, Detail: "FSD stands, and not every host has asked yet: " + v.String()}
		case !v.met() && (late || alone && young <= 0):
			return plugins.Outcome{Result: plugins.Failed, Detail: "no host is logged in to UPS " + z.cfg.Name + ", so none is told; FSD stands for those that come late: " + v.String()}
		}
		if alone && !v.met() {
			none.Reset(young)
		}
		select {
		case <-changed:
		case <-none.C:
			alone = true
		case <-limit.C:
			late = true
		case <-ctx.Done():
			return plugins.Outcome{Result: plugins.Unknown, Detail: "FSD stands; given up before the hosts had answered: call again under the same key"}
		}
	}
}

// youngLocked is the time for which hosts may still be on their way back to a port that was just opened.
func (h *Hook) youngLocked() time.Duration {
	if h.since.IsZero() {
		return time.Second // not open yet: look again
	}
	return youngWait - time.Since(h.since)
}

// Probe tells what would keep hosts from obeying now: a port that is not listened on, users or a
// certificate that cannot be read, a zone without its hosts, an FSD that nobody knows the reason
// of. Just after a start it waits for the hosts, as long as ctx has time.
func (h *Hook) Probe(ctx context.Context) error {
	var faults []error
	bad := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	if h.cfg.UsersFile != "" {
		if _, _, err := h.users.Get(); err != nil {
			faults = append(faults, err)
		}
	}
	if h.cfg.CertFile != "" {
		if _, _, err := h.certs.Get(); err != nil {
			faults = append(faults, err)
		}
	}
	h.settle(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() {
		bad("the server does not run")
	}
	for _, at := range h.addresses() {
		if err := h.ports[at]; err != nil {
			bad("%s is not listened on: %w", at, err)
		}
	}
	if h.loadErr != nil {
		bad("the state of before could not be read: %w", h.loadErr)
	}
	for _, z := range h.zones {
		v := z.look()
		switch { // at FSD the hosts are on their way out
		case v.fsd:
		case v.live == 0:
			bad("no client is logged in to UPS %s: no host would hear of FSD", z.cfg.Name)
		case v.live < z.need:
			bad("%d clients are logged in to UPS %s, %d are expected", v.live, z.cfg.Name, z.need)
		}
		if len(v.missing) > 0 && !v.fsd {
			bad("UPS %s: not logged in: %s", z.cfg.Name, join(v.missing))
		}
		for _, id := range z.orphans(h.plans) {
			bad("UPS %s stands at FSD under %s, an episode that the agent does not know: if its journal was lost, or it ended in the moment of the reset, and the room is safe, stop the agent, remove %s, and start it", z.cfg.Name, id, h.statePaths())
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("hook %q: %w", h.name, errors.Join(faults...))
}

// settle waits until every zone has its hosts, or the port is no longer young, or nearly all of
// ctx's time is over.
func (h *Hook) settle(ctx context.Context) {
	if at, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, at.Add(-min(time.Until(at)/5, 200*time.Millisecond)))
		defer cancel()
	}
	for {
		h.mu.Lock()
		young, changed := h.youngLocked(), h.changed
		short := slices.ContainsFunc(h.zones, func(z *zone) bool { v := z.look(); return v.live < z.need || len(v.missing) > 0 })
		h.mu.Unlock()
		if !short || young <= 0 {
			return
		}
		t := time.NewTimer(young)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		t.Stop()
	}
}

// DeadMan lists the UPSes that stand at OB: their hosts shut down when this agent is gone for
// longer than their DEADTIME. Whoever is about to restart, upgrade or reload it asks here first,
// and refuses without force (S20). One at FSD is not in it: its hosts shut down in any case.
func (h *Hook) DeadMan() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, z := range h.zones {
		if z.ob && !z.fsd() {
			out = append(out, z.cfg.Name)
		}
	}
	return out
}

func (h *Hook) statePaths() string {
	var p []string
	for _, s := range h.stores {
		p = append(p, s.path)
	}
	return strings.Join(p, " and ")
}

func join(a []netip.Addr) string {
	s := make([]string, 0, len(a))
	for i, x := range a {
		if i == 8 {
			s = append(s, fmt.Sprintf("and %d more", len(a)-i))
			break
		}
		s = append(s, x.String())
	}
	return strings.Join(s, ", ")
}
