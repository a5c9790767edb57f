// Package peers is all that goes between the nodes of a cluster, raft's own calls included: one TCP port, TLS 1.3 with certificates on
// both sides, and what is spoken behind them.
//
// # The port
//
// What a connection is for is agreed in the TLS handshake (ALPN):
//
//	teamtalk-raft/1   a stream for raft's transport: RaftLayer
//	teamtalk-node/1   calls from one node to another, a connection per lane: Mesh, package rpc
//	teamtalk-blob/1   a stream for the content of a picture or file: BlobListener, DialBlob
//	teamtalk-join/1   somebody who has a token and wants to be a node: Join and ServeJoin; the only one without a client certificate
//
// Who is there is decided by package authority alone: a certificate of this cluster's authority, good at this time, of a node
// that was not removed. Everybody else is refused, counted by reason, and logged with where they come from; the log is limited, for
// ports that are open to the world get scanned.
//
// After the handshake the side that accepted says one byte: go ahead, or why not. In TLS 1.3 the side that dials would otherwise take
// itself for connected before the other one has seen its certificate.
//
// Handshakes have a time limit and a number at once; when more come, the oldest unfinished one has to go, so that a crowd of slow
// strangers keeps no node out.
//
// # The mesh
//
// To every node that Resolve names, a keeper holds two lanes open: control and signal. A link is up when both are; when one breaks, or three
// pings in a row stay unanswered, the link is down, both lanes are closed and dialled anew. So between a link's up and its down nothing
// that was sent over its signal lane has been lost, but for what Broadcast dropped and counted. The propose lane is
// dialled when it is used.
//
// What a call's failure means is in its error: protocol.IsOutcomeUnknown.
package peers
