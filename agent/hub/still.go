package hub

import (
	"sync/atomic"
	_ "unsafe" // for go:linkname
)

// procStat is the header of the string that names the file which nats-server's package pse reads each second from
// the start of any process that it is linked into.
//
//go:linkname procStat github.com/nats-io/nats-server/v2/server/pse.procStatFile
var procStat struct {
	text *byte
	size atomic.Uintptr
}

// Still ends that, in a process that is no hub: a wake and six system calls each second, a twentieth of what an agent
// costs. With an empty name its next reading fails, and it gives up. Such a process has no figures of its own use
// of the processor from pse.
func Still() { procStat.size.Store(0) }
