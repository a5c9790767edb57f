package protocol

// NodeID names a node of a cluster for ever: a node that lost its log or state must not come back under the same name.
type NodeID string
