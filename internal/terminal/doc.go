// Package terminal is what the terminal client does between its flags and the SDK: the profile on disk, sessions out of it, names to ids
// and back, and events as lines.
package terminal
