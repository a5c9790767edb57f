// Package cluster decides who is in a cluster and shows how it is: it lets nodes join, gives a vote to those that have caught up, takes
// out those that are gone, and carries out what operators ask for, on whichever node they ask.
//
// Only the leader changes the membership. Another node passes requests on to it, once: whoever is asked by a node and does not lead says
// so. What is the store's, the mesh's and the gateway's comes in by the small interfaces of Config and Start.
//
// # Rules
//
//   - A node id is never used twice: ids are random, and a node that was removed has to join anew.
//   - A join token is used once. The leader remembers it and tells the members, each of which remembers it too; and the node's id shows it,
//     so it is forgotten only when its node was removed again and all of them restart within the token's life.
//   - A non-voter gets its vote when it has stayed close to the commit index for a while; one at a time, up to MaxVoters.
//   - Nobody is removed if those that answer now are not a majority of the voters that are left, unless an operator insists.
//   - A node that was removed is refused at the node port and cut off. One that this node has not read of is not: this node may be behind.
//
// # Calls between nodes
//
// Calls go over the control lane and are CBOR maps with the version of the writer and the oldest one that can read it; unknown fields
// are skipped. A method that a node does not know is CodeInvalid there, and the caller goes on without its answer.
package cluster
