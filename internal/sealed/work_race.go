//go:build race

package sealed

// work is less than it is for files that have to be safe: with the race detector, which only tests have, a try would take ten seconds, and a gigabyte.
const work = 12
