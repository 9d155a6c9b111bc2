package main

import (
	"fmt"
	"io"
	"time"

	"firebreak/agent/tools"
)

// doctor looks for what is wrong with a bus.
func doctor(args []string, stdout, stderr io.Writer) int {
	const how = "doctor bus TARGET --unit N [--profile NAME] [--reads 20] [--listen 3s]"
	if len(args) == 0 || args[0] != "bus" {
		return wrongUse(stderr, how)
	}
	fs, words, rest, lib := toolFlags("doctor bus", args[1:], stderr)
	var u unitFlags
	u.add(fs)
	name := fs.String("profile", "", "`NAME` of the unit's profile: says what to read")
	d := tools.Doctor{}
	fs.IntVar(&d.Reads, "reads", 20, "reads of each size")
	fs.DurationVar(&d.Listen, "listen", 3*time.Second, "on a line: how long to listen before anything is sent")
	fs.DurationVar(&d.Timeout, "timeout", time.Second, "for a reply")
	if fs.Parse(rest) != nil || fs.NArg() > 0 || len(words) != 1 || d.Reads < 1 || d.Reads > 10000 || d.Timeout <= 0 {
		return wrongUse(stderr, how)
	}
	var err error
	if d.Target, err = u.target(words[0]); err == nil && *name != "" {
		d.Profile, err = modbusProfile(*lib, *name)
	}
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	d.Unit = byte(u.unit)
	ctx, stop := signals()
	defer stop()
	found, err := d.Run(ctx, stdout)
	for _, f := range found {
		fmt.Fprintf(stdout, "FAULT: %s\n  what to do: %s\n", f.What, f.Do)
	}
	switch {
	case err != nil:
		return told(err, stderr)
	case len(found) > 0:
		return 1
	}
	fmt.Fprintln(stdout, "nothing is wrong that reads can show")
	return 0
}
