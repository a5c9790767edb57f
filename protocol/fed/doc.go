// Package fed has the words of federation: how clusters, their people and groups are named beyond one cluster, what clusters tell each other, and what
// is signed. docs/FEDERATION.md gives the rules. Everything on the wire is deterministic CBOR (RFC 8949, 4.2.1) with small integers for names of fields; signatures cover
// the very bytes that are carried, which are never encoded anew. No I/O.
package fed
