//go:build !race

package sealed

// work is the logarithm of what one try of a passphrase costs: about a second, and 256 MiB of memory.
const work = 18
