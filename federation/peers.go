package federation

import (
	"context"
	"crypto/rand"
	"slices"
	"strings"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

const (
	inviteFor   = 48 * time.Hour // by default
	inviteMost  = 30 * 24 * time.Hour
	inviteLeast = time.Minute
	leastPrefix = 8 // digits of an id that name a peer
)

// Invite makes a code for another cluster, good once and for life (0: 48 hours) [FED-ON-3].
func (m *Manager) Invite(ctx context.Context, life time.Duration) (fed.Invitation, error) {
	_, mf, err := m.working()
	if err != nil {
		return fed.Invitation{}, err
	}
	if life == 0 {
		life = inviteFor
	}
	switch {
	case life < inviteLeast || life > inviteMost:
		return fed.Invitation{}, protocol.Errorf(protocol.CodeInvalid, "an invitation for %v: %v to %v", life, inviteLeast, inviteMost)
	case len(mf.Endpoints) == 0:
		return fed.Invitation{}, protocol.Errorf(protocol.CodeInvalid,
			"nothing says where others reach this cluster: set federation.endpoints, or `teamtalkd federation init --endpoint host:port`; or have the other office invite this one")
	}
	inv := fed.Invitation{Cluster: mf.Cluster, Root: fed.FingerprintOf(mf.Root), Endpoints: mf.Endpoints, Domain: mf.Domain, Expires: protocol.TimeOf(time.Now().Add(life))}
	_, _ = rand.Read(inv.Secret[:])
	_, err = m.cfg.State.Execute(ctx, &protocol.AddInvitation{Hash: inv.SecretHash(), Expires: inv.Expires})
	return inv, err
}

// AcceptInvitation introduces this cluster to the one that made the code, through an HTTP proxy (host:port) unless that is empty. Both still have to confirm.
func (m *Manager) AcceptInvitation(ctx context.Context, code, proxy string) (PeerView, error) {
	inv, err := fed.ParseInvitation(code)
	if err != nil {
		return PeerView{}, err
	}
	_, own, err := m.working()
	if err != nil {
		return PeerView{}, err
	}
	switch late := time.Since(inv.Expires.Std()); {
	case inv.Cluster == own.Cluster:
		return PeerView{}, protocol.Errorf(protocol.CodeInvalid, "this invitation is of this very cluster: it is for the other office")
	case late > 0:
		return PeerView{}, protocol.Errorf(protocol.CodeInvalid, "the invitation expired %v ago (or the clocks differ): ask for another one", late.Round(time.Second))
	}
	if proxy != "" {
		if err := checkAddress("proxy", proxy); err != nil {
			return PeerView{}, err
		}
	}
	known, err := m.peerByID(inv.Cluster)
	if err != nil {
		return PeerView{}, err
	}
	if known != nil && known.Peer.Linked() {
		return PeerView{}, protocol.Errorf(protocol.CodeInvalid, "there is a link with that cluster already, which is %v: the invitation is not needed", known.Peer.State)
	}
	signed, err := m.introduce(ctx, inv, proxy)
	if err != nil {
		return PeerView{}, err
	}
	mf, err := signed.Open()
	if err != nil {
		return PeerView{}, err
	}
	if mf.Cluster != inv.Cluster || fed.FingerprintOf(mf.Root) != inv.Root {
		return PeerView{}, protocol.Errorf(protocol.CodeForbidden, "whoever answered is not the cluster that made the invitation: its fingerprint is another one")
	}
	if err := m.freeDomain(mf.Domain, mf.Cluster); err != nil {
		return PeerView{}, err
	}
	return m.keepIntroduced(ctx, mf.Cluster, signed, proxy)
}

// keepIntroduced stores a peer that has answered, unless there is a link meanwhile.
func (m *Manager) keepIntroduced(ctx context.Context, c fed.ClusterID, signed fed.SignedManifest, proxy string) (PeerView, error) {
	var err error
	for range attempts {
		known, readErr := m.peerByID(c)
		if readErr != nil {
			return PeerView{}, readErr
		}
		p := fed.Peer{}
		if known != nil {
			p = known.Peer
		}
		if !p.Linked() {
			p.State, p.In, p.Out = fed.PeerIntroduced, 0, 0
		}
		was := p.Version
		p.Manifest, p.Proxy = signed, proxy
		if _, err = m.cfg.State.Execute(ctx, &protocol.SetPeer{Cluster: c, Peer: encodeRecord(p), After: was}); err == nil {
			break
		}
		if now, readErr := m.peerByID(c); readErr != nil || versionOf(now) == was {
			return PeerView{}, err
		}
	}
	if err != nil {
		return PeerView{}, err
	}
	s, err := m.peerNamed(c.String())
	if err != nil {
		return PeerView{}, err
	}
	return peerView(&s)
}

func versionOf(s *fed.PeerStatus) uint32 {
	if s == nil {
		return 0
	}
	return s.Peer.Version
}

// Confirm opens the link with a peer whose fingerprint an operator has compared with what the other side says of itself [FED-ON-1].
func (m *Manager) Confirm(ctx context.Context, peer, fingerprint string, in, out fed.Allow) error {
	if _, _, err := m.working(); err != nil {
		return err
	}
	if err := checkAllow(in | out); err != nil {
		return err
	}
	if in|out == 0 {
		return protocol.Errorf(protocol.CodeInvalid, "nothing would be allowed: say what may pass, of %s", strings.Join(AllowNames(fed.AllowAll), ", "))
	}
	return m.editPeer(ctx, peer, func(mf *fed.Manifest, p *fed.Peer) error {
		if err := invited(mf, p); err != nil {
			return err
		}
		if !fed.FingerprintOf(mf.Root).Matches(fingerprint) {
			return protocol.Errorf(protocol.CodeForbidden, "this is not the fingerprint that this side has of %s. Ask an operator there, by telephone or in person, what `teamtalkd federation show` prints there as its own fingerprint, "+
				"and compare with what `teamtalkd federation show %s` prints here. If they differ, somebody is between the two: `teamtalkd federation remove %s` on both sides, and begin again on another network", mf.Domain, mf.Domain, mf.Domain)
		}
		if err := m.freeDomain(mf.Domain, mf.Cluster); err != nil {
			return err
		}
		p.State, p.In, p.Out = fed.PeerConfirmed, in, out
		return nil
	})
}

// invited refuses a peer with which there never was an invitation, or none any more.
func invited(mf *fed.Manifest, p *fed.Peer) error {
	switch p.State {
	case fed.PeerKnown:
		return protocol.Errorf(protocol.CodeInvalid, "%s is only known because its people are in groups of others: an invitation comes first", mf.Domain)
	case fed.PeerRemoved:
		return protocol.Errorf(protocol.CodeInvalid, "the link with %s was removed: a new invitation comes first", mf.Domain)
	default:
	}
	return nil
}

func checkAllow(a fed.Allow) error {
	if a&^fed.AllowAll != 0 {
		return protocol.Errorf(protocol.CodeInvalid, "unknown kinds of traffic %#x", uint8(a&^fed.AllowAll))
	}
	return nil
}

// SetPolicy changes the rules of a link.
func (m *Manager) SetPolicy(ctx context.Context, peer string, pol Policy) error {
	return m.editPeer(ctx, peer, func(mf *fed.Manifest, p *fed.Peer) error {
		if err := invited(mf, p); err != nil {
			return err
		}
		replace(&p.In, pol.In)
		replace(&p.Out, pol.Out)
		replace(&p.Quota, pol.Quota)
		replace(&p.Proxy, pol.Proxy)
		replace(&p.DialOnly, pol.DialOnly)
		if p.Proxy != "" {
			if err := checkAddress("proxy", p.Proxy); err != nil {
				return err
			}
		}
		return checkAllow(p.In | p.Out)
	})
}

func replace[T any](to *T, by *T) {
	if by != nil {
		*to = *by
	}
}

// Pause stops a link and keeps what waits [FED-ON-2].
func (m *Manager) Pause(ctx context.Context, peer string) error {
	return m.editPeer(ctx, peer, func(mf *fed.Manifest, p *fed.Peer) error {
		if !p.Linked() {
			return protocol.Errorf(protocol.CodeInvalid, "the link with %s is not confirmed: there is nothing to pause", mf.Domain)
		}
		p.State = fed.PeerPaused
		return nil
	})
}

// Resume opens a paused link. With restored, and no peer, an operator says that this cluster was restored from a backup and the former one is gone for good: then
// all links come up in a new epoch [FED-EP-1].
func (m *Manager) Resume(ctx context.Context, peer string, restored bool) error {
	if restored {
		if peer != "" {
			return protocol.Errorf(protocol.CodeInvalid, "that this cluster was restored concerns all links: no peer is named")
		}
		return m.reopen(ctx)
	}
	if _, _, err := m.working(); err != nil {
		return err
	}
	return m.editPeer(ctx, peer, func(mf *fed.Manifest, p *fed.Peer) error {
		if !p.Linked() {
			return protocol.Errorf(protocol.CodeInvalid, "the link with %s is not paused: it is %v", mf.Domain, p.State)
		}
		p.State = fed.PeerConfirmed
		return nil
	})
}

// Remove ends a link for good: what waits is dropped, the peer's people are shown as having left [FED-ON-2].
func (m *Manager) Remove(ctx context.Context, peer string) error {
	return m.editPeer(ctx, peer, func(mf *fed.Manifest, p *fed.Peer) error {
		if p.State == fed.PeerRemoved {
			return protocol.Errorf(protocol.CodeInvalid, "the link with %s was removed already", mf.Domain)
		}
		p.State, p.In, p.Out = fed.PeerRemoved, 0, 0
		return nil
	})
}

// editPeer changes what this cluster keeps of another one; somebody else's change at the same time is seen by the next attempt.
func (m *Manager) editPeer(ctx context.Context, name string, change func(*fed.Manifest, *fed.Peer) error) error {
	var err error
	for range attempts {
		s, findErr := m.peerNamed(name)
		if findErr != nil {
			return findErr
		}
		mf, openErr := s.Peer.Manifest.Open()
		if openErr != nil {
			return openErr
		}
		p := s.Peer
		if err := change(&mf, &p); err != nil {
			return err
		}
		if _, err = m.cfg.State.Execute(ctx, &protocol.SetPeer{Cluster: s.Cluster, Peer: encodeRecord(p), After: p.Version}); err == nil {
			m.changed()
			return nil
		}
		if now, readErr := m.peerByID(s.Cluster); readErr != nil || versionOf(now) == p.Version {
			return err
		}
	}
	return err
}

// peerByID is nil for a cluster that was never heard of.
func (m *Manager) peerByID(c fed.ClusterID) (*fed.PeerStatus, error) {
	all, err := m.cfg.State.FedPeers()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Cluster == c {
			return &all[i], nil
		}
	}
	return nil, nil //nolint:nilnil // not being there is no error
}

