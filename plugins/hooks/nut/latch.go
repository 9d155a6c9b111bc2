package nut

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"firebreak/plugins"
)

// zone is one UPS as it stands. The hook's mutex guards it.
type zone struct {
	cfg    *UPS
	vars   []variable
	listed []netip.Addr       // hosts that must be there
	need   int                // hosts that must be there at least
	ob     bool               // the dead-man mode is set
	kept   bool               // ob is that of before the start: no word of the plans yet
	live   map[netip.Addr]int // connections that count as a host of it

	latches map[string]*latch     // by key; any makes FSD
	guests  map[netip.Addr]*guest // while FSD stands: every host that was there since
}

// latch is one call that set FSD.
type latch struct {
	key      plugins.Key
	doing    int // calls that wait
	ended    bool
	out      plugins.Outcome // once ended
	receipt  bool            // its evidence was given
	told     bool
	restored bool
}

// guest is a host of a zone at FSD, by its address: hosts behind one address are one.
type guest struct {
	told bool      // has seen FSD on such a connection
	gone bool      // has logged out, or has closed its last one after it saw FSD
	lost time.Time // its connection ended with the agent of before
}

func (z *zone) fsd() bool { return len(z.latches) > 0 }

// latch sets FSD under a key. It returns the outcome of a call that has ended or cannot begin.
func (h *Hook) latch(z *zone, k plugins.Key) (l *latch, known bool, o *plugins.Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if p := h.plans[k.Plan]; p != nil && k.Episode <= p.ended {
		return nil, false, &plugins.Outcome{Result: plugins.Failed, Detail: fmt.Sprintf("not set: episode %d of plan %q was reset", k.Episode, k.Plan)}
	}
	l, known = z.latches[k.String()]
	if known && l.ended {
		out := l.out
		out.Attached = true
		return nil, true, &out
	}
	if !known {
		l = &latch{key: k}
		h.addLatchLocked(z, l)
		h.log.Warn("FSD is set: the hosts of this UPS shut down", "ups", z.cfg.Name, "key", k.String(), "hosts", z.look().String())
	}
	l.doing++
	h.changedLocked()
	h.saveLocked()
	return l, known, nil
}

func (h *Hook) addLatchLocked(z *zone, l *latch) {
	z.latches[l.key.String()] = l
	if z.guests != nil {
		return // the hosts of the first call are those of all
	}
	z.guests = map[netip.Addr]*guest{}
	for c := range h.conns {
		if c.counts[z] {
			g := z.guest(c.addr)
			g.told = g.told || c.told[z]
		}
	}
}

func (z *zone) guest(a netip.Addr) *guest {
	g := z.guests[a]
	if g == nil {
		g = &guest{}
		z.guests[a] = g
	}
	return g
}

// joinLocked counts a connection as a host of the zone.
func (h *Hook) joinLocked(c *conn, z *zone) {
	if c.counts[z] {
		return
	}
	c.counts[z] = true
	z.live[c.addr]++
	if z.guests != nil {
		g := z.guest(c.addr)
		if z.live[c.addr] == 1 {
			// It came late, or is back: what was said of all having gone is no longer true.
			if g.gone {
				h.log.Warn("a host that had gone after FSD is back", "ups", z.cfg.Name, "client", c.addr.String())
			}
			g.gone, g.lost = false, time.Time{}
			for _, l := range z.latches {
				l.told = false
			}
		}
		g.told = g.told || c.told[z]
		h.saveLocked()
	}
	h.changedLocked()
}

// toldLocked notes that a connection has been sent FSD.
func (h *Hook) toldLocked(c *conn, z *zone) {
	if c.told[z] {
		return
	}
	c.told[z] = true
	if g := z.guests[c.addr]; g != nil && c.counts[z] && !g.told {
		g.told = true
		h.saveLocked()
		h.changedLocked()
	}
}

// leaveLocked takes a connection out. A host has gone if it logged out, or if it closed its last
// connection after it saw FSD; one that was cut off by us, or that the network lost, may still be
// there, and one that had not seen FSD does not know.
func (h *Hook) leaveLocked(c *conn, end ending) {
	delete(h.conns, c)
	for z := range c.counts {
		if z.live[c.addr]--; z.live[c.addr] > 0 {
			continue
		}
		delete(z.live, c.addr)
		if g := z.guests[c.addr]; g != nil && (end == loggedOut || end == closedByPeer && g.told) {
			g.gone = true
			h.log.Info("a host has gone after FSD", "ups", z.cfg.Name, "client", c.addr.String())
			h.saveLocked()
		}
	}
	h.changedLocked()
}

