package state

import (
	"bytes"

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
	if manifest.Cluster != m.abroad.self || next.Epoch == 0 || next.Signer(m.abroad.self) == nil {
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
	}
	if c.After != serial || manifest.Serial <= serial || next.Epoch < epoch {
		return invalid("the identity was changed meanwhile: it has serial %d", serial)
	}
	if err := s.putRow(bMeta, []byte(metaIdentity), next); err != nil {
		return err
	}
	m.abroad.epoch = next.Epoch
	if epoch != 0 && next.Epoch > epoch {
		return m.beginEpoch(s)
	}
	return nil
}

// beginEpoch numbers what waits anew, from 1: peers have no cursor in the new epoch. What was acknowledged is gone.
func (m *machine) beginEpoch(s *step) error {
	for _, k := range m.lanesInOrder() {
		l := m.abroad.lanes[k]
		next := laneRow{epochIn: l.epochIn, in: l.in}
		for seq := l.swept + 1; seq <= l.sent; seq++ {
			row, err := s.out(k, seq)
			if err != nil {
				return err
			}
			row.event = bytes.Clone(row.event)
			key := outKey(k, seq)
			if err := s.drop(bOut, key[:]); err != nil {
				return err
			}
			if err := m.renumber(s, k, seq, &next, &row); err != nil {
				return err
			}
		}
		if err := m.putLane(s, k, next); err != nil {
			return err
		}
	}
	return nil
}

func (m *machine) renumber(s *step, k laneKey, was uint64, l *laneRow, row *outRow) error {
	l.sent++
	l.waiting += uint64(len(row.event))
	b := s.room(row.size())
	row.pack(b)
	key := outKey(k, l.sent)
	if err := s.put(bOut, key[:], b); err != nil {
		return err
	}
	fate, known, err := s.fate(row.message)
	if err != nil || !known {
		return err
	}
	for i := range fate.ways {
		if fate.ways[i] == (way{k, was}) {
			fate.ways[i].seq = l.sent
		}
	}
	return s.putFate(row.message, &fate)
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
	return m.putPeer(s, id, &next)
}

func (m *machine) putPeer(s *step, id fed.ClusterID, p *fed.Peer) error {
	if p.Since == 0 {
		p.Since = s.now
	}
	m.abroad.peers[id] = p
	return s.putRow(bPeer, id[:], p)
}

// officeOf is the department in which a peer's people are listed: made when the link is confirmed, renamed with the office [FED-AL-3].
func (m *machine) officeOf(s *step, known *fed.Peer, manifest *fed.Manifest, state fed.PeerState) (protocol.DeptID, error) {
	var d protocol.Department
	if known != nil && known.Department != 0 {
		var err error
		if d, err = s.department(known.Department); err != nil && protocol.CodeOf(err) != protocol.CodeNotFound {
			return 0, err
		}
		if d.ID == 0 || d.Name == manifest.Office {
			return known.Department, nil
		}
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

// meet remembers clusters that a hub names: their people are in a group with ours. What is known of them by an own link counts more.
func (m *machine) meet(s *step, manifests []fed.SignedManifest) error {
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
			next := *known
			next.Manifest, next.Version = manifests[i], known.Version+1
			if err := m.putPeer(s, manifest.Cluster, &next); err != nil {
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
	if err := protocol.CheckName("login name", p.Login, protocol.MaxLoginName); err != nil {
		return nil, err
	}
	if err := m.abroad.ready(c.Cluster, fed.AllowDirect, 0); err != nil {
		return nil, err
	}
	u, err := m.personWith(s, fed.UserRef{Cluster: c.Cluster, ID: protocol.UserID(c.User)}, &p, true)
	return protocol.AddAliasResult{User: u}, err
}
