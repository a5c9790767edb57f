// Package blobs keeps what is too large for the log: pictures, voice messages and files, each under the SHA-256 of its content.
//
// What a blob is, who may see it and which nodes have it is in the replicated state; here is its content, and how it gets from one node to another.
//
// # Coming in
//
// A Draft collects bytes in a temporary file and hashes them as they come. Keep syncs it, gives it to the Backend and records it by a command (PutBlob): only
// then it is said to be stored. Whatever fails before leaves nothing behind: the folder of temporary files is emptied at a start, and content without a
// record is removed by the next comparison.
//
// # Going out
//
// Open looks into the Backend, then asks the nodes that are recorded to have the blob, then the cluster that it comes from. What is fetched is handed on as
// it arrives, but for its last byte: that one only once the whole has the right hash. Everybody who opens a missing blob shares one fetch.
//
// # In the background
//
// Run has every blob of this cluster on two nodes, removes what was dropped, compares what is here with what is recorded, and, on the node that leads, has
// dropped what is too old or was never used.
package blobs