// peerNamed finds a peer by what operators call it: its domain, its id, or the beginning of that.
func (m *Manager) peerNamed(name string) (fed.PeerStatus, error) {
	if _, _, err := m.identity(); err != nil {
		return fed.PeerStatus{}, err
	}
	all, err := m.cfg.State.FedPeers()
	if err != nil {
		return fed.PeerStatus{}, err
	}
	name = strings.ToLower(strings.TrimSpace(name))
	digits := strings.ReplaceAll(name, "-", "")
	var byDomain, byID []fed.PeerStatus
	var known []string
	for _, s := range all {
		domain := domainOf(&s)
		known = append(known, domain)
		if domain == name {
			byDomain = append(byDomain, s)
		}
		if len(digits) >= leastPrefix && strings.HasPrefix(strings.ReplaceAll(s.Cluster.String(), "-", ""), digits) {
			byID = append(byID, s)
		}
	}
	if live := slices.DeleteFunc(slices.Clone(byDomain), func(s fed.PeerStatus) bool { return s.Peer.State == fed.PeerRemoved }); len(live) > 0 {
		byDomain = live // the domain of one that was removed may be another's now
	}
	switch found := slices.Concat(byID, byDomain); {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return fed.PeerStatus{}, protocol.Errorf(protocol.CodeInvalid, "%q may be any of %s: say more of its id", name, candidates(found))
	case len(known) == 0:
		return fed.PeerStatus{}, protocol.Errorf(protocol.CodeNotFound, "no other cluster is known here yet: `teamtalkd federation invite`, or `accept` the invitation of another")
	}
	return fed.PeerStatus{}, protocol.Errorf(protocol.CodeNotFound, "no peer is called %q (a domain, or at least %d digits of an id); known are %s", name, leastPrefix, candidates(all))
}

