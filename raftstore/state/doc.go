// Package state is the replicated state of a cluster: users, departments,
// groups, conversations, read positions, devices and waiting files, kept in
// one bbolt database. Commands change it, deterministically and in log order;
// queries read it, each in one read transaction.
//
// Store puts it together with the engine of package raftstore. DESIGN.md
// tells how the rows are laid out and why.
package state
