// Package room is the physics of a lithium-ion battery room: heat, reactions, gas, smoke, and the
// instruments that look at them.
//
// Every cell is one thermal mass. It heats itself by four decomposition reactions (Arrhenius),
// conducts to its neighbours and to the cells above and below, and gives heat to the air of its
// cabinet; the cabinets stand in one well-mixed room whose air meets the walls and a cooling unit. A cell
// that is hot enough vents gas, which burns or not, and makes smoke; the smoke reaches each
// detector after its transport delay.
//
// Concurrency: a Room belongs to one goroutine. Failure: none; the same Params and seed give the
// same room to the last bit, however the caller cuts the time.
package room

import "time"

// Reactions holds the kinetics and heats of the four abuse reactions of Kim, Pesaran, Spotnitz,
// J. Power Sources 170 (2007) 476-489, table of the abuse model (LiCoO2/graphite; there after
// Hatchard et al., J. Electrochem. Soc. 148 (2001) A755, and Spotnitz, Franklin, J. Power Sources
// 113 (2003) 81). Units: A 1/s, E J/mol, H J/g, W g per m3 of jelly roll.
type Reactions struct {
	SEI, Negative, Positive, Electrolyte Reaction

	SEI0, Negative0, Positive0, Electrolyte0 float64 // initial (dimensionless) amounts
	Layer0                                   float64 // initial, and reference, thickness of the SEI layer
}

// Reaction is one Arrhenius law.
type Reaction struct{ A, E, H, W float64 }

// Params describes a room. Lengths in m, masses kg, temperatures C, heat J and W.
type Params struct {
	Racks, Modules, Cells int // cells per module, in one row

	Reactions Reactions

	CellHeat      float64 // heat capacity of one cell, J/K
	CellVolume    float64 // jelly roll of one cell, m3
	CellStored    float64 // electrical energy stored in one cell, J
	MeltShort     float64 // share of what is still stored that a melted separator sets free
	CellVolt      float64 // open-circuit voltage at rest
	CellArea      float64 // m2 that radiate into the cabinet
	CellToCell    float64 // W/K between neighbours in a module
	ModToMod      float64 // W/K between a cell and the same cell one module up
	CellToCabinet float64 // W/K
	FloatHeat     float64 // W per cell, on float charge

	CabinetHeat    float64 // heat capacity of a cabinet's air and sheet metal, J/K
	CabinetToRoom  float64 // W/K, through the perforated doors
	CabinetCabinet float64 // W/K, through the side panels

	Volume     float64 // of the room, m3
	RoomToWall float64 // W/K
	WallHeat   float64 // J/K
	SetPoint   float64 // of the cooling unit
	Cooling    float64 // W/K of the cooling unit around its set point
	Swing      float64 // amplitude of the set point's swing in C, period 20 min: the compressor's cycle

	VentAt       float64 // cell temperature at which the vent opens
	VentGas      float64 // kg that one cell can give
	VentBurst    float64 // share of VentGas that leaves within seconds of the opening
	GasHeat      float64 // J/kgK of the gas that leaves
	BurnHeat     float64 // J/kg of the gas when it burns
	BurnCabinet  float64 // share of that heat in the cabinet's air
	BurnRoom     float64 // share in the room's air; the rest goes into the walls
	IgniteAt     float64 // cell temperature at which its gas ignites by itself
	SmokeYield   float64 // kg smoke per kg gas
	Extinction   float64 // m2 per kg smoke
	SmokeLoss    float64 // 1/s, deposition and leakage
	AgentCooling float64 // J taken from the room's air by the evaporating agent
	AgentOver    time.Duration

	ASDTransport   time.Duration // from the source to the aspirating detector's chamber
	PointTransport time.Duration // from the source to the point detector's chamber
	ASDLag         time.Duration // t90 of the chamber
	PointLag       time.Duration
	PointAlarm     float64 // obscuration in %/m at which the point detector alarms; it latches

	BMSRack      int           // the rack that the battery management system watches
	CabinetRacks [2]int        // the racks whose cabinet air has a temperature chip
	ThermLag     time.Duration // t90 of the thermistors on the cells
	ChipLag      time.Duration // t90 of the chips in the cabinets

	Events Events
}

// Events is what happens to the room; times count from its start, 0 means never.
type Events struct {
	SparkAt            time.Duration
	Rack, Module, Cell int           // of the internal short
	ShortJ             float64       // heat of the short
	ShortOver          time.Duration // in which it is set free
	SoftAt             time.Duration // a soft internal short in the same cell, before the spark
	SoftW              float64       // its heat, until the spark
	DischargeAt        time.Duration // gas extinguishing: flames end, cells do not
	ThermistorBurn     float64       // C at which a thermistor is lost; 0: never
	CoolingOffAt       time.Duration // the discharge stops the cooling unit too
}

// Default is a room of five racks. Cell: a 67 Ah prismatic cell of 1.75 kg, 1000 J/kgK, 4.0 V, as
// the data sheets of UPS modules give; the jelly roll is 1.75 kg at 2580 kg/m3 (Hatchard). All
// conductances, yields and delays are engineering estimates: no source fits this room. They were
// chosen so that a cell passes its runaway on within one to two minutes and a module within about
// ten, and so that smoke reaches the detectors one minute after the spark, as in the record of
// Pangyo.
func Default() Params {
	return Params{
		Racks: 5, Modules: 8, Cells: 8,
		Reactions: Reactions{
			SEI:         Reaction{A: 1.667e15, E: 1.3508e5, H: 257, W: 6.104e5},
			Negative:    Reaction{A: 2.5e13, E: 1.3508e5, H: 1714, W: 6.104e5},
			Positive:    Reaction{A: 6.667e13, E: 1.396e5, H: 314, W: 1.221e6},
			Electrolyte: Reaction{A: 5.14e25, E: 2.74e5, H: 155, W: 4.069e5},
			SEI0:        0.15, Negative0: 0.75, Positive0: 0.04, Electrolyte0: 1, Layer0: 0.033,
		},
		CellHeat: 1750, CellVolume: 6.8e-4, CellStored: 9.6e5, MeltShort: 0.5, CellVolt: 4.0, CellArea: 0.02,
		CellToCell: 10, ModToMod: 1.4, CellToCabinet: 0.5, FloatHeat: 0.3,
		CabinetHeat: 15e3, CabinetToRoom: 60, CabinetCabinet: 10,
		Volume: 400, RoomToWall: 1500, WallHeat: 5e7, SetPoint: 23, Cooling: 3000, Swing: 0.4,
		VentAt: 130, VentGas: 0.25, VentBurst: 0.05, GasHeat: 1200, BurnHeat: 15e6,
		BurnCabinet: 0.15, BurnRoom: 0.45, IgniteAt: 450,
		SmokeYield: 0.05, Extinction: 8700, SmokeLoss: 1.0 / 900, // Extinction: Mulholland, Croarkin, Fire Mater. 24 (2000) 227, flaming fuels
		AgentCooling: 2.5e6, AgentOver: 10 * time.Second,
		ASDTransport: 55 * time.Second, PointTransport: 55 * time.Second,
		ASDLag: 3 * time.Second, PointLag: 5 * time.Second, PointAlarm: 3,
		BMSRack: 1, CabinetRacks: [2]int{1, 2}, ThermLag: 15 * time.Second, ChipLag: 20 * time.Second,
	}
}
