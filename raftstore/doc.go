// Package raftstore keeps the state of a cluster: commands go into a
// replicated log, every node executes them in log order on its own database
// and tells the results. A command that was answered is on disk, in the log
// and in the state, on this node.
//
// The rules of the domain are not here: they are a Machine. DESIGN.md tells
// what the odd parts are good for.
package raftstore
