package admin

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"teamtalk/federation"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Federation is what the API needs to know about other clusters. Whatever node is asked, the right one does it.
type Federation interface {
	OwnCluster
	OtherClusters
	FederationReports
}

// OwnCluster is what others know of this cluster.
type OwnCluster interface {
	Init(ctx context.Context, n federation.Naming) error
	Self() (federation.About, error)
	RotateKey(ctx context.Context, now bool) error
	Invite(ctx context.Context, life time.Duration) (fed.Invitation, error)
}

// OtherClusters are those that this one has to do with; each is named by its domain, its id or the beginning of that.
type OtherClusters interface {
	AcceptInvitation(ctx context.Context, code, proxy string) (federation.PeerView, error)
	Confirm(ctx context.Context, peer, fingerprint string, in, out fed.Allow) error
	SetPolicy(ctx context.Context, peer string, p federation.Policy) error
	Pause(ctx context.Context, peer string) error
	Resume(ctx context.Context, peer string, restored bool) error
	Remove(ctx context.Context, peer string) error
}

// FederationReports tell how the links are, what became of messages, and who is elsewhere.
type FederationReports interface {
	// Search finds people of other clusters that share their directory; those found are in this one's from then on.
	Search(ctx context.Context, me protocol.UserID, text string, limit int) ([]protocol.User, error)
	Status(ctx context.Context) (federation.Status, error)
	Trace(ctx context.Context, message string) (federation.TraceView, error)
	DeadLetters(ctx context.Context, peer string, limit int) ([]fed.DeadLetter, error)
}

// dialTime is how long an introduction to another cluster may take: it is sought at several endpoints, over one or two transports.
const dialTime = time.Minute

// federationHandlers are the requests about other clusters.
func (s *server) federationHandlers() map[string]handler {
	if s.federation == nil {
		return nil
	}
	return map[string]handler{
		"GET /api/v1/federation":             s.federationStatus,
		"GET /api/v1/federation/self":        s.federationSelf,
		"GET /api/v1/federation/people":      s.findPeople,
		"GET /api/v1/federation/trace":       s.traceMessage,
		"GET /api/v1/federation/deadletters": s.deadLetters,
		"POST /api/v1/federation/init":       s.initFederation,
		"POST /api/v1/federation/rotate":     s.rotateKey,
		"POST /api/v1/federation/invite":     s.invite,
		"POST /api/v1/federation/accept":     s.acceptInvitation,
		"POST /api/v1/federation/confirm":    s.confirmPeer,
		"POST /api/v1/federation/policy":     s.setPolicy,
		"POST /api/v1/federation/pause":      s.pausePeer,
		"POST /api/v1/federation/resume":     s.resumePeer,
		"POST /api/v1/federation/remove":     s.removePeer,
	}
}

func (s *server) federationStatus(ctx context.Context, _ *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	return s.federation.Status(ctx)
}

func (s *server) federationSelf(context.Context, *http.Request) (any, error) {
	return s.federation.Self()
}

func (s *server) traceMessage(ctx context.Context, r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	return s.federation.Trace(ctx, r.URL.Query().Get("message"))
}

func (s *server) findPeople(ctx context.Context, r *http.Request) (any, error) {
	limit, err := limitOf(r, defaultFound, maxFound)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	found, err := s.federation.Search(ctx, 0, r.URL.Query().Get("text"), limit)
	if err != nil && len(found) == 0 { // otherwise some have not answered, and that is all
		return nil, err
	}
	list := UserPage{Users: make([]User, len(found))}
	for i, u := range found {
		list.Users[i] = userOf(u)
	}
	return list, nil
}

const (
	defaultFound, maxFound     = 20, 50
	defaultLetters, maxLetters = 100, 1000
)

// limitOf reads how many are asked for.
func limitOf(r *http.Request, usual, most int) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, protocol.Errorf(protocol.CodeInvalid, "limit=%q is not a number from 1 to %d", text, most)
	}
	return n, nil
}

func (s *server) deadLetters(ctx context.Context, r *http.Request) (any, error) {
	limit, err := limitOf(r, defaultLetters, maxLetters)
	if err != nil {
		return nil, err
	}
	all, err := s.federation.DeadLetters(ctx, r.URL.Query().Get("peer"), limit)
	if err != nil {
		return nil, err
	}
	list := DeadLetterList{DeadLetters: make([]DeadLetter, len(all))}
	for i, l := range all {
		list.DeadLetters[i] = DeadLetter{Peer: l.Peer.String(), Inbound: l.Inbound, Type: l.Type.String(), Event: l.ID.String(), Lane: uint8(l.Lane), Sequence: l.Sequence,
			Code: l.Code.String(), Text: l.Text, Time: l.Time.Std()}
	}
	return list, nil
}

