package hub

import _ "unsafe" // for go:linkname

// procStatFile is where the server's package pse looks for what the process uses, each second from the
// start of any program that links it. When it finds no file there, it looks no more.
//
//go:linkname procStatFile github.com/nats-io/nats-server/v2/server/pse.procStatFile
var procStatFile string

// Still ends that, in a process that is no hub: a wake each second, for nobody. It is to be called
// within the first second.
func Still() { procStatFile = "" }
