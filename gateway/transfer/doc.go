// Package transfer carries files from user to user: the file_server of old, on its port and on streams beside a session, and over HTTP.
//
// An offer (0x0506 on the chat port) makes a task, which lives in the memory of this node until its file is carried or given up. Both sides name it when
// they connect: that is all they have to know, so its id is 122 random bits.
//
// Online, the receiver pulls and the sender answers; what is between them is bounded by what was pulled, so a receiver that takes nothing costs a task one
// block, and nobody else anything. Offline, the file becomes a blob and a row of the replicated state, and from then on any node has it.
//
// A connection is read by the goroutine that serves it, which never waits for another connection, and written by a second one, which lives as long.
package transfer
