package main

import (
	"context"
	"io"
	"os"

	"firebreak/agent/tools"
)

// simulate serves a profile as a device.
func simulate(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signals()
	defer stop()
	return serveSim(ctx, args, os.Stdin, stdout, stderr, nil)
}

func serveSim(ctx context.Context, args []string, in io.Reader, stdout, stderr io.Writer, ready func(string)) int {
	fs, words, rest, lib := toolFlags("sim", args, stderr)
	unit := fs.Uint("unit", 1, "unit `NUMBER`, 0 to 255")
	listen := fs.String("listen", "127.0.0.1:1502", "`HOST:PORT` to answer on")
	onLine := fs.Bool("line", false, "answer on a pseudo-terminal, as a serial line")
	ascii := fs.Bool("ascii", false, "with --line: Modbus ASCII instead of RTU")
	session := fs.String("session", "", "`FILE` of firebreak bus record: shown poll by poll, over and over")
	speed := fs.Float64("speed", 1, "of a session")
	var sets []string
	fs.Func("set", "`POINT=VALUE` at the start; may be given again", func(s string) error { sets = append(sets, s); return nil })
	if !parse(fs, rest, &words) || len(words) != 1 || *unit > 255 {
		return wrongUse(stderr, "sim PROFILE [--unit 1] [--listen 127.0.0.1:1502 | --line [--ascii]] [--set POINT=VALUE]")
	}
	p, err := modbusProfile(*lib, words[0])
	if err != nil {
		return told(err, stderr)
	}
	d, err := tools.NewDevice(p)
	for _, s := range sets {
		if err == nil {
			err = d.Set(s)
		}
	}
	if err != nil {
		return told(err, stderr)
	}
	s := tools.Sim{Device: d, Unit: byte(*unit), Listen: *listen, Speed: *speed}
	if *onLine || *ascii {
		s.Listen, s.ASCII = "", *ascii
	}
	if *session != "" {
		if s.Session, err = readSession(*session); err != nil {
			return told(err, stderr)
		}
	}
	return told(s.Run(ctx, typedLines(ctx, in), stdout, ready), stderr)
}
