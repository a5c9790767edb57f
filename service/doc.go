// Package service knows the rules of TeamTalk: who may log in, write, read and change what, and within which limits.
// There is one type per command family. What has to hold under concurrency is decided by the replicated state machine;
// here is refused early what can be, so that it costs no log entry, and what only concerns reading.
//
// Every error is a *protocol.Error or wraps one; its code tells the caller what to answer. Nothing is both logged and
// returned.
package service
