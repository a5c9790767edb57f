package state

import (
	"bytes"
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// setIdentity makes this cluster known to others as, or changes how. A new epoch of the outbox begins with empty lanes [FED-EP-1].
func (m *machine) setIdentity(s *step, c *protocol.SetIdentity) error {
	if m.abroad.self.IsZero() {
		return invalid("the cluster has no id yet")
	}
	var next fed.Identity
	if err := codec.dec.Unmarshal(c.Identity, &next); err != nil {
		return invalid("the identity can't be read: %w", err)
	}
	manifest, err := next.Manifest.Open()
	if err != nil {
		return err
	}
	if manifest.Cluster != m.abroad.self || next.Epoch == 0 || next.Epoch >= maxEpoch || next.Signer(m.abroad.self) == nil {
		return invalid("the identity is another cluster's, or lacks an epoch or a key")
	}
	var serial, epoch uint64
	if id, err := s.identity(); err != nil {
		return err
	} else if id != nil {
		known, err := id.Manifest.Open()
		if err != nil {
			return err
		}
		serial, epoch = known.Serial, id.Epoch
		if known.Root != manifest.Root {
			return forbidden("the root key of a cluster stays")
		}
		if id.History != next.History && id.History != [16]byte{} && next.Epoch <= epoch {
			return invalid("a new history needs a new epoch of the outbox")
		}
	}
	if c.After != serial || manifest.Serial <= serial || next.Epoch < epoch {
		return invalid("the identity was changed meanwhile: it has serial %d", serial)
	}
	if err := s.putRow(bMeta, []byte(metaIdentity), next); err != nil {
		return err
	}
	var cluster protocol.Cluster
	if _, err := s.readRow(bMeta, []byte(metaCluster), &cluster); err != nil {
		return err
	}
	m.abroad.epoch = next.Epoch
	if epoch != 0 && next.Epoch > epoch {
		if err := m.beginEra(s, next.Epoch); err != nil {
			return err
		}
		m.abroad.readLoss(s.txn, &cluster, &next)
		return m.beginEpoch(s)
	}
	m.abroad.readLoss(s.txn, &cluster, &next)
	return nil
}

// addInvitation keeps what an invitation will be known by. Expired ones go.
func (m *machine) addInvitation(s *step, c *protocol.AddInvitation) error {
	if m.abroad.epoch == 0 {
		return invalid("this cluster has no identity yet: `teamtalkd federation init`")
	}
	if err := m.stamp(s); err != nil {
		return err
	}
	if c.Expires <= s.now || c.Expires > s.now+30*24*3600*1000 {
		return invalid("an invitation is for at most 30 days")
	}
	var expired [][]byte
	err := s.scan(bInvitation, nil, nil, func(key, b []byte) (bool, error) {
		if len(b) == 8 && protocol.Time(number(b)) <= s.now {
			expired = append(expired, bytes.Clone(key))
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	for _, key := range expired {
		if err := s.drop(bInvitation, key); err != nil {
			return err
		}
	}
	return s.putNumber(bInvitation, c.Hash[:], uint64(c.Expires))
}

// setPeer stores what this cluster keeps of another one.
func (m *machine) setPeer(s *step, c *protocol.SetPeer) error {
	var next fed.Peer
	if err := codec.dec.Unmarshal(c.Peer, &next); err != nil {
		return invalid("the peer can't be read: %w", err)
	}
	manifest, err := next.Manifest.Open()
	if err != nil {
		return err
	}
	id := fed.ClusterID(c.Cluster)
	if m.abroad.epoch == 0 || manifest.Cluster != id || id == m.abroad.self {
		return invalid("the manifest is of another cluster, or of this one")
	}
	known := m.abroad.peers[id]
	var version uint32
	if known != nil {
		version = known.Version
		before, err := known.Manifest.Open()
		if err != nil {
			return err
		}
		if err := manifest.Follows(&before, bytes.Equal(next.Manifest.Manifest, known.Manifest.Manifest)); err != nil {
			return err
		}
	}
	if c.After != version {
		return invalid("the peer was changed meanwhile: its record has version %d", version)
	}
	if next.State != fed.PeerRemoved {
		if err := m.freeDomain(s, known, &manifest); err != nil {
			return err
		}
	}
	if c.Invitation != ([32]byte{}) {
		if b := s.row(bInvitation, c.Invitation[:]); len(b) != 8 || protocol.Time(number(b)) <= s.now {
			return forbidden("there is no such invitation, it was used, or it has expired")
		}
		if err := s.drop(bInvitation, c.Invitation[:]); err != nil {
			return err
		}
	}
	if err := m.stamp(s); err != nil {
		return err
	}
	next.Version = version + 1
	if next.Department, err = m.officeOf(s, known, &manifest, next.State); err != nil {
		return err
	}
	if err := m.planTasks(s, id, known, &next); err != nil {
		return err
	}
	changed := known != nil && !bytes.Equal(known.Manifest.Manifest, next.Manifest.Manifest)
	if err := m.putPeer(s, id, &next); err != nil || !changed {
		return err
	}
	return m.tellManifest(s, id, next.Manifest)
}

// tellManifest tells the clusters that are in a group of this one with a peer what the peer's new manifest is, before anything that its new keys have signed.
func (m *machine) tellManifest(s *step, about fed.ClusterID, manifest fed.SignedManifest) error {
	var group protocol.GroupID
	var is bool
	var in []fed.ClusterID
	told := map[laneKey]bool{}
	tell := func() error {
		lane := fed.LaneOf(protocol.InGroup(group).Conversation(0))
		e := fed.Event{ID: m.eventID(s.at), Time: s.now, Group: fed.GroupRef{Cluster: m.abroad.self, ID: group}}
		event := e.Encode(fed.TypeGroupState, fed.GroupState{Part: true, Manifests: []fed.SignedManifest{manifest}})
		for _, c := range in {
			k := laneKey{c, lane}
			if !is || told[k] || c == about || !m.linked(c) {
				continue
			}
			told[k] = true
			if _, err := m.putOut(s, k, fed.TypeGroupState, protocol.Position{}, event); err != nil {
				return err
			}
		}
		return nil
	}
	err := s.scan(bSince, nil, nil, func(key, _ []byte) (bool, error) {
		g, err := idOf[protocol.GroupID](key[:min(4, len(key))])
		if err != nil || len(key) != 4+clusterLen {
			return true, badRow(bSince, key, errRowLength)
		}
		if g != group {
			if err := tell(); err != nil {
				return true, err
			}
			group, is, in = g, false, nil
		}
		c := fed.ClusterID(key[4:])
		is, in = is || c == about, append(in, c)
		return false, nil
	})
	if err != nil {
		return err
	}
	return tell()
}

func (m *machine) putPeer(s *step, id fed.ClusterID, p *fed.Peer) error {
	if p.Since == 0 {
		p.Since = s.now
	}
	m.abroad.peers[id] = p
	return s.putRow(bPeer, id[:], p)
}

// freeDomain refuses a manifest by whose domain this cluster goes, or another one that it is linked with: people could not tell whose people they talk to [FED-ON-3]. A linked cluster
// keeps the domain that it has.
func (m *machine) freeDomain(s *step, known *fed.Peer, manifest *fed.Manifest) error {
	if known != nil && known.Linked() {
		before, err := m.homeOf(manifest.Cluster)
		if err != nil || before.domain == manifest.Domain {
			return err
		}
	}
	id, err := s.identity()
	if err != nil || id == nil {
		return err
	}
	own, err := id.Manifest.Open()
	if err != nil {
		return err
	}
	taken := own.Domain == manifest.Domain
	for _, c := range m.peersInOrder() {
		if c == manifest.Cluster || !m.abroad.peers[c].Linked() {
			continue
		}
		home, err := m.homeOf(c)
		if err != nil {
			return err
		}
		taken = taken || home.domain == manifest.Domain
	}
	if taken {
		return forbidden("%s is another office's domain here", manifest.Domain)
	}
	return nil
}

// officeOf is the department in which a peer's people are listed: made when the link is confirmed, renamed with the office [FED-AL-3].
func (m *machine) officeOf(s *step, known *fed.Peer, manifest *fed.Manifest, state fed.PeerState) (protocol.DeptID, error) {
	var d protocol.Department
	if known != nil && known.Department != 0 {
		key := idKey(known.Department)
		if _, err := s.readRow(bDept, key[:], &d); err != nil {
			return 0, err
		}
		if d.ID == 0 || d.Name == manifest.Office && (!d.Deleted || state < fed.PeerConfirmed || state == fed.PeerRemoved) {
			return known.Department, nil
		}
		d.Deleted = d.Deleted && (state < fed.PeerConfirmed || state == fed.PeerRemoved)
	} else if state < fed.PeerConfirmed {
		return 0, nil
	}
	d.Name = manifest.Office
	res, err := m.putDepartment(s, &protocol.PutDepartment{Department: d})
	if err != nil {
		return 0, err
	}
	put, _ := res.(protocol.PutDepartmentResult)
	return put.ID, nil
}

// meet remembers clusters that a hub names, if these members of a group are of them: so there are not more of them than of people, of whom not any number is taken [FED-AUTH-3]. What is
// known of them by an own link counts more.
func (m *machine) meet(s *step, manifests []fed.SignedManifest, members []fed.UserRef) error {
	for i := range manifests {
		manifest, err := manifests[i].Open()
		if err != nil {
			return err
		}
		if manifest.Cluster == m.abroad.self {
			continue
		}
		known := m.abroad.peers[manifest.Cluster]
		if known == nil {
			if !slices.ContainsFunc(members, func(r fed.UserRef) bool { return r.Cluster == manifest.Cluster }) {
				continue
			}
			if err := m.freeDomain(s, nil, &manifest); err != nil {
				return err
			}
			if err := m.putPeer(s, manifest.Cluster, &fed.Peer{Manifest: manifests[i], State: fed.PeerKnown, Version: 1}); err != nil {
				return err
			}
			continue
		}
		before, err := known.Manifest.Open()
		if err != nil {
			return err
		}
		if manifest.Root != before.Root {
			return forbidden("the hub says that cluster %v has another root key than the one known here", manifest.Cluster)
		}
		if manifest.Serial > before.Serial {
			if err := m.freeDomain(s, known, &manifest); err != nil {
				return err
			}
			next := *known
			next.Manifest, next.Version = manifests[i], known.Version+1
			if err := m.planTasks(s, manifest.Cluster, known, &next); err != nil {
				return err
			}
			if err := m.putPeer(s, manifest.Cluster, &next); err != nil {
				return err
			}
			if err := m.tellManifest(s, manifest.Cluster, next.Manifest); err != nil { // it ends: serials only rise
				return err
			}
		}
	}
	return nil
}

// addAlias gives somebody abroad a place in the directory before a word was said.
func (m *machine) addAlias(s *step, c *protocol.AddAlias) (any, error) {
	var p fed.Profile
	if err := codec.dec.Unmarshal(c.Profile, &p); err != nil {
		return nil, invalid("the profile can't be read: %w", err)
	}
	if err := checkProfile(&p); err != nil {
		return nil, err
	}
	if err := m.abroad.ready(c.Cluster, 0, 0); err != nil {
		return nil, err
	}
	if p := m.abroad.peers[c.Cluster]; p.Out&(fed.AllowDirect|fed.AllowGroups) == 0 {
		return nil, forbidden("the rules of the link to that office don't allow it")
	}
	if c.User == 0 || c.User >= uint32(protocol.MaxLocalID) {
		return nil, invalid("no user has id %d there", c.User)
	}
	from := inbound{sender: c.Cluster, peer: m.abroad.peers[c.Cluster]}
	u, changed, err := m.takePerson(s, &from, fed.UserRef{Cluster: c.Cluster, ID: protocol.UserID(c.User)}, &p, true)
	if err != nil {
		return nil, err
	}
	if err := m.meetPicture(s, &from, avatarShower(u), p.Picture); err != nil || !changed {
		return protocol.AddAliasResult{User: u}, err
	}
	return protocol.AddAliasResult{User: u}, m.tellLooks(s, u, c.Cluster)
}
