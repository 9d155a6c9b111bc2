// Package journal is an append-only log of small records that survives power loss, kill and
// damaged disks: segment files of checksummed records, written in groups, plus snapshots that let
// old segments go. The core's decisions live in one; so do undelivered alarms.
//
// Callers: one Open at start, then Append and Snapshot from any goroutine. Neither ever waits for
// the disk: they copy into a bounded queue, and one writer goroutine owns every file. A full queue
// refuses the record and counts it (S9: protection beats bookkeeping). Durable and DurableSeq tell
// how far the disk has followed. Close waits for the writer, at most as long as its context.
//
// Failure: a disk that fails, fills up or turns read-only keeps records queued and is tried again
// with back-off for ever, each time in a fresh segment, because the state of a file whose fsync
// failed is unknown. A disk that hangs holds only the writer. What was once reported durable comes
// back at the next Open unless a file was damaged or removed since, and then Recovered says so.
//
// Order of trust: each segment names the last sequence that was durable when it was begun. A
// segment is believed only if all up to there is at hand, from earlier segments or the snapshot,
// so that what Open returns is always a prefix of what was appended. Loss of the newest files, or
// of the whole directory, cannot be seen from within and is not covered.
package journal
