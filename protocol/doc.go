// Package protocol holds the words of TeamTalk: typed ids, error codes, the
// records that people chat with, the commands that go through the replicated
// log and the events that come out of it. It does no I/O and imports only the
// standard library, so that every other package can share it.
//
// The cbor struct tags number the fields of what is stored. A number, once
// released, keeps its meaning for ever: fields are added, never renumbered.
package protocol
