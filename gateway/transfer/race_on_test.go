//go:build race

package transfer

// usualSize is that of the file of TestLarge, in bytes.
const usualSize = 32 << 20
