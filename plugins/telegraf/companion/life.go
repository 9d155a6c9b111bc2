package companion

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"firebreak/plugins/telegraf/line"
	"firebreak/plugins/telegraf/pipe"
)

// life is one companion process.
type life struct {
	*Companion
	p     *process
	ctx   context.Context // ends with the life
	hello chan struct{}   // closed when the companion has said Hello
}

// life runs one process to its end, and says why it ended. At the end of ctx the companion is asked to
// end, and its last words are waited for.
func (c *Companion) life(ctx context.Context) error {
	p, err := launch(&c.c)
	if err != nil {
		return fmt.Errorf("%s cannot be started: %w", c.c.Path, err)
	}
	c.still.begin()
	defer c.still.end()
	inner, cancel := context.WithCancel(context.Background())
	l := &life{Companion: c, p: p, ctx: inner, hello: make(chan struct{})}
	ends := make(chan error, 5)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { ends <- caught(l.read) })
	wg.Go(func() { ends <- caught(func() error { return l.write(quit) }) })
	wg.Go(func() { ends <- caught(l.watch) })
	wg.Go(func() { ends <- caught(func() error { return c.still.watch(inner) }) })
	wg.Go(func() { p.log(inner, c.c.Log) })
	select {
	case err = <-ends:
		select { // what it said last tells more than that it is gone
		case other := <-ends:
			if fatal := (*fatalError)(nil); errors.As(other, &fatal) {
				err = other
			}
		case <-time.After(20 * time.Millisecond):
		}
	case <-ctx.Done():
		c.still.end() // it is to hear that it shall quit
		close(quit)
		select {
		case <-p.gone:
		case <-time.After(quitLimit):
		}
		err = nil
	}
	c.still.end()
	cancel()
	p.kill()
	p.close() // ends every read and write
	select {
	case <-p.gone:
	case <-time.After(killLimit / 2):
		hasten(p.pid)
	}
	var left error
	select {
	case <-p.gone:
		if fatal := (*fatalError)(nil); err != nil && !errors.As(err, &fatal) && p.state.Exited() { // by itself
			err = fmt.Errorf("%w (%s)", err, p.state)
		}
	case <-time.After(killLimit / 2):
		// In the idle class even its end has to wait for a free moment of the machine; or the kernel holds it.
		left = fmt.Errorf("process %d, %w", p.pid, ErrLeft)
	}
	wg.Wait()
	if ctx.Err() != nil {
		return left
	}
	if left != nil {
		c.c.Log.Warn("the Telegraf companion", "err", left)
	}
	return err
}

// caught makes an error of a panic in what handles what the companion says: it ends this life, and no other.
func caught(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this agent failed at it, please report this: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}

// ErrLeft is in the error of a Run whose last process has not ended in time.
var ErrLeft = errors.New("killed, has not ended within " + killLimit.String() + ": it is left to the kernel")

// fatalError is what the companion itself says why it ends.
type fatalError struct{ text string }

func (f *fatalError) Error() string { return f.text }

// What counts against the rate besides metrics: so many bytes are one, and a frame is so many at least.
const (
	costOfMetric = 256
	costOfFrame  = 20
)

