package protocol

// Commands of federation. What they carry of other clusters is in bytes as it was signed; protocol/fed reads it.

// SetIdentity makes this cluster one that others can know, or changes how: {manifest, keys, outbox epoch} as CBOR (fed.Identity).
// After is the serial of the manifest it follows, 0 for the first: a later one meanwhile is a refusal.
type SetIdentity struct {
	Identity []byte `cbor:"1,keyasint"`
	After    uint64 `cbor:"2,keyasint,omitempty"`
}

// AddInvitation keeps the hash of an invitation's secret until it is used or expires.
type AddInvitation struct {
	Hash    [32]byte `cbor:"1,keyasint"`
	Expires Time     `cbor:"2,keyasint"`
}

// SetPeer stores what this cluster keeps of another one (fed.Peer). After is the version of the record it follows, 0 for a new peer. Invitation is
// used up by it, unless zero.
type SetPeer struct {
	Cluster    [16]byte `cbor:"1,keyasint"`
	Peer       []byte   `cbor:"2,keyasint"`
	After      uint32   `cbor:"3,keyasint,omitempty"`
	Invitation [32]byte `cbor:"4,keyasint,omitzero"`
}

// ReceiveEvent has the effect of an event from a peer, once: it is the one after the lane's cursor. Bad is why the node that received it will
// not have it (a wrong signature); then only the cursor moves.
type ReceiveEvent struct {
	Cluster  [16]byte `cbor:"1,keyasint"`
	Epoch    uint64   `cbor:"2,keyasint"`
	Lane     uint8    `cbor:"3,keyasint"`
	Sequence uint64   `cbor:"4,keyasint"`
	Event    []byte   `cbor:"5,keyasint,omitempty"`
	Key      [8]byte  `cbor:"6,keyasint,omitzero"`
	Sig      []byte   `cbor:"7,keyasint,omitempty"` // the origin's, for whoever passes it on
	Bad      *Refusal `cbor:"8,keyasint,omitempty"`
}

// Refusal is why an event is not accepted.
type Refusal struct {
	Sequence uint64 `cbor:"1,keyasint,omitempty"` // where it matters
	Code     Code   `cbor:"2,keyasint"`
	Text     string `cbor:"3,keyasint,omitempty"`
}

// ReceiveResult answers ReceiveEvent.
type ReceiveResult struct {
	Sequence uint64   // the lane's cursor now
	Refused  *Refusal // the event had no effect, and this goes back
	Repeated bool     // at or below the cursor: there was nothing to do
	Gap      *HubGap  // the event is a place of a group that does not follow: what is missing is to be asked for. Nothing is lost: the hub has it
}

// HubGap is what is missing of a group of another cluster: places that were ordered, and are not here [FED-SIG-3].
type HubGap struct {
	Cluster  [16]byte // the hub
	Group    GroupID  // its number there
	From, To uint64   // hub_seqs, inclusive
}

// ReceiveHistory has the effect of an event that a peer sent because it was asked for what is missing (GetRange): one command for each event of a page, in its
// order. It is idempotent. Besides events of the peer's, it takes this cluster's own of before it was restored: their signature is this cluster's.
// The receiving node has checked the signature, against the origin's keys.
type ReceiveHistory struct {
	Cluster [16]byte `cbor:"1,keyasint"` // whose answer it is
	Event   []byte   `cbor:"2,keyasint,omitempty"`
	Key     [8]byte  `cbor:"3,keyasint,omitzero"`
	Sig     []byte   `cbor:"4,keyasint,omitempty"`
	// Done, without an event, says that all which the hub had to give of its group Group up to that place was handed in: it is not asked for again.
	Done  uint64  `cbor:"5,keyasint,omitempty"`
	Group GroupID `cbor:"6,keyasint,omitempty"`
}

// ReceiveHistoryResult answers ReceiveHistory.
type ReceiveHistoryResult struct {
	Taken bool // it was new here; else it was known, or has nothing to say any more
}

// AckEvents notes what a peer has committed of a lane, and what of it it refused.
type AckEvents struct {
	Cluster  [16]byte  `cbor:"1,keyasint"`
	Epoch    uint64    `cbor:"2,keyasint"`
	Lane     uint8     `cbor:"3,keyasint"`
	Sequence uint64    `cbor:"4,keyasint"`
	Refused  []Refusal `cbor:"5,keyasint,omitempty"`
}

// SweepFederation does what is due by its time, a bounded number of things: late messages are told, those too old given up, rows kept long enough dropped.
type SweepFederation struct{}

// SweepResult answers SweepFederation.
type SweepResult struct {
	Next Time // when there is more to do; 0: nothing is waiting
}

// AddAlias gives somebody of another cluster a place in this one's directory: somebody was found and is to be written to.
type AddAlias struct {
	Cluster [16]byte `cbor:"1,keyasint"`
	User    uint32   `cbor:"2,keyasint"`
	Profile []byte   `cbor:"3,keyasint"` // fed.Profile
}

// AddAliasResult answers AddAlias.
type AddAliasResult struct {
	User UserID
}
