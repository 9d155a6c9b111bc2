//go:build !race

package exec

const raceSlack = 1
