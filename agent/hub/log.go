package hub

import (
	"fmt"
	"log/slog"
)

// logger is what the server says, in the hub's log. What it calls fatal would end the process: here it
// ends Open, and is an error later on.
type logger struct {
	log   *slog.Logger
	fatal chan string
}

func (l *logger) Noticef(f string, a ...any) { l.log.Debug(fmt.Sprintf(f, a...)) }
func (l *logger) Warnf(f string, a ...any)   { l.log.Warn(fmt.Sprintf(f, a...)) }
func (l *logger) Errorf(f string, a ...any)  { l.log.Error(fmt.Sprintf(f, a...)) }
func (l *logger) Debugf(f string, a ...any)  {}
func (l *logger) Tracef(f string, a ...any)  {}

func (l *logger) Fatalf(f string, a ...any) {
	text := fmt.Sprintf(f, a...)
	l.log.Error(text)
	select {
	case l.fatal <- text:
	default:
	}
}
