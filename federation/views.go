package federation

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Naming is what an operator calls this cluster.
type Naming struct {
	Domain    string   `json:"domain"`
	Office    string   `json:"office"`
	Endpoints []string `json:"endpoints,omitempty"` // none: those of the configuration
}

// About is this cluster as others know it.
type About struct {
	Cluster     string   `json:"cluster"`
	Domain      string   `json:"domain"`
	Office      string   `json:"office"`
	Fingerprint string   `json:"fingerprint"`
	Endpoints   []string `json:"endpoints"`
	Serial      uint64   `json:"serial"`
	Key         string   `json:"key"` // id of the active link key
	Epoch       uint64   `json:"epoch"`
	Restored    bool     `json:"restored,omitempty"` // from a backup, and not said yet that the former cluster is gone

	Keys []KeyView `json:"keys"`
}

// KeyView is a link key of this cluster [FED-ID-3].
type KeyView struct {
	ID      string    `json:"id"`
	Purpose string    `json:"purpose"` // active, next, verify
	Since   time.Time `json:"since"`
}

// PeerView is what this cluster keeps of another one.
type PeerView struct {
	Cluster     string    `json:"cluster"`
	Domain      string    `json:"domain"`
	Office      string    `json:"office"`
	Fingerprint string    `json:"fingerprint"`
	State       string    `json:"state"`
	In          []string  `json:"in"`  // what it may send
	Out         []string  `json:"out"` // what it is sent
	Quota       uint64    `json:"quota"`
	Endpoints   []string  `json:"endpoints"`
	Proxy       string    `json:"proxy,omitempty"`
	DialOnly    bool      `json:"dial_only,omitempty"`
	Serial      uint64    `json:"serial"`
	Since       time.Time `json:"since"`
}

// LaneView is how far one lane is.
type LaneView struct {
	Lane    fed.Lane `json:"lane"`
	Sent    uint64   `json:"sent"`  // sequence of the newest event that waits or went out
	Acked   uint64   `json:"acked"` // up to which the peer has committed
	Waiting uint64   `json:"waiting_bytes"`
	In      uint64   `json:"in"` // up to which the peer's events are committed here
}

// LinkView is how the link with a peer is.
type LinkView struct {
	PeerView
	Up          bool          `json:"up"`
	Via         string        `json:"via,omitempty"`     // quic, tls
	Remote      string        `json:"remote,omitempty"`  // address
	Dialled     bool          `json:"dialled,omitempty"` // by this side
	Error       string        `json:"error,omitempty"`   // why it is down
	Changed     time.Time     `json:"changed"`           // when it last came up or went down
	Depth       uint64        `json:"depth"`             // events not acknowledged
	Bytes       uint64        `json:"bytes"`             // of them
	OldestAge   time.Duration `json:"oldest_age_ns"`     // of them
	RoundTrip   time.Duration `json:"round_trip_ns"`     // 0: unknown
	Skew        time.Duration `json:"skew_ns"`           // of the peer's clock, positive if it is ahead
	Sent        uint64        `json:"events_sent"`       // since this node leads
	Received    uint64        `json:"events_received"`   // since this node leads
	Repeated    uint64        `json:"events_repeated"`   // received again
	Refused     uint64        `json:"events_refused"`    // of the peer's, here
	Deadletters int           `json:"dead_letters"`      // at most 1,000 are counted
	FilesIn     uint64        `json:"file_bytes_in"`     // since this node leads
	FilesOut    uint64        `json:"file_bytes_out"`    // since this node leads
	Lanes       []LaneView    `json:"lanes,omitempty"`
}

// Status is what `teamtalkd federation status` shows.
type Status struct {
	Self   About           `json:"self"`
	Leader protocol.NodeID `json:"leader"`
	Links  []LinkView      `json:"links"`
	Forks  []ForkView      `json:"forks,omitempty"`
}

// ForkView is a group whose hub told different things of it: it is stopped here [FED-SIG-3].
type ForkView struct {
	Peer  string    `json:"peer"`
	Group uint32    `json:"group"` // as this cluster calls it
	Seq   uint64    `json:"hub_seq"`
	Found time.Time `json:"found"`
}

// TraceStep is a place where a message is or was.
type TraceStep struct {
	Peer     string   `json:"peer"`
	Lane     fed.Lane `json:"lane"`
	Sequence uint64   `json:"sequence"`
	State    string   `json:"state"` // waiting, sent (and not acknowledged), acknowledged, given up
}

// TraceView is what is known of one message.
type TraceView struct {
	Event        string      `json:"event"`
	Origin       string      `json:"origin"`       // domain of its author's cluster
	Conversation string      `json:"conversation"` // as Trace takes it
	Message      uint32      `json:"message"`      // its msg_id
	Author       uint32      `json:"author"`
	Time         time.Time   `json:"time"`
	State        string      `json:"state"` // local, received, sent, pending, delayed, delivered, undeliverable
	HubSeq       uint64      `json:"hub_seq,omitempty"`
	Deleted      bool        `json:"deleted,omitempty"`
	Steps        []TraceStep `json:"steps,omitempty"`
}

// Policy changes the rules of a link where a field is not nil.
type Policy struct {
	In, Out  *fed.Allow `json:"-"`
	Quota    *uint64    `json:"quota,omitempty"`
	Proxy    *string    `json:"proxy,omitempty"`
	DialOnly *bool      `json:"dial_only,omitempty"`
}

// allowNames are the names of what may pass, by bit.
func allowNames() []string { return []string{"direct", "groups", "files", "presence", "directory"} }

// AllowNames are the names of what is allowed.
func AllowNames(a fed.Allow) []string {
	names := []string{}
	for i, n := range allowNames() {
		if a.Has(1 << i) {
			names = append(names, n)
		}
	}
	return names
}

// ParseAllow reads such names; "all" is all of them, "none" is nothing. CodeInvalid for others.
func ParseAllow(names []string) (a fed.Allow, err error) {
	for _, n := range names {
		i := slices.Index(allowNames(), n)
		switch {
		case n == "all":
			a |= fed.AllowAll
		case n == "none":
		case i < 0:
			return 0, protocol.Errorf(protocol.CodeInvalid, "%q is nothing that can be allowed: all, none, or some of %s", n, strings.Join(allowNames(), ", "))
		default:
			a |= 1 << i
		}
	}
	return a, nil
}

func peerView(s *fed.PeerStatus) (PeerView, error) {
	mf, err := s.Peer.Manifest.Open()
	if err != nil {
		return PeerView{}, err
	}
	return PeerView{
		Cluster: s.Cluster.String(), Domain: mf.Domain, Office: mf.Office, Fingerprint: fed.FingerprintOf(mf.Root).String(), State: s.Peer.State.String(),
		In: AllowNames(s.Peer.In), Out: AllowNames(s.Peer.Out), Quota: s.Peer.Limit(), Endpoints: mf.Endpoints, Proxy: s.Peer.Proxy, DialOnly: s.Peer.DialOnly,
		Serial: mf.Serial, Since: s.Peer.Since.Std(),
	}, nil
}

func keyName(public [32]byte) string {
	id := fed.KeyIDOf(public[:])
	return hex.EncodeToString(id[:])
}

func purposeName(p fed.Purpose) string {
	switch p {
	case fed.KeyActive:
		return "active"
	case fed.KeyNext:
		return "next"
	case fed.KeyVerify:
		return "verify"
	}
	return "unknown"
}
