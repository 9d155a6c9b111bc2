package room

import (
	"math"
	"time"
)

// Step is the inner step of the integration. It does not depend on the caller: Advance takes
// whole steps only.
const Step = 250 * time.Millisecond

// Room is the state of the simulated room.
type Room struct {
	p     Params
	n     int64 // steps done
	cells []cell
	flow  []float64 // J into each cell in this step
	cab   []float64 // C, air of each cabinet
	cabJ  []float64
	air   float64 // C, air of the room
	airJ  float64
	wall  float64
	smoke float64 // kg in the room's air
	gas   float64 // kg
	total float64 // J that one cell's reactions hold
	book  Book

	ins *Instruments
}

// Book is the account of energy since the start, in J: Stored grows by exactly Float + Short +
// Reactions + Flames - Cooled - Agent.
type Book struct {
	Float, Short, Reactions, Flames, Cooled, Agent float64
}

// New returns a room at rest at its set point. seed decides the noise of the instruments and
// nothing else.
func New(p Params, seed uint64) *Room {
	n := p.Racks * p.Modules * p.Cells
	r := &Room{
		p: p, cells: make([]cell, n), flow: make([]float64, n),
		cab: make([]float64, p.Racks), cabJ: make([]float64, p.Racks),
		air: p.SetPoint, wall: p.SetPoint, total: reactionHeat(&p),
	}
	// At rest the float heat of a cell flows through its cabinet into the room.
	perRack := float64(p.Modules*p.Cells) * p.FloatHeat
	for i := range r.cab {
		r.cab[i] = p.SetPoint + perRack/p.CabinetToRoom
	}
	for i := range r.cells {
		r.cells[i] = newCell(&p, r.cab[0]+p.FloatHeat/p.CellToCabinet)
	}
	r.ins = newInstruments(r, seed)
	return r
}

// At is the simulated time since the start.
func (r *Room) At() time.Duration { return time.Duration(r.n) * Step }

// Advance steps the room to the last whole Step not after t, and returns the number of steps.
func (r *Room) Advance(t time.Duration) int {
	n := 0
	for r.At()+Step <= t {
		r.step()
		n++
	}
	return n
}

// after is true from the event's time on.
func (r *Room) after(at time.Duration) bool { return at > 0 && r.At() >= at }

func (r *Room) step() {
	dt := Step.Seconds()
	clear(r.flow)
	clear(r.cabJ)
	r.airJ = 0
	r.short(dt)
	r.conduct(dt)
	r.reactAndVent(dt)
	r.exchange(dt)
	for i := range r.cells {
		r.cells[i].t += r.flow[i] / r.p.CellHeat
	}
	for i := range r.cab {
		r.cab[i] += r.cabJ[i] / r.p.CabinetHeat
	}
	r.air += r.airJ / r.airHeat()
	r.n++
	r.ins.step(r, dt)
}

// airHeat is the heat capacity of the room's air in J/K (1.2 kg/m3, 1005 J/kgK).
func (r *Room) airHeat() float64 { return 1.2 * 1005 * r.p.Volume }

// Index of a cell.
func (r *Room) index(rack, module, cell int) int {
	return (rack*r.p.Modules+module)*r.p.Cells + cell
}

// short sets free the heat of the soft short and of the spark.
func (r *Room) short(dt float64) {
	e := &r.p.Events
	i := r.index(e.Rack, e.Module, e.Cell)
	c := &r.cells[i]
	sparked := r.after(e.SparkAt)
	var q float64
	if r.after(e.SoftAt) && !sparked {
		q = e.SoftW * dt
	}
	if sparked && r.At() < e.SparkAt+e.ShortOver {
		q = e.ShortJ * dt / e.ShortOver.Seconds()
		c.shorted, c.lit = true, true
	}
	q = min(q, max(0, r.p.CellStored-c.shortJ)) // no more than the cell stores
	c.shortJ += q
	r.flow[i] += q
	r.book.Short += q
}

