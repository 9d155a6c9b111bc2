package modbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"firebreak/sensors/profile"

	"github.com/goburrow/modbus"
	"golang.org/x/sys/unix"
)

// SerialOptions describe a serial line, or a TCP endpoint that hands bytes on to one unchanged
// ("RTU over TCP", "transparent" or "raw" mode of a serial server).
type SerialOptions struct {
	Path    string // "/dev/ttyUSB0"
	Address string // "10.0.3.21:4001": the line behind a TCP endpoint, instead of Path
	ASCII   bool   // Modbus ASCII instead of RTU

	Baud     int    // behind a TCP endpoint: what the serial server is set to; deadlines count with it
	Parity   string // none, even, odd
	DataBits int    // 7 or 8; default 8, of ASCII 7
	StopBits int
	RS485    RS485
	Gap      time.Duration // silence between frames; at least t3.5 of the baud rate, by default also 1.75 ms

	DialTimeout time.Duration // default 1 s

	// Tap sees what is sent and what comes, for a person who looks for a fault; nil: nobody. It runs within the
	// request and must not keep the bytes.
	Tap func(sent bool, b []byte)
}

// SerialLink is one serial line with one request outstanding. Replies carry no transaction id: a
// late one looks like the next one's. So after every failure the line is drained for the device's
// worst-case turnaround before anything is sent again, and input that lies around is thrown away
// before each request. A TCP connection to a line is closed too: what the network still holds back
// goes with it.
type SerialLink struct {
	opt   SerialOptions
	frame framing
	turn  chan struct{} // holds a token while nobody reads
	wake  *waker
	life  context.Context
	end   context.CancelFunc

	// Owned by who has the turn.
	port       *line
	packagers  map[byte]modbus.Packager
	debts      map[byte]*debts // of each unit that answers
	retry      backoff
	lastErr    error
	lastByte   time.Time     // end of the last frame, seen or sent
	quarantine time.Time     // replies may come until then
	turnaround time.Duration // of the request that failed
	buf        [1024]byte    // an ASCII frame has up to 513 characters

	mu     sync.Mutex
	closed bool
}

// NewSerial returns the link on a serial line. The line is opened at the first Read and reopened
// when it went away, so an adapter may be plugged in later.
func NewSerial(opt SerialOptions) (*SerialLink, error) {
	frame := rtuFraming()
	if opt.ASCII {
		frame = asciiFraming()
	}
	if err := opt.complete(); err != nil {
		return nil, err
	}
	w, err := newWaker()
	if err != nil {
		return nil, err
	}
	l := &SerialLink{opt: opt, frame: frame, turn: make(chan struct{}, 1), wake: w, packagers: map[byte]modbus.Packager{}, debts: map[byte]*debts{}}
	l.life, l.end = context.WithCancel(context.Background())
	l.turn <- struct{}{}
	return l, nil
}

// complete checks the options and sets what was left out.
func (o *SerialOptions) complete() error {
	if _, ok := baudFlag(o.Baud); !ok {
		return fmt.Errorf("serial line %s: no speed of %d baud: use 1200 to 230400", o.name(), o.Baud)
	}
	if (o.Path == "") == (o.Address == "") {
		return fmt.Errorf("serial line %s: give the path of a device or the address of a serial server", o.name())
	}
	if o.RS485.Enabled && o.Address != "" {
		return fmt.Errorf("serial line %s: RS-485 settings belong to the serial server: leave them out here", o.name())
	}
	if o.DataBits == 0 {
		o.DataBits = 8
		if o.ASCII {
			o.DataBits = 7
		}
	}
	if o.DataBits != 8 && (o.DataBits != 7 || !o.ASCII) {
		return fmt.Errorf("serial line %s: %d data bits: RTU needs 8, ASCII 7 or 8", o.name(), o.DataBits)
	}
	if o.Gap <= 0 {
		o.Gap = 1750 * time.Microsecond // above 19200 baud t3.5 is a recommendation of this much (serial line specification, 2.5.1.1)
	}
	if o.Gap != noGap {
		o.Gap = max(o.Gap, wireTime(o.Baud, 7)/2) // 3.5 characters
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = defaultDial
	}
	return nil
}

func (o *SerialOptions) name() string { return o.Path + o.Address }

const noGap = time.Nanosecond // of tests

// wireTime is how long n characters of 11 bits take.
func wireTime(baud, n int) time.Duration {
	return time.Duration(n) * 11 * time.Second / time.Duration(baud)
}

func (l *SerialLink) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Close ends the link for good, interrupts a request that is under way and waits for it.
func (l *SerialLink) Close() error {
	l.mu.Lock()
	was := l.closed
	l.closed = true
	l.mu.Unlock()
	if was {
		return nil
	}
	l.end()
	l.wake.wake()
	<-l.turn // every wait of a Read ends at the wake
	l.hangUp()
	l.wake.close()
	l.turn <- struct{}{}
	return nil
}

func (l *SerialLink) hangUp() {
	if l.port != nil {
		l.port.close()
		l.port = nil
	}
}

// Read sends r and returns its data bytes.
func (l *SerialLink) Read(ctx context.Context, r Request) ([]byte, error) {
	return l.exchange(ctx, r.reading())
}

