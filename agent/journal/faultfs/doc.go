// Package faultfs is an in-memory journal.FS with the failures of real disks, for tests: power
// loss with torn, reordered and lost writes, failed fsyncs that forget, a full or read-only disk,
// calls that hang, flipped bits.
//
// Concurrency: all methods may be called from any goroutine. Failure: only what the test asked
// for. Model: a file has its content as the kernel shows it and as the disk holds it, apart in
// sectors of 512 bytes; fsync copies the changed sectors, a failed fsync forgets that they have
// changed. Names live in a directory with the same two sides. Crash shows what the disk holds,
// with any part of what was under way. Durable sectors are never lost.
package faultfs
