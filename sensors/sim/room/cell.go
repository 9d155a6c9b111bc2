package room

import "math"

const (
	gasConstant = 8.314     // J/(mol K)
	kelvin      = 273.15    // K at 0 C
	boltzmann   = 5.6704e-8 // W/(m2 K4)
	emissivity  = 0.8
	reactFrom   = 60.0  // C: below, the four reactions give less than 0.1 W a cell, and are left out
	meltTime    = 10.0  // s: time constant of the short through a melted separator
	separator   = 150.0 // C: the separator melts and the cell has no voltage any more
)

// cell is one cell: a lumped thermal mass with what is left of its reactants.
type cell struct {
	t                          float64 // C
	sei, neg, layer, pos, elec float64 // dimensionless amounts of Kim et al.
	vented, lit, shorted, dead bool
	gas, burst                 float64 // kg of gas not yet given; of these, kg of the first burst
	heat                       float64 // J set free by the reactions so far
	shortJ                     float64 // J set free by a short so far
	meltJ                      float64 // J that the melted separator has still to set free
}

func newCell(p *Params, t float64) cell {
	r := &p.Reactions
	return cell{
		t: t, sei: r.SEI0, neg: r.Negative0, layer: r.Layer0, pos: r.Positive0, elec: r.Electrolyte0,
		gas: p.VentGas, burst: p.VentGas * p.VentBurst,
	}
}

// reactionHeat is all that the reactions of one fresh cell can set free, in J.
func reactionHeat(p *Params) float64 {
	r := &p.Reactions
	return p.CellVolume * (r.SEI.H*r.SEI.W*r.SEI0 + r.Negative.H*r.Negative.W*r.Negative0 +
		r.Positive.H*r.Positive.W*(1-r.Positive0) + r.Electrolyte.H*r.Electrolyte.W*r.Electrolyte0)
}

func (r *Reaction) rate(kelvins float64) float64 { return r.A * math.Exp(-r.E/(gasConstant*kelvins)) }

// react lets the four reactions run for dt at the present temperature and returns the heat in J.
// Each amount decays exactly for a constant temperature, so that no step, however large, can set
// free more than there is.
func (c *cell) react(p *Params, dt float64) float64 {
	r, k := &p.Reactions, c.t+kelvin
	dSEI := c.sei * -math.Expm1(-r.SEI.rate(k)*dt)
	rateNeg := r.Negative.rate(k) * math.Exp(-c.layer/r.Layer0)
	dNeg := c.neg * -math.Expm1(-rateNeg*dt)
	// The positive electrode is autocatalytic: da/dt = k a (1-a), solved as the logistic curve.
	pos := 1 / (1 + (1-c.pos)/c.pos*math.Exp(-r.Positive.rate(k)*dt))
	dPos := pos - c.pos
	dElec := c.elec * -math.Expm1(-r.Electrolyte.rate(k)*dt)

	c.sei, c.neg, c.pos, c.elec = c.sei-dSEI, c.neg-dNeg, pos, c.elec-dElec
	c.layer += dNeg // the layer grows by what the negative electrode used up
	q := p.CellVolume * (r.SEI.H*r.SEI.W*dSEI + r.Negative.H*r.Negative.W*dNeg +
		r.Positive.H*r.Positive.W*dPos + r.Electrolyte.H*r.Electrolyte.W*dElec)
	c.heat += q
	return q
}

// vent returns the kg of gas that leave in dt, q being the heat that the reactions gave in it: a
// burst when the vent opens, the rest in step with the reactions.
func (c *cell) vent(p *Params, dt, q, total float64) float64 {
	if c.t >= p.VentAt {
		c.vented = true
	}
	if !c.vented || c.gas <= 0 {
		return 0
	}
	first := c.burst * -math.Expm1(-dt/3)
	c.burst -= first
	m := min(c.gas, first+p.VentGas*(1-p.VentBurst)*q/total)
	c.gas -= m
	return m
}

// melt is the internal short after the separator has gone: heat in J in dt.
func (c *cell) melt(p *Params, dt float64) float64 {
	if !c.dead {
		if c.t <= separator {
			return 0
		}
		c.dead = true
		c.meltJ = p.MeltShort * max(0, p.CellStored-c.shortJ)
	}
	q := c.meltJ * -math.Expm1(-dt/meltTime)
	c.meltJ -= q
	c.shortJ += q
	return q
}

// volts is the voltage of the cell: it falls with a short and is gone once the separator melts.
func (c *cell) volts(p *Params) float64 {
	switch {
	case c.dead:
		return 0
	case c.shorted:
		return 0.3 * p.CellVolt * (1 - min(1, c.shortJ/p.CellStored))
	default:
		return p.CellVolt * (1 - 0.2*min(1, c.shortJ/p.CellStored))
	}
}

// radiation is the heat flow in W from a cell at t into the cabinet at air.
func radiation(p *Params, t, air float64) float64 {
	a, b := t+kelvin, air+kelvin
	return boltzmann * emissivity * p.CellArea * (a*a*a*a - b*b*b*b)
}