// Write sends a command once, and checks the echo. What is not ErrNotSent may have been sent.
func (l *SerialLink) Write(ctx context.Context, r Request, c *profile.Command) error {
	_, err := l.exchange(ctx, r.writing(c))
	return err
}

func (l *SerialLink) exchange(ctx context.Context, r Request) ([]byte, error) {
	err := r.check()
	if err == nil && r.Unit == 0 {
		err = fmt.Errorf("%s: %w: unit 0 is broadcast, nobody answers it on a serial line", r, ErrRefused)
	}
	if err != nil {
		return nil, r.unsent(err)
	}
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, r.unsent(fmt.Errorf("%s: %w: %w", r, ErrTimeout, ctx.Err()))
	}
	if l.isClosed() {
		return nil, r.unsent(fmt.Errorf("%s: %w", l.opt.name(), ErrClosed))
	}
	if err := ctx.Err(); err != nil {
		return nil, r.unsent(fmt.Errorf("%s: %w: %w", r, ErrTimeout, err))
	}
	stop := context.AfterFunc(ctx, l.wake.wake)
	defer stop()
	d := l.debts[r.answers()]
	if d == nil {
		d = &debts{}
		l.debts[r.answers()] = d
	}
	d.expire(time.Now())
	if r.write == nil && d.owes(r) { // the echo of a write says what was written, and the state is read back
		if err := l.prove(ctx, r, d); err != nil {
			return nil, err
		}
	}
	data, certain, err := l.ask(ctx, r, d)
	if r.write == nil && err == nil && !certain {
		return nil, fmt.Errorf("%s: %w: it may be that of an earlier request", r, ErrGarbled) // prove has seen to it that this does not happen
	}
	if err != nil && trusted(err) && !certain {
		l.distrust(r)
		err = fmt.Errorf("%s: %w: what may be of an earlier request: %v", r, ErrGarbled, err)
	}
	return data, err
}

// ask sends r and takes its reply; certain: it is that of no earlier request which d owes.
func (l *SerialLink) ask(ctx context.Context, r Request, d *debts) (data []byte, certain bool, err error) {
	if err := l.open(ctx, r.Once); err != nil {
		return nil, false, r.unsent(fmt.Errorf("%s: %w", r, err))
	}
	if err := l.silence(ctx, r); err != nil {
		return nil, false, r.unsent(l.failed(r, err))
	}
	pk := l.packagers[r.Unit]
	if pk == nil {
		pk = l.frame.packager(r.Unit)
		l.packagers[r.Unit] = pk
	}
	if r.ReplyUnit != 0 {
		pk = l.frame.renamed(pk, r.ReplyUnit)
	}
	d.ask(r, time.Now())
	data, err = exchange(pk, func(adu []byte) ([]byte, error) { return l.send(ctx, adu, r) }, r)
	if trusted(err) {
		l.retry.ok()
		return data, d.answered(r, err != nil), err
	}
	l.distrust(r)
	if l.port != nil && l.port.socket {
		l.hangUp()
	}
	return nil, false, l.failed(r, err)
}

// failed names an error; a line that is gone is closed, to be opened anew.
func (l *SerialLink) failed(r Request, err error) error {
	switch {
	case l.isClosed():
		return fmt.Errorf("%s: %w", r, ErrClosed)
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrGarbled):
		return fmt.Errorf("%s: %w", r, err)
	case errors.As(err, new(unix.Errno)) || isHangup(err):
		l.hangUp()
		l.lastErr = err
		l.retry.failed(time.Now(), true)
		return fmt.Errorf("%s: %s: %w: %w", r, l.opt.name(), ErrLinkDown, err)
	}
	return fmt.Errorf("%s: %w: %w", r, ErrGarbled, err) // the codec's own complaint: the checksum
}

func (l *SerialLink) open(ctx context.Context, now bool) error {
	if l.port != nil && l.port.socket && isHangup(l.port.flushInput()) {
		l.hangUp() // the peer closed an idle connection: nothing of this request was on it
	}
	if l.port != nil {
		return nil
	}
	if wait := time.Until(l.retry.next); wait > 0 && !now {
		return fmt.Errorf("%s: %w: next try in %s; last: %v", l.opt.name(), ErrLinkDown, wait.Round(time.Millisecond), l.lastErr)
	}
	p, err := l.openPort(ctx)
	if err != nil {
		l.lastErr = err
		switch {
		case l.isClosed():
			return fmt.Errorf("%s: %w", l.opt.name(), ErrClosed)
		case ctx.Err() == nil:
			l.retry.failed(time.Now(), false)
		}
		return fmt.Errorf("%w: %w", ErrLinkDown, err)
	}
	l.port = p
	return nil
}

func (l *SerialLink) openPort(ctx context.Context) (*line, error) {
	if l.opt.Path != "" {
		return openSerial(l.opt)
	}
	ctx, cancel := context.WithTimeout(ctx, l.opt.DialTimeout)
	defer cancel()
	defer context.AfterFunc(l.life, cancel)()
	return dialLine(ctx, l.opt.Address)
}

// Rest closes a TCP connection until the next request, for a serial server that takes one client.
func (l *SerialLink) Rest() {
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
		if l.port != nil && l.port.socket {
			l.hangUp()
		}
	default: // a request is under way
	}
}