// read takes what the companion says, at a bounded rate.
func (l *life) read() error {
	r := pipe.NewReader(l.p.out)
	limit, greeted := helloLimit, false
	var free time.Time // when the rate allows the next metrics
	for {
		if err := l.p.out.SetReadDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		kind, body, err := r.Next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("it has said nothing for %v", limit)
		case err != nil:
			return fmt.Errorf("it has closed the pipe: %w", err)
		case !greeted && kind != pipe.HelloKind && kind != pipe.FatalKind:
			return fmt.Errorf("it began with a frame %c, not with a greeting", kind)
		}
		// Whatever it is takes time of this process: a flood of small frames, or one of long ones, counts too.
		cost := max(1, min(costOfFrame, l.c.Rate/10), len(body)/costOfMetric)
		switch kind {
		case pipe.HelloKind:
			h, err := pipe.Decode[pipe.Hello](body)
			if err != nil || h.V != pipe.Version {
				return fmt.Errorf("it speaks version %d of the pipe, this agent %d: install both from one build (%v)", h.V, pipe.Version, err)
			}
			if !greeted {
				greeted, limit = true, l.c.Beat
				close(l.hello)
				if h.Tied {
					l.still.greeted(l.p)
				} else {
					l.c.Log.Warn("the Telegraf companion is not stopped while hooks start, which start later beside it: if this agent died meanwhile, nobody would let it go on; install both from one build")
				}
				l.judge(nil)
				l.c.Log.Info("the Telegraf companion runs", "telegraf", h.Version, "inputs", strings.Join(h.Inputs, " "), "outputs", strings.Join(h.Outputs, " "))
			}
		case pipe.FatalKind:
			f, _ := pipe.Decode[pipe.Fatal](body)
			return &fatalError{cut(f.Error, 2000)}
		case pipe.BeatKind:
			b, err := pipe.Decode[pipe.Beat](body)
			if err != nil {
				return err
			}
			l.judge(wrong(b))
		case pipe.GatheredKind:
			g, err := pipe.Decode[pipe.Gathered](body)
			if err != nil {
				return err
			}
			l.c.Gathered(g)
		case pipe.MetricsKind:
			m, err := pipe.DecodeMetrics(body)
			if err != nil {
				return err
			}
			cost = max(cost, m.Count())
			l.c.Take(m)
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(cost) * time.Second / time.Duration(l.c.Rate))
		if !l.pause(free.Sub(now) - 100*time.Millisecond) { // a tenth of a second is taken at once
			return nil
		}
	}
}

func (l *life) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-l.ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// wrong is what a companion that lives says of its plugins.
func wrong(b pipe.Beat) error {
	var parts []string
	if len(b.Hung) > 0 {
		parts = append(parts, "these inputs hang: "+cut(strings.Join(b.Hung, ", "), 300))
	}
	if len(b.Failing) > 0 {
		parts = append(parts, "these outputs cannot write: "+cut(strings.Join(b.Failing, "; "), 600))
	}
	if parts == nil {
		return nil
	}
	return errors.New("of the Telegraf companion: " + strings.Join(parts, "; "))
}

func cut(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "..."
	}
	return s
}

// write hands it the setup, and then what is offered, until quit.
func (l *life) write(quit <-chan struct{}) error {
	w := pipe.NewWriter(l.p.in)
	say := func(do func() error) error {
		if err := l.p.in.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			return err
		}
		err := do()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("it has taken nothing for %v", writeLimit)
		}
		return err
	}
	if err := say(func() error { return w.JSON(pipe.SetupKind, l.c.Setup) }); err != nil {
		return err
	}
	hello := (<-chan struct{})(l.hello)
	ready := (<-chan struct{})(nil) // until Hello nothing is fed
	for {
		select {
		case <-l.ctx.Done():
			return nil
		case <-quit:
			return say(func() error { return w.Empty(pipe.QuitKind) })
		case <-hello:
			hello, ready = nil, l.ready
			notify(l.ready)
		case <-ready:
			us := l.take()
			if len(us) == 0 {
				continue
			}
			notify(l.ready) // there may be more
			var ms []line.Metric
			for i := range us {
				ms = append(ms, l.c.Render(us[i])...)
			}
			if err := say(func() error { _, err := w.Metrics(ms); return err }); err != nil {
				return err
			}
		}
	}
}

// watch looks at the memory of the companion and its children.
func (l *life) watch() error {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return nil
		case <-l.p.gone:
			return errors.New("it ended")
		case <-t.C:
			if n := resident(l.p.pid); n > l.c.Memory {
				return fmt.Errorf("it holds %d MB of memory, at most %d MB are allowed: it was killed", n>>20, l.c.Memory>>20)
			}
		}
	}
}
