package state

import (
	"encoding/binary"
	"fmt"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

func number(b []byte) uint64 { return binary.BigEndian.Uint64(b) }

func (s *step) putNumber(id bucketID, key []byte, n uint64) error {
	b := s.room(8)
	binary.BigEndian.PutUint64(b, n)
	return s.put(id, key, b)
}

// person is what somebody abroad is called here, by a new alias if need be: until a profile comes, just a number [FED-AL-1].
func (m *machine) person(s *step, r fed.UserRef) (protocol.UserID, error) {
	return m.personWith(s, r, &fed.Profile{Login: fmt.Sprintf("user%d", r.ID)}, false)
}

// personWith is that with a profile. What the person's own cluster says counts if it is newer; what others say only as long as there is nothing better.
func (m *machine) personWith(s *step, r fed.UserRef, p *fed.Profile, own bool) (protocol.UserID, error) {
	known, err := s.alias(r.Cluster, aliasUser, uint32(r.ID))
	if err != nil {
		return 0, err
	}
	if known != 0 {
		if !own {
			return protocol.UserID(known), nil
		}
		return protocol.UserID(known), m.editPerson(s, protocol.UserID(known), r.Cluster, p)
	}
	home, err := m.homeOf(s, r.Cluster)
	if err != nil {
		return 0, err
	}
	id, err := s.newAlias(r.Cluster, aliasUser, uint32(r.ID))
	if err != nil {
		return 0, err
	}
	u := protocol.User{ID: protocol.UserID(id), Created: s.now, Department: home.department}
	home.dress(&u, p)
	if err := m.savePerson(s, &userRow{User: u}, 0); err != nil {
		return 0, err
	}
	if own {
		return u.ID, s.putNumber(bProfileAt, groupBytes(protocol.GroupID(id)), uint64(p.Updated))
	}
	return u.ID, nil
}

// home is the office of people abroad, as it is shown.
type home struct {
	domain, office string
	department     protocol.DeptID
}

func (m *machine) homeOf(s *step, c fed.ClusterID) (home, error) {
	p := m.abroad.peers[c]
	if p == nil {
		return home{}, forbidden("cluster %v is not known here", c)
	}
	manifest, err := p.Manifest.Open()
	if err != nil {
		return home{}, err
	}
	return home{manifest.Domain, manifest.Office, p.Department}, nil
}

// dress gives a person the looks of a profile: "Nick (Office)", named user@domain [FED-AL-3]. What does not fit is cut or left out: it is for show.
func (h *home) dress(u *protocol.User, p *fed.Profile) {
	nick := p.Nick
	if nick == "" {
		nick = p.Login
	}
	tail := " (" + h.office + ")"
	u.Nick = protocol.Truncate(nick, protocol.MaxPersonalText-len(tail)) + tail
	u.Name = p.Login + "@" + h.domain
	u.Address, u.Remote = u.Name, true
	u.Gender, u.Status = p.Gender, protocol.StatusRegular
	if p.Left {
		u.Status = protocol.StatusLeft
	}
	u.Avatar, u.Sign = "", ""
	if protocol.CheckLine("avatar", p.Avatar, protocol.MaxAvatar) == nil {
		u.Avatar = p.Avatar
	}
	if protocol.CheckText("signature", p.Sign, protocol.MaxSign) == nil {
		u.Sign = p.Sign
	}
}

// editPerson brings somebody abroad up to date with his own cluster's word.
func (m *machine) editPerson(s *step, u protocol.UserID, c fed.ClusterID, p *fed.Profile) error {
	key := idKey(u)
	if b := s.row(bProfileAt, key[:]); len(b) == 8 && protocol.Time(number(b)) >= p.Updated {
		return nil
	}
	row, err := s.user(u)
	if err != nil {
		return err
	}
	home, err := m.homeOf(s, c)
	if err != nil {
		return err
	}
	before := row.User
	home.dress(&row.User, p)
	if err := s.putNumber(bProfileAt, key[:], uint64(p.Updated)); err != nil {
		return err
	}
	if row.User == before {
		return nil
	}
	if row.User.Sign != before.Sign {
		if err := s.moveProfile(&row.SignAt, profileSign, u); err != nil {
			return err
		}
		s.emit(protocol.SignChanged{User: u, Sign: row.User.Sign})
	}
	if row.User.Avatar != before.Avatar {
		if err := s.moveProfile(&row.AvatarAt, profileAvatar, u); err != nil {
			return err
		}
		s.emit(protocol.AvatarChanged{User: u, Avatar: row.User.Avatar})
	}
	return m.savePerson(s, &row, before.Updated)
}

func (m *machine) savePerson(s *step, row *userRow, updated protocol.Time) error {
	if err := m.stamp(s); err != nil {
		return err
	}
	row.User.Updated = s.now
	m.status[row.User.ID] = row.User.Status
	s.emit(protocol.DirectoryChanged{})
	return s.putUser(row, updated)
}

// receiveProfile takes what a cluster says of one of its people; of one whom nobody here has met only if the directories are shared.
func (m *machine) receiveProfile(s *step, in *inbound) error {
	p, err := fed.BodyOf[fed.Profile](in.event)
	if err != nil {
		return err
	}
	if err := protocol.CheckName("login name", p.Login, protocol.MaxLoginName); err != nil {
		return err
	}
	_, err = m.personWith(s, in.event.Author, &p, true)
	return err
}

// receiveMark notes how far somebody abroad has read.
func (m *machine) receiveMark(s *step, in *inbound) error {
	mark, err := fed.BodyOf[fed.Mark](in.event)
	if err != nil {
		return err
	}
	reader, err := m.localUser(s.txn, in.event.Author)
	if err != nil || reader == 0 {
		return err
	}
	at, ok, err := m.placeOf(s.txn, mark.UpTo)
	if err != nil {
		return err
	}
	if !ok {
		return notFound("what was read is not here")
	}
	row, err := s.message(at)
	if err != nil {
		return err
	}
	with := protocol.WithUser(in.event.To.ID)
	if row.conv != with.Conversation(reader) {
		return forbidden("what was read is of another conversation")
	}
	_, err = m.markRead(s, &protocol.MarkRead{User: reader, Session: with, UpTo: row.id})
	return err
}

// receiveDelete takes the content of a message away, at the word of whoever may.
func (m *machine) receiveDelete(s *step, in *inbound) error {
	del, err := fed.BodyOf[fed.Delete](in.event)
	if err != nil {
		return err
	}
	actor, err := m.localUser(s.txn, in.event.Author)
	if err != nil || actor == 0 {
		return err
	}
	at, ok, err := m.placeOf(s.txn, del.Target)
	if err != nil || !ok {
		return err // it never came, or it was deleted on its way
	}
	row, err := s.message(at)
	if err != nil || row.deleted != 0 {
		return err
	}
	var g *roster
	with := protocol.WithUser(in.event.To.ID)
	if row.conv.Type == protocol.SessionGroup {
		if g, err = m.liveGroup(s.txn, protocol.GroupID(row.conv.A)); err != nil {
			return err
		}
		with = protocol.InGroup(g.group.ID)
	}
	if row.conv != with.Conversation(actor) || g != nil && !g.has(actor) {
		return forbidden("the message is of a conversation that user %v is not in", in.event.Author)
	}
	// How long after its sending was for the actor's own cluster to decide: the outage may have been longer.
	c := protocol.DeleteMessage{Actor: actor, Session: with, ID: row.id, Deletion: del.Kind, Within: int64(s.now)}
	if !c.Deletion.Valid() || c.Deletion == protocol.Burned && g != nil {
		return invalid("kind of deletion %d", c.Deletion)
	}
	if err := mayDelete(s, &c, &row, g); err != nil {
		return err
	}
	if err := s.erase(at, &row, del.Kind, actor, g); err != nil {
		return err
	}
	return m.forgetAbroad(s, at, &row, in)
}

// tellProfile tells the clusters that have met somebody of this one what is new about him.
func (m *machine) tellProfile(s *step, u protocol.UserID) error {
	if u >= protocol.MaxLocalID {
		return nil
	}
	for _, k := range m.lanesInOrder() {
		if k.lane != fed.LaneControl || !m.linked(k.peer) {
			continue
		}
		key := refKey(k.peer, aliasUser, uint32(u))
		if s.row(bTold, key[:]) == nil {
			continue
		}
		if err := m.introduce(s, u, k); err != nil {
			return err
		}
	}
	return nil
}
