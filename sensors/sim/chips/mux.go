package chips

import "sync"

// Mux is a model of the TCA9548A: eight wires with chips of their own behind one control register
// (TI SCPS207F). Attach it with Bus.AttachMux, so that the chips behind it answer on the bus.
type Mux struct {
	mu      sync.Mutex
	control byte
	wires   [8]map[uint16]Chip
}

// NewMux returns a switch with nothing connected, as after power-up.
func NewMux() *Mux { return &Mux{} }

// Attach puts a chip at addr behind a channel.
func (m *Mux) Attach(channel int, addr uint16, c Chip) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wires[channel] == nil {
		m.wires[channel] = map[uint16]Chip{}
	}
	m.wires[channel][addr] = c
}

// Tx writes or reads the control register; of several bytes the last counts.
func (m *Mux) Tx(w, r []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(w) > 0 {
		m.control = w[len(w)-1]
	}
	for i := range r {
		r[i] = m.control
	}
	return nil
}

// Control is the present setting.
func (m *Mux) Control() byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.control
}

// behind lists the chips at addr on the wires that are connected.
func (m *Mux) behind(addr uint16) (found []Chip) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n, wire := range m.wires {
		if c, ok := wire[addr]; ok && m.control>>n&1 == 1 {
			found = append(found, c)
		}
	}
	return found
}