func (s *server) initFederation(ctx context.Context, r *http.Request) (any, error) {
	var n FederationNaming
	if err := readJSON(r, &n); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	if err := s.federation.Init(ctx, n); err != nil {
		return nil, err
	}
	s.log.Info("federation changed by operator", "change", "init", "domain", n.Domain, "office", n.Office, "endpoints", n.Endpoints)
	return s.federation.Self()
}

func (s *server) rotateKey(ctx context.Context, r *http.Request) (any, error) {
	var k KeyRotation
	if err := readJSON(r, &k); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	if err := s.federation.RotateKey(ctx, k.Now); err != nil {
		return nil, err
	}
	s.log.Info("federation changed by operator", "change", "rotate", "now", k.Now)
	return s.federation.Self()
}

func (s *server) invite(ctx context.Context, r *http.Request) (any, error) {
	var n NewInvitation
	if err := readJSON(r, &n); err != nil {
		return nil, err
	}
	life, err := lifeOf(n.For)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	i, err := s.federation.Invite(ctx, life)
	if err != nil {
		return nil, err
	}
	s.log.Info("invitation of another cluster handed to an operator", "expires", i.Expires.Std())
	return Invitation{Code: i.Code(), Domain: i.Domain, Cluster: i.Cluster.String(), Fingerprint: i.Root.String(), Endpoints: i.Endpoints, Expires: i.Expires.Std()}, nil
}

// lifeOf reads a duration; none is 0.
func lifeOf(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	life, err := time.ParseDuration(text)
	if err != nil || life <= 0 {
		return 0, protocol.Errorf(protocol.CodeInvalid, "%q is not a duration such as 1h or 30m", text)
	}
	return life, nil
}

func (s *server) acceptInvitation(ctx context.Context, r *http.Request) (any, error) {
	var a InvitationUse
	if err := readJSON(r, &a); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	peer, err := s.federation.AcceptInvitation(ctx, a.Code, a.Proxy)
	if err != nil {
		return nil, err
	}
	self, err := s.federation.Self()
	if err != nil {
		return nil, err
	}
	s.log.Info("federation changed by operator", "change", "accept", "peer", peer.Domain, "cluster", peer.Cluster)
	return Introduced{Peer: peer, Self: self}, nil
}

// peerChange carries out a request about another cluster, in limited time.
func peerChange[T any](ctx context.Context, s *server, r *http.Request, what string, peer func(T) string, do func(context.Context, T) error) error {
	var body T
	if err := readJSON(r, &body); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	if err := do(ctx, body); err != nil {
		return err
	}
	s.log.Info("federation changed by operator", "change", what, "peer", peer(body))
	return nil
}

func (s *server) confirmPeer(ctx context.Context, r *http.Request) (any, error) {
	return nil, peerChange(ctx, s, r, "confirm", func(c Confirmation) string { return c.Peer }, func(ctx context.Context, c Confirmation) error {
		in, err := federation.ParseAllow(c.In)
		if err != nil {
			return err
		}
		out, err := federation.ParseAllow(c.Out)
		if err != nil {
			return err
		}
		return s.federation.Confirm(ctx, c.Peer, c.Fingerprint, in, out)
	})
}

func (s *server) setPolicy(ctx context.Context, r *http.Request) (any, error) {
	return nil, peerChange(ctx, s, r, "policy", func(p PolicyChange) string { return p.Peer }, func(ctx context.Context, p PolicyChange) error {
		policy := federation.Policy{Quota: p.Quota, Proxy: p.Proxy, DialOnly: p.DialOnly}
		for _, d := range []struct {
			names *[]string
			to    **fed.Allow
		}{{p.In, &policy.In}, {p.Out, &policy.Out}} {
			if d.names == nil {
				continue
			}
			allow, err := federation.ParseAllow(*d.names)
			if err != nil {
				return err
			}
			*d.to = &allow
		}
		return s.federation.SetPolicy(ctx, p.Peer, policy)
	})
}

// onPeer is a request about one other cluster that says no more than which.
func (s *server) onPeer(ctx context.Context, r *http.Request, what string, do func(context.Context, PeerRequest) error) error {
	return peerChange(ctx, s, r, what, func(p PeerRequest) string { return p.Peer }, func(ctx context.Context, p PeerRequest) error {
		if p.Peer == "" && !p.Restored {
			return protocol.Errorf(protocol.CodeInvalid, "no office was named: say its domain or its id")
		}
		return do(ctx, p)
	})
}

func (s *server) pausePeer(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.onPeer(ctx, r, "pause", func(ctx context.Context, p PeerRequest) error { return s.federation.Pause(ctx, p.Peer) })
}

func (s *server) resumePeer(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.onPeer(ctx, r, "resume", func(ctx context.Context, p PeerRequest) error {
		return s.federation.Resume(ctx, p.Peer, p.Restored)
	})
}

func (s *server) removePeer(ctx context.Context, r *http.Request) (any, error) {
	return nil, s.onPeer(ctx, r, "remove", func(ctx context.Context, p PeerRequest) error { return s.federation.Remove(ctx, p.Peer) })
}