// candidates names peers so that they can be told apart.
func candidates(peers []fed.PeerStatus) string {
	const most = 10
	var names []string
	for i := range peers[:min(len(peers), most)] {
		names = append(names, domainOf(&peers[i])+" ("+peers[i].Cluster.String()+")")
	}
	if len(peers) > most {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

func domainOf(s *fed.PeerStatus) string {
	mf, err := s.Peer.Manifest.Open()
	if err != nil {
		return s.Cluster.String()
	}
	return mf.Domain
}

// freeDomain refuses a domain that another cluster goes by here: people could not tell the two apart.
func (m *Manager) freeDomain(domain string, c fed.ClusterID) error {
	if err := fed.CheckDomain(domain); err != nil {
		return err
	}
	if _, own, err := m.identity(); err == nil && own.Cluster != c && own.Domain == domain {
		return protocol.Errorf(protocol.CodeInvalid, "%s is this cluster's own domain: one of the two has to be called something else first", domain)
	}
	all, err := m.cfg.State.FedPeers()
	if err != nil {
		return err
	}
	for i := range all {
		if s := &all[i]; s.Cluster != c && s.Peer.State != fed.PeerRemoved && s.Peer.State != fed.PeerKnown && domainOf(s) == domain {
			return protocol.Errorf(protocol.CodeInvalid, "another cluster, %v, is called %s here already", s.Cluster, domain)
		}
	}
	return nil
}
