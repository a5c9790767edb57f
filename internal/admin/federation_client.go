package admin

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"teamtalk/federation"
)

// FederationNaming is what this cluster is called for others.
type FederationNaming = federation.Naming

// FederationSelf is this cluster as others know it.
type FederationSelf = federation.About

// FederationPeer is what this cluster keeps of another one.
type FederationPeer = federation.PeerView

// FederationLink is how the link with another cluster is.
type FederationLink = federation.LinkView

// FederationStatus is how all links are.
type FederationStatus = federation.Status

// MessageTrace is what is known of a message.
type MessageTrace = federation.TraceView

// KeyRotation asks for the next link key to be used; Now leaves the former one out at once, for it was compromised.
type KeyRotation struct {
	Now bool `json:"now,omitempty"`
}

// NewInvitation asks for a code for another cluster.
type NewInvitation struct {
	For string `json:"for,omitempty"` // a duration such as 24h; 48h if not given
}

// Invitation is a code for another cluster: a secret until it is used. The rest is this cluster's own.
type Invitation struct {
	Code        string    `json:"code"`
	Domain      string    `json:"domain"`
	Cluster     string    `json:"cluster"`
	Fingerprint string    `json:"fingerprint"`
	Endpoints   []string  `json:"endpoints"`
	Expires     time.Time `json:"expires"`
}

// InvitationUse introduces this cluster to the one that made the code, through an HTTP proxy (host:port) unless that is empty.
type InvitationUse struct {
	Code  string `json:"code"`
	Proxy string `json:"proxy,omitempty"`
}

// Introduced answers it: what operators have to compare, and on which side.
type Introduced struct {
	Peer FederationPeer `json:"peer"`
	Self FederationSelf `json:"self"`
}

// Confirmation opens the link with another cluster whose fingerprint was compared, for what is named.
type Confirmation struct {
	Peer        string   `json:"peer"`
	Fingerprint string   `json:"fingerprint"`
	In          []string `json:"in"`  // what it may send: all, none, or some of direct, groups, files, presence, directory
	Out         []string `json:"out"` // what it is sent
}

// PolicyChange changes the rules of a link where a field is not nil.
type PolicyChange struct {
	Peer     string    `json:"peer"`
	In       *[]string `json:"in,omitempty"`
	Out      *[]string `json:"out,omitempty"`
	Quota    *uint64   `json:"quota,omitempty"` // bytes that may wait
	Proxy    *string   `json:"proxy,omitempty"` // host:port; empty: none
	DialOnly *bool     `json:"dial_only,omitempty"`
}

// PeerRequest asks for something to be done about another cluster. Restored, without a peer, says that this cluster was restored from a backup and that
// the one before is gone.
type PeerRequest struct {
	Peer     string `json:"peer,omitempty"`
	Restored bool   `json:"restored,omitempty"`
}

// DeadLetter is an event that was not accepted.
type DeadLetter struct {
	Peer     string    `json:"peer"`
	Inbound  bool      `json:"inbound"` // it came from the peer; else the peer refused it
	Type     string    `json:"type"`
	Event    string    `json:"event"`
	Lane     uint8     `json:"lane"`
	Sequence uint64    `json:"sequence"`
	Code     string    `json:"code"`
	Text     string    `json:"text"`
	Time     time.Time `json:"time"`
}

// DeadLetterList holds the newest ones, the newest first.
type DeadLetterList struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
}

// Federation tells how the links with other clusters are.
func (c *Client) Federation(ctx context.Context) (FederationStatus, error) {
	return ask[FederationStatus](ctx, c, "GET", "federation", nil)
}

// FederationSelf tells what others know of this cluster.
func (c *Client) FederationSelf(ctx context.Context) (FederationSelf, error) {
	return ask[FederationSelf](ctx, c, "GET", "federation/self", nil)
}

// InitFederation makes this cluster one that others can know, or changes what it is called.
func (c *Client) InitFederation(ctx context.Context, n FederationNaming) (FederationSelf, error) {
	return ask[FederationSelf](ctx, c, "POST", "federation/init", n)
}

// RotateKey puts the next link key into use.
func (c *Client) RotateKey(ctx context.Context, now bool) (FederationSelf, error) {
	return ask[FederationSelf](ctx, c, "POST", "federation/rotate", KeyRotation{Now: now})
}

// Invite makes a code that another cluster can introduce itself with, once, within the given time; 0: 48 h.
func (c *Client) Invite(ctx context.Context, life time.Duration) (Invitation, error) {
	n := NewInvitation{}
	if life != 0 {
		n.For = life.String()
	}
	return ask[Invitation](ctx, c, "POST", "federation/invite", n)
}

// AcceptInvitation introduces this cluster to the one that made a code.
func (c *Client) AcceptInvitation(ctx context.Context, u InvitationUse) (Introduced, error) {
	return ask[Introduced](ctx, c, "POST", "federation/accept", u)
}

// ConfirmPeer opens the link with another cluster.
func (c *Client) ConfirmPeer(ctx context.Context, confirmed Confirmation) error {
	return c.call(ctx, "POST", "federation/confirm", confirmed, nil)
}

// SetPolicy changes the rules of a link.
func (c *Client) SetPolicy(ctx context.Context, p PolicyChange) error {
	return c.call(ctx, "POST", "federation/policy", p, nil)
}

// PausePeer stops a link and keeps what waits for it.
func (c *Client) PausePeer(ctx context.Context, peer string) error {
	return c.call(ctx, "POST", "federation/pause", PeerRequest{Peer: peer}, nil)
}

// ResumePeer opens a paused link.
func (c *Client) ResumePeer(ctx context.Context, peer string) error {
	return c.call(ctx, "POST", "federation/resume", PeerRequest{Peer: peer}, nil)
}

// ResumeRestored opens the links of a cluster that was restored from a backup; the one before is gone.
func (c *Client) ResumeRestored(ctx context.Context) error {
	return c.call(ctx, "POST", "federation/resume", PeerRequest{Restored: true}, nil)
}

// RemovePeer ends a link for good.
func (c *Client) RemovePeer(ctx context.Context, peer string) error {
	return c.call(ctx, "POST", "federation/remove", PeerRequest{Peer: peer}, nil)
}

// FindPeople finds people of other clusters that share their directory, 50 at most.
func (c *Client) FindPeople(ctx context.Context, text string, limit int) (UserPage, error) {
	return ask[UserPage](ctx, c, "GET", "federation/people?text="+url.QueryEscape(text)+"&limit="+strconv.Itoa(limit), nil)
}

// TraceMessage tells what is known of a message.
func (c *Client) TraceMessage(ctx context.Context, message string) (MessageTrace, error) {
	return ask[MessageTrace](ctx, c, "GET", "federation/trace?message="+url.QueryEscape(message), nil)
}

// DeadLetters are the newest events from or to another cluster that were not accepted.
func (c *Client) DeadLetters(ctx context.Context, peer string, limit int) (DeadLetterList, error) {
	return ask[DeadLetterList](ctx, c, "GET", "federation/deadletters?peer="+url.QueryEscape(peer)+"&limit="+strconv.Itoa(limit), nil)
}
