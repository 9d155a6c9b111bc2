package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
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
	if !parse(fs, rest, &words) || len(words) != 1 || d.Reads < 1 || d.Reads > 10000 || d.Timeout <= 0 {
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
	if d.Profile != nil {
		fmt.Fprintf(stdout, "whether the unit is a %s, firebreak scan says\n", *name)
	}
	return 0
}

const busHow = "bus set-address TARGET --profile NAME --from N --to M | record TARGET --unit N --profile NAME -o FILE | replay FILE --profile NAME"

// busCmd has what changes a bus or keeps what went over it.
func busCmd(args []string, in io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		return wrongUse(stderr, busHow)
	}
	ctx, stop := signals()
	defer stop()
	switch args[0] {
	case "set-address":
		return setAddress(ctx, args[1:], in, stdout, stderr)
	case "record":
		return recordBus(ctx, args[1:], stdout, stderr)
	case "replay":
		return replayBus(args[1:], stdout, stderr)
	}
	return wrongUse(stderr, busHow)
}

func setAddress(ctx context.Context, args []string, in io.Reader, stdout, stderr io.Writer) int {
	fs, words, rest, lib := toolFlags("bus set-address", args, stderr)
	var u unitFlags
	u.add(fs)
	name := fs.String("profile", "", "`NAME` of the unit's profile")
	from := fs.Uint("from", 0, "the unit's `NUMBER` now")
	to := fs.Uint("to", 0, "the `NUMBER` that it gets")
	others := fs.String("others", "1-247", "`LIST` of numbers to ask whether a second unit is there")
	a := tools.SetAddress{}
	fs.DurationVar(&a.Timeout, "timeout", 150*time.Millisecond, "until a number counts as free, time on the wire apart")
	fs.DurationVar(&a.Settle, "settle", 5*time.Second, "until the unit answers under its new number")
	if !parse(fs, rest, &words) || len(words) != 1 || *name == "" || *from > 255 || *to > 255 {
		return wrongUse(stderr, busHow)
	}
	var err error
	if a.Target, err = u.target(words[0]); err == nil {
		a.Profile, err = modbusProfile(*lib, *name)
	}
	if err == nil {
		a.Others, err = tools.ParseUnits(*others)
	}
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	a.From, a.To = byte(*from), byte(*to)
	a.Confirm = func(question string) bool {
		fmt.Fprint(stdout, question)
		line, _ := bufio.NewReader(in).ReadString('\n') // nothing, or an end, confirms nothing
		return strings.TrimSpace(line) == fmt.Sprint(a.To)
	}
	return told(a.Run(ctx, stdout), stderr)
}

func recordBus(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs, words, rest, lib := toolFlags("bus record", args, stderr)
	var u unitFlags
	u.add(fs)
	name := fs.String("profile", "", "`NAME` of the unit's profile: says what to read")
	r := tools.Recorder{}
	fs.DurationVar(&r.Every, "every", time.Second, "pause from one poll to the next")
	fs.DurationVar(&r.For, "for", time.Minute, "how long")
	file := fs.String("o", "", "`FILE` to write; one that is there is kept")
	if !parse(fs, rest, &words) || len(words) != 1 || *name == "" || *file == "" || r.Every < 10*time.Millisecond {
		return wrongUse(stderr, busHow)
	}
	var err error
	if r.Target, err = u.target(words[0]); err == nil {
		r.Profile, err = modbusProfile(*lib, *name)
	}
	var f *os.File
	if err == nil {
		f, err = os.OpenFile(*file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	}
	if err != nil {
		fmt.Fprintf(stderr, "firebreak: %v\n", err)
		return 2
	}
	r.Unit = byte(u.unit)
	err = r.Run(ctx, f, stdout)
	return told(errors.Join(err, f.Close()), stderr)
}

// readSession reads a file of bus record.
func readSession(file string) ([]tools.Frame, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return tools.ReadSession(file, f)
}

func replayBus(args []string, stdout, stderr io.Writer) int {
	fs, words, rest, lib := toolFlags("bus replay", args, stderr)
	name := fs.String("profile", "", "`NAME` of the profile to decode by")
	if !parse(fs, rest, &words) || len(words) != 1 || *name == "" {
		return wrongUse(stderr, busHow)
	}
	p, err := modbusProfile(*lib, *name)
	if err != nil {
		return told(err, stderr)
	}
	frames, err := readSession(words[0])
	if err == nil {
		err = tools.Replay(stdout, p, frames)
	}
	return told(err, stderr)
}
