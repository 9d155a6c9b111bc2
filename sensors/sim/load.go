package sim

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"time"
)

// The work that hooks start, and how long each takes in simulated time. Migration, stop of the
// virtual machines and of the hosts are those of the PowerChute samples (120 + 120 + 70 s).
var workTimes = map[string]time.Duration{
	"freeze-deploys": 2 * time.Second,
	"replicate":      40 * time.Second,
	"drain":          60 * time.Second,
	"migrate":        120 * time.Second,
	"vm-stop":        120 * time.Second,
	"os-stop":        70 * time.Second,
	"outlets-off":    5 * time.Second,
	"breaker-open":   2 * time.Second,
}

// What the protected racks carry before anything is done.
const (
	sessions0 = 1200
	lag0      = 12.0 // s of replication lag
	vms0      = 240
	vmsPinned = 40 // cannot migrate: they are left for vm-stop
	hosts0    = 40
	outlets0  = 16
	feedA0    = 40.0  // A on the racks' DC feeder with every host up
	feedIdle  = 2.0   // A of these without hosts
	busV0     = 256.0 // V
	busBleed  = 3.0   // s: time constant of the bus behind an open breaker
)

// WorkNames lists the work that StartWork knows.
func WorkNames() []string {
	names := make([]string, 0, len(workTimes))
	for n := range workTimes {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// WorkTime is how long a work takes in simulated time; 0 when it is not known.
func WorkTime(name string) time.Duration { return workTimes[name] }

// Load is what the load controller shows of the protected racks.
type Load struct {
	DeploysFrozen bool
	Sessions      int
	VMs           int
	ReplicationS  float64
	Hosts         int
	HostsAll      int // before any was stopped
	Outlets       int
	BreakerClosed bool
	RackAmps      float64
	BusVolts      float64
	CrashedHosts  int // lost their power while running
}

// work holds when each work was started, since the start of the world.
type work map[string]time.Duration

// start begins a work; one that runs or is done already is left alone, so that it may be called
// again for the same key.
func (w work) start(name string, at time.Duration) error {
	if _, ok := workTimes[name]; !ok {
		return fmt.Errorf("unknown work %q: use one of %s", name, strings.Join(WorkNames(), ", "))
	}
	if _, ok := w[name]; !ok {
		w[name] = at
	}
	return nil
}

// left is the share of a work that is still to do at now: 1 before it starts, 0 when done.
func (w work) left(name string, now time.Duration) float64 {
	at, ok := w[name]
	if !ok {
		return 1
	}
	return 1 - max(0, min(1, float64(now-at)/float64(workTimes[name])))
}

// done tells whether a work has come to its end; nothing does in a rack that went dark before.
func (w work) done(name string, now, powerLost time.Duration) bool {
	if powerLost > 0 {
		now = min(now, powerLost)
	}
	_, begun := w[name]
	return begun && w.left(name, now) == 0
}

// load is the state at now. powerLost is when the UPS output went, 0 for never.
func (w work) load(now, powerLost time.Duration, welded bool) Load {
	count := func(n int, share float64) int { return int(math.Ceil(float64(n)*share - 1e-9)) }
	dark := powerLost > 0 && now >= powerLost
	alive := now
	if dark {
		alive = powerLost // nothing goes on in a dark rack
	}
	l := Load{
		DeploysFrozen: w.left("freeze-deploys", now) == 0,
		Sessions:      count(sessions0, w.left("drain", alive)),
		ReplicationS:  lag0 * w.left("replicate", alive),
		Outlets:       count(outlets0, w.left("outlets-off", alive)),
		BreakerClosed: w.left("breaker-open", now) > 0,
		BusVolts:      busV0,
		HostsAll:      hosts0,
	}
	vms := vmsPinned + float64(vms0-vmsPinned)*w.left("migrate", alive)
	l.VMs = count(1, vms*w.left("vm-stop", alive))
	l.Hosts = count(hosts0, w.left("os-stop", alive))
	if l.Outlets == 0 {
		l.CrashedHosts, l.Hosts = l.Hosts, 0
	}
	if dark {
		l.CrashedHosts += l.Hosts
		l.Sessions, l.VMs, l.Hosts = 0, 0, 0
	}
	if l.Hosts == 0 {
		l.VMs = 0
	}
	switch {
	case dark:
	case l.Outlets > 0:
		l.RackAmps = feedIdle + (feedA0-feedIdle)*float64(l.Hosts)/hosts0
	}
	if !l.BreakerClosed && !welded {
		opened := w["breaker-open"] + workTimes["breaker-open"]
		l.RackAmps = 0
		l.BusVolts = busV0 * math.Exp(-(now-opened).Seconds()/busBleed)
	}
	return l
}

// channels are the load under the names of profile load-controller.
func (l *Load) channels() map[string]float64 {
	return map[string]float64{
		"sessions": float64(l.Sessions), "vms_running": float64(l.VMs),
		"replication_lag_s": math.Ceil(l.ReplicationS), // whole seconds, never 0 before it is done
		"hosts_up":          float64(l.Hosts), "outlets_on": float64(l.Outlets),
		"battery_breaker_closed": float64(bit(l.BreakerClosed, 0)),
		"rack_current":           l.RackAmps, "bus_voltage": l.BusVolts,
		"deploys_frozen": float64(bit(l.DeploysFrozen, 0)),
	}
}
