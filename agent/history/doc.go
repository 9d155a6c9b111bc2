// Package history is the one bounded log of what was read and told: every poll at its full rate, every
// state of an alarm or a plan, every event, for whoever asks after an incident what was known when.
//
// It is a publisher. Offer copies a pointer into a bounded queue and never waits; one writer
// goroutine owns the files and groups what waits into one write and one fsync: a second after a
// poll, 200 ms after an alarm, plan or event, so that the journal's own fsync of the same decision
// goes first. A full queue drops the oldest polls, then the oldest of the rest, counts them, and says
// so in the log itself.
//
// The log is a ring of segments on the journal's interface of files: bounded in bytes and in age, the
// oldest go first. What belongs to an episode, from 10 minutes before its start, goes after all
// else and does not age until the episode has ended; its opening goes last. The bound in bytes wins
// over everything. The journal's own segments are not used: they are read into memory whole at a
// start, synced record by record, and end at the first damage, which is right for decisions that
// build on each other, and wrong for readings.
//
// Failure: a full, read-only, slow or dead disk costs the history only; it is tried again with a
// growing pause, in a new segment each time, counted in Stats and told once in the log. Readers
// need no lock, may read while the writer goes on, and pass over what is torn or flipped, counting it.
package history
