// Package federation connects this cluster with others of its kind: offices with a cluster each, whose links may fail for hours. docs/FEDERATION.md is the wire.
//
// What has to reach another cluster is in the replicated state, put there by the very command that made it; what came is a command again. So this package
// holds nothing that could be lost: on the node that leads, it keeps a link to each peer, sends what waits, has what comes checked and executed, and acknowledges what is
// committed. When another node comes to lead, that one does so, from the same rows.
package federation
