package tools

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"firebreak/sensors/sim/pty"
	"firebreak/sensors/sim/slave"
)

// Sim serves one device until its context ends.
type Sim struct {
	Device *Device
	Unit   byte
	Listen string // host:port; empty: on a pseudo-terminal, as a line
	ASCII  bool   // on a line: ASCII instead of RTU

	Session []Frame // shown in place of a device at rest
	Speed   float64
}

// faulty is a server that can be told to fall silent.
type faulty interface {
	SetFault(slave.FaultFunc)
	Close() error
}

// Run serves, and takes "POINT=VALUE", "silent" and "answers" from lines; when they end it goes on. ready is told
// where it answers.
func (s *Sim) Run(ctx context.Context, lines <-chan string, w io.Writer, ready func(where string)) error {
	if len(s.Session) > 0 {
		s.Device.show(s.Session[0]) // before anybody asks
	}
	units := map[byte]*slave.Bank{s.Unit: s.Device.bank}
	srv, where, err := s.serve(units)
	if err != nil {
		return err
	}
	defer srv.Close()
	srv.SetFault(s.answering())
	fmt.Fprintf(w, `%s answers as unit %d at %s
  SIMULATED, and an agent cannot tell: point none at it that acts on real targets
  type POINT=VALUE, POINT=none, silent or answers; interrupt it to end
`, s.Device.p.Name, s.Unit, where)
	if ready != nil {
		ready(where)
	}
	t := time.NewTicker(liveEvery)
	defer t.Stop()
	beat := t.C
	if s.Session != nil {
		beat = nil // the session has a life of its own
		var wg sync.WaitGroup
		defer wg.Wait()
		playing, stop := context.WithCancel(ctx)
		defer stop()
		wg.Go(func() { s.Device.play(playing, s.Session, s.Speed) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat:
			s.Device.Beat()
		case line, ok := <-lines:
			if !ok {
				lines = nil // nothing more is typed; it goes on serving
				continue
			}
			if err := s.order(strings.TrimSpace(line), srv); err != nil {
				fmt.Fprintln(w, err)
			} else {
				fmt.Fprintf(w, "ok %s\n", strings.TrimSpace(line))
			}
		}
	}
}

func (s *Sim) serve(units map[byte]*slave.Bank) (faulty, string, error) {
	if s.Listen != "" {
		srv, err := slave.ListenTCP(s.Listen, units)
		if err != nil {
			return nil, "", err
		}
		return srv, "tcp://" + srv.Addr(), nil
	}
	line, err := pty.Open()
	if err != nil {
		return nil, "", err
	}
	if s.ASCII {
		return slave.ServeASCII(line, units), "ascii://" + line.Path(), nil
	}
	return slave.ServeRTU(line, units), "rtu://" + line.Path(), nil
}

// answering makes a device that answers under another unit than it is asked under do so.
func (s *Sim) answering() slave.FaultFunc {
	a := s.Device.p.Read.Answers(s.Unit)
	if a == s.Unit {
		return nil
	}
	return func(slave.Request) slave.Fault { return slave.Fault{Unit: a} }
}

func (s *Sim) order(line string, srv faulty) error {
	switch line {
	case "":
		return nil
	case "silent":
		srv.SetFault(func(slave.Request) slave.Fault { return slave.Fault{Silent: true} })
		return nil
	case "answers":
		srv.SetFault(s.answering())
		return nil
	}
	return s.Device.Set(line)
}
