//go:build race

package exec

// raceSlack widens bounds of time: with the race detector the shim is many times as slow.
const raceSlack = 10