// view is how the hosts of a zone stand.
type view struct {
	fsd                          bool
	live                         int // hosts that are there
	told, untold, gone, unsettle []netip.Addr
	missing                      []netip.Addr // listed, and never there
	knew                         bool         // one that was cut off had seen it
	complete                     bool         // all that were to go have gone
}

func (z *zone) look() view {
	v := view{fsd: z.fsd(), live: len(z.live), missing: z.missing()}
	if !v.fsd {
		return v
	}
	for a, g := range z.guests {
		switch {
		case g.gone:
			v.gone = append(v.gone, a)
		case z.live[a] == 0:
			v.unsettle = append(v.unsettle, a) // cut off: it may come back
			v.knew = v.knew || g.told
		case g.told:
			v.told = append(v.told, a)
		default:
			v.untold = append(v.untold, a)
		}
	}
	for _, s := range [][]netip.Addr{v.told, v.untold, v.gone, v.unsettle} {
		slices.SortFunc(s, netip.Addr.Compare)
	}
	if len(z.listed) > 0 { // then the others are not waited for
		v.complete = !slices.ContainsFunc(z.listed, func(a netip.Addr) bool { g := z.guests[a]; return g == nil || !g.gone })
		v.complete = v.complete && len(v.gone) >= z.need
	} else {
		v.complete = len(v.gone) == len(z.guests) && len(v.gone) >= z.need
	}
	return v
}

// missing are the listed hosts that are not there; at FSD, that never were.
func (z *zone) missing() (out []netip.Addr) {
	for _, a := range z.listed {
		if z.live[a] == 0 && z.guests[a] == nil {
			out = append(out, a)
		}
	}
	return out
}

// met tells whether there is, or was since FSD, a host that obeys.
func (v view) met() bool { return v.live > 0 || len(v.gone) > 0 || v.knew }

func (v view) String() string {
	s := fmt.Sprintf("%d hosts are there", v.live)
	for _, p := range []struct {
		what string
		a    []netip.Addr
	}{{"gone", v.gone}, {"told and still there", v.told}, {"not asked yet", v.untold}, {"cut off", v.unsettle}, {"never there", v.missing}} {
		if len(p.a) > 0 {
			s += ", " + p.what + " " + join(p.a)
		}
	}
	return s
}

// tell returns the evidence that is due under the latch's key and notes it as given.
func (l *latch) tell(v view) (out []plugins.Evidence) {
	if !l.receipt && v.met() && len(v.untold)+len(v.unsettle)+len(v.missing) == 0 {
		l.receipt = true
		out = append(out, plugins.Evidence{Key: l.key, Name: plugins.SeenReceipt, OK: true, Detail: v.String()})
	}
	if !l.told && v.complete {
		l.told = true
		out = append(out, plugins.Evidence{Key: l.key, Name: plugins.SeenLoggedOut, OK: true, Detail: v.String()})
	}
	return out
}

// tellLate gives the evidence of latches whose calls have ended, until ctx ends.
func (h *Hook) tellLate(ctx context.Context, seen func(plugins.Evidence)) {
	for {
		h.mu.Lock()
		wait := h.settleLostLocked()
		var evs []plugins.Evidence
		for _, z := range h.zones {
			v := z.look()
			for _, l := range z.latches {
				if l.doing == 0 {
					evs = append(evs, l.tell(v)...)
				}
			}
		}
		changed := h.changed
		h.mu.Unlock()
		for _, ev := range evs {
			seen(ev)
		}
		if len(evs) > 0 {
			h.save()
		}
		t := time.NewTimer(wait)
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

// settleLostLocked takes hosts for gone that had seen FSD before the agent ended and have not come
// back in time, and returns when to look again.
func (h *Hook) settleLostLocked() time.Duration {
	next := time.Hour
	for _, z := range h.zones {
		for a, g := range z.guests {
			if g.lost.IsZero() || g.gone || !g.told || z.live[a] > 0 {
				continue
			}
			if left := returnWait - time.Since(g.lost); left > 0 {
				next = min(next, left)
				continue
			}
			g.gone = true
			h.log.Info("a host that had seen FSD before the agent was restarted has not come back: it counts as gone", "ups", z.cfg.Name, "client", a.String())
			h.saveLocked()
		}
	}
	return next
}

// changedLocked wakes whoever waits for hosts, latches or the server.
func (h *Hook) changedLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}