// conduct moves heat between cells, each pair once and in equal parts.
func (r *Room) conduct(dt float64) {
	p := &r.p
	within, above := p.CellToCell*dt, p.ModToMod*dt
	move := func(i, j int, g float64) {
		q := g * (r.cells[i].t - r.cells[j].t)
		r.flow[i] -= q
		r.flow[j] += q
	}
	for first := 0; first < len(r.cells); first += p.Cells {
		top := (first/p.Cells+1)%p.Modules == 0
		for i := first; i < first+p.Cells; i++ {
			if i+1 < first+p.Cells {
				move(i, i+1, within)
			}
			if !top {
				move(i, i+p.Cells, above)
			}
		}
	}
}

// reactAndVent lets each cell react, vent and burn, and give heat to its cabinet.
func (r *Room) reactAndVent(dt float64) {
	p := &r.p
	inert := r.after(p.Events.DischargeAt)
	perRack := p.Modules * p.Cells
	float := p.FloatHeat * dt
	for rack := range r.cab {
		air := r.cab[rack]
		for i := rack * perRack; i < (rack+1)*perRack; i++ {
			c := &r.cells[i]
			out := p.CellToCabinet * (c.t - air) * dt
			r.flow[i] += float - out
			r.cabJ[rack] += out
			if c.t >= reactFrom {
				r.hot(c, i, rack, dt, inert)
			}
		}
	}
	r.book.Float += float * float64(len(r.cells))
}

// hot is a cell that reacts; it may vent, burn and radiate.
func (r *Room) hot(c *cell, i, rack int, dt float64, inert bool) {
	p, air := &r.p, r.cab[rack]
	q, melt := c.react(p, dt), c.melt(p, dt)
	r.book.Reactions += q
	r.book.Short += melt
	var out float64
	if c.t > 200 {
		out = radiation(p, c.t, air) * dt
	}
	if m := c.vent(p, dt, q, r.total); m > 0 {
		r.gas += m
		r.smoke += m * p.SmokeYield
		out += m * p.GasHeat * (c.t - air)
		c.lit = c.lit || c.t > p.IgniteAt
		if c.lit && !inert {
			burn := m * p.BurnHeat
			r.book.Flames += burn
			r.cabJ[rack] += burn * p.BurnCabinet
			r.airJ += burn * p.BurnRoom
			r.wall += burn * (1 - p.BurnCabinet - p.BurnRoom) / p.WallHeat
		}
	}
	r.flow[i] += q + melt - out
	r.cabJ[rack] += out
}

// exchange moves heat between cabinets, room, walls, cooling unit and agent, and lets smoke settle.
func (r *Room) exchange(dt float64) {
	p, e := &r.p, &r.p.Events
	for i := range r.cab {
		q := p.CabinetToRoom * (r.cab[i] - r.air) * dt
		r.cabJ[i] -= q
		r.airJ += q
		if i+1 < len(r.cab) {
			q := p.CabinetCabinet * (r.cab[i] - r.cab[i+1]) * dt
			r.cabJ[i] -= q
			r.cabJ[i+1] += q
		}
	}
	q := p.RoomToWall * (r.air - r.wall) * dt
	r.airJ -= q
	r.wall += q / p.WallHeat
	if !r.after(e.CoolingOffAt) && !r.after(e.DischargeAt) {
		set := p.SetPoint + p.Swing*math.Sin(2*math.Pi*r.At().Seconds()/1200)
		q := p.Cooling * (r.air - set) * dt
		r.airJ -= q
		r.book.Cooled += q
	}
	if r.after(e.DischargeAt) && r.At() < e.DischargeAt+p.AgentOver {
		q := p.AgentCooling * dt / p.AgentOver.Seconds()
		r.airJ -= q
		r.book.Agent += q
	}
	keep := math.Exp(-p.SmokeLoss * dt)
	r.smoke *= keep
	r.gas *= keep
}

// Stored is the heat in the room above 0 C, in J.
func (r *Room) Stored() float64 {
	s := r.air*r.airHeat() + r.wall*r.p.WallHeat
	for i := range r.cab {
		s += r.cab[i] * r.p.CabinetHeat
	}
	for i := range r.cells {
		s += r.cells[i].t * r.p.CellHeat
	}
	return s
}

// Book returns the account of energy.
func (r *Room) Book() Book { return r.book }
