// Package rpc carries calls from one node to another over one connection.
//
// A connection belongs to a lane and goes one way: whoever dialled calls, the other side answers. It begins with a hello of both
// sides; then come frames:
//
//	length  4 bytes, big endian, of what follows
//	kind    1 byte
//	id      8 bytes, chosen by the caller, or the number of a ping
//	call:   method 1, milliseconds the caller still waits 4 (0: no limit), payload
//	send:   method 1, payload: a call whose answer nobody waits for; its reply is empty
//	reply:  payload
//	failed: code 1, flags 1, message
//	ping, pong: nothing
//	cancel: nothing; the caller of that call waits no more (from node protocol 2 on). It is answered all the same
//
// Calls are handed to the handler in the order they were started; the next one when the one before has returned or has said by
// Accepted that its place is taken. Answers come in any order. Each call ends exactly once: with the answer, or with an error that
// says whether the call may have been carried out.
//
// How much is under way is bounded by slots: a call takes one for each 16 KiB, and whoever gets none waits. So neither side ever
// has more to keep than was agreed in the hello, and nothing has to be dropped.
//
// A caller pings, and gives a connection up that has been silent for several pings: no TCP knows in time of a host that is gone.
package rpc
