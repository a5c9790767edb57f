package state

import (
	"encoding/binary"
	"fmt"
	"slices"

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
func (m *machine) person(s *step, in *inbound, r fed.UserRef) (protocol.UserID, error) {
	known, err := s.alias(r.Cluster, aliasUser, uint32(r.ID))
	if err != nil || known != 0 {
		return protocol.UserID(known), err
	}
	return m.personWith(s, in, r, &fed.Profile{Login: fmt.Sprintf("user%d", r.ID)}, false)
}

// personRow is what a person abroad is called at home, as far as it is known.
type personRow struct {
	Login   string        `cbor:"1,keyasint"`
	Nick    string        `cbor:"2,keyasint,omitempty"`
	Updated protocol.Time `cbor:"3,keyasint,omitempty"` // of what the person's own cluster said, be it that another one has passed it on
	Own     bool          `cbor:"4,keyasint,omitempty"` // it was that cluster that said so
}

func (t *txn) personRow(u protocol.UserID) (row personRow, err error) {
	key := idKey(u)
	_, err = t.readRow(bPerson, key[:], &row)
	return row, err
}

// personWith is that with a profile.
func (m *machine) personWith(s *step, in *inbound, r fed.UserRef, p *fed.Profile, own bool) (protocol.UserID, error) {
	u, changed, err := m.takePerson(s, in, r, p, own)
	if err != nil {
		return u, err
	}
	if err := m.meetPicture(s, in, avatarShower(u), p.Picture); err != nil || !changed {
		return u, err
	}
	return u, m.tellLooks(s, u, r.Cluster)
}

// tellLooks tells the clusters that know somebody abroad by a group of this one that he looks otherwise now [FED-FILE-4]. One for which too much waits already does without.
func (m *machine) tellLooks(s *step, u protocol.UserID, home fed.ClusterID) error {
	told := map[fed.ClusterID]bool{home: true}
	var groups []protocol.GroupID
	err := s.eachSession(u, func(in protocol.Session, row *sessionRow) error {
		if in.Type == protocol.SessionGroup && in.Group() < protocol.MaxLocalID && row.stay() != nil {
			groups = append(groups, in.Group())
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range groups {
		peers, err := s.clustersIn(g)
		if err != nil {
			return err
		}
		for _, p := range peers {
			if told[p] {
				continue
			}
			told[p] = true
			pages, err := m.groupPages(s, &protocol.Group{ID: g}, []protocol.UserID{u})
			if err != nil {
				return err
			}
			for _, event := range pages {
				if m.abroad.ready(p, fed.AllowGroups, len(event)) != nil {
					continue
				}
				k := laneKey{p, fed.LaneOf(protocol.InGroup(g).Conversation(0))}
				if _, err := m.putOut(s, k, fed.TypeGroupState, protocol.Position{}, event); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// takePerson finds or makes the alias, and says whether somebody who was known has changed. What the person's own cluster says counts if it is newer; what others say only as long as
// there is nothing better.
func (m *machine) takePerson(s *step, in *inbound, r fed.UserRef, p *fed.Profile, own bool) (u protocol.UserID, changed bool, err error) {
	known, err := s.alias(r.Cluster, aliasUser, uint32(r.ID))
	if err != nil {
		return 0, false, err
	}
	if known != 0 {
		changed, err = m.editPerson(s, protocol.UserID(known), r.Cluster, p, own)
		return protocol.UserID(known), changed, err
	}
	if r.ID == 0 || r.ID >= protocol.MaxLocalID {
		return 0, false, invalid("no user is called %v", r)
	}
	home, err := m.homeOf(r.Cluster)
	if err != nil {
		return 0, false, err
	}
	if err := s.countAlias(in.introducer(), r.Cluster); err != nil {
		return 0, false, err
	}
	id, err := s.newAlias(r.Cluster, aliasUser, uint32(r.ID))
	if err != nil {
		return 0, false, err
	}
	who := protocol.User{ID: protocol.UserID(id), Created: s.now, Department: home.department}
	home.dress(&who, p)
	if err := m.savePerson(s, &userRow{User: who}, 0); err != nil {
		return 0, false, err
	}
	return who.ID, false, s.putPerson(who.ID, p, own)
}

func (s *step) putPerson(u protocol.UserID, p *fed.Profile, own bool) error {
	row := personRow{Login: p.Login, Nick: protocol.Truncate(p.Nick, protocol.MaxPersonalText), Updated: p.Updated, Own: own}
	key := idKey(u)
	return s.putRow(bPerson, key[:], row)
}

// home is the office of people abroad, as it is shown.
type home struct {
	peer           *fed.Peer // of whose record this is
	domain, office string
	department     protocol.DeptID
}

func (m *machine) homeOf(c fed.ClusterID) (home, error) {
	p := m.abroad.peers[c]
	if p == nil {
		return home{}, forbidden("cluster %v is not known here", c)
	}
	if h, known := m.abroad.homes[c]; known && h.peer == p {
		return h, nil
	}
	manifest, err := p.Manifest.Open()
	if err != nil {
		return home{}, err
	}
	h := home{p, manifest.Domain, manifest.Office, p.Department}
	m.abroad.homes[c] = h
	return h, nil
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

// isNews reports whether what is said of somebody counts. What another cluster than his own passes on does as long as his own has said nothing here.
func (r *personRow) isNews(p *fed.Profile, own bool) bool {
	switch {
	case own:
		return !r.Own || r.Updated < p.Updated
	case r.Own:
		return false
	}
	return r.Updated < p.Updated || r.Updated == p.Updated && (r.Login != p.Login || r.Nick != p.Nick)
}

// editPerson brings somebody abroad up to date with what is said of him, and says whether he looks otherwise by that.
func (m *machine) editPerson(s *step, u protocol.UserID, c fed.ClusterID, p *fed.Profile, own bool) (changed bool, err error) {
	known, err := s.personRow(u)
	if err != nil || !known.isNews(p, own) {
		return false, err
	}
	row, err := s.user(u)
	if err != nil {
		return false, err
	}
	home, err := m.homeOf(c)
	if err != nil {
		return false, err
	}
	before := row.User
	home.dress(&row.User, p)
	if err := s.putPerson(u, p, own); err != nil || row.User == before {
		return false, err
	}
	if row.User.Sign != before.Sign {
		if err := s.moveProfile(&row.SignAt, profileSign, u); err != nil {
			return false, err
		}
		s.emit(protocol.SignChanged{User: u, Sign: row.User.Sign})
	}
	if row.User.Avatar != before.Avatar {
		if err := s.moveProfile(&row.AvatarAt, profileAvatar, u); err != nil {
			return false, err
		}
		s.emit(protocol.AvatarChanged{User: u, Avatar: row.User.Avatar})
	}
	return true, m.savePerson(s, &row, before.Updated)
}

func (m *machine) savePerson(s *step, row *userRow, updated protocol.Time) error {
	if err := m.stamp(s); err != nil {
		return err
	}
	row.User.Updated = s.now
	m.status[row.User.ID] = row.User.Status
	s.tellDirectory()
	return s.putUser(row, updated)
}

// tellDirectory says once that the directory is another one.
func (s *step) tellDirectory() {
	if !slices.ContainsFunc(s.events, func(e protocol.Event) bool { return e.Body == protocol.EventBody(protocol.DirectoryChanged{}) }) {
		s.emit(protocol.DirectoryChanged{})
	}
}

// checkProfile refuses a profile by whose names nobody can be shown [FED-AL-3]. A nick that is too long is cut.
func checkProfile(p *fed.Profile) error {
	if err := protocol.CheckLine("nick", p.Nick, len(p.Nick)); err != nil {
		return err
	}
	return protocol.CheckName("login name", p.Login, protocol.MaxLoginName)
}

// receiveProfile takes what a cluster says of one of its people; of one whom nobody here has met only if the directories are shared.
func (m *machine) receiveProfile(s *step, in *inbound) error {
	p, err := fed.BodyOf[fed.Profile](in.event)
	if err != nil {
		return err
	}
	if err := checkProfile(&p); err != nil {
		return err
	}
	_, err = m.personWith(s, in, in.event.Author, &p, true)
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
	if err != nil {
		return err
	}
	if !ok {
		return m.deleteUnknown(s, in, &del) // it never came, or it was deleted on its way
	}
	row, err := s.message(at)
	if err != nil || row.deleted != 0 {
		return err
	}
	var g *roster
	to, err := m.localUser(s.txn, in.event.To)
	if err != nil {
		return err
	}
	with := protocol.WithUser(to)
	if row.conv.Type == protocol.SessionGroup {
		if g, err = m.liveGroup(s.txn, protocol.GroupID(row.conv.A)); err != nil {
			return err
		}
		name, err := m.groupRef(s.txn, g.group.ID)
		if err != nil {
			return err
		}
		if name != in.event.Group {
			return forbidden("the message was not said in group %v", in.event.Group)
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
	if in.at = s.at; g == nil && in.from != m.abroad.self {
		if err := s.keep(in); err != nil {
			return err
		}
	}
	return m.forgetAbroad(s, at, &row, in)
}

// deleteUnknown remembers a deletion by the message's author whose message was lost, so that it does not come back from elsewhere.
func (m *machine) deleteUnknown(s *step, in *inbound, del *fed.Delete) error {
	if !in.history || del.Target.Cluster != in.event.Author.Cluster || del.Kind != protocol.Recalled || m.abroad.own(del.Target) {
		return nil
	}
	key := eventKey(del.Target)
	if s.row(bOrigin, key[:]) != nil {
		return nil
	}
	if err := s.put(bOrigin, key[:], s.room(positionLen)); err != nil {
		return err
	}
	if in.ordered || in.event.Group.Cluster != m.abroad.self {
		return nil
	}
	g, _, err := m.memberAbroad(s, in)
	switch protocol.CodeOf(err) {
	case protocol.CodeUnspecified:
	case protocol.CodeInternal:
		return err
	default:
		return nil // it is remembered, but who is not in the group orders nothing into it
	}
	r := route{lane: fed.LaneOf(protocol.InGroup(g.group.ID).Conversation(0)), group: in.event.Group, hub: true}
	if r.peers, err = s.clustersIn(g.group.ID); err != nil {
		return err
	}
	return m.order(s, protocol.Position{}, &r, in.bytes, in.sig, fateRow{})
}

// tellProfile tells the clusters that have met somebody of this one what is new about him.
func (m *machine) tellProfile(s *step, u protocol.UserID) error {
	if u >= protocol.MaxLocalID || m.abroad.epoch == 0 || m.abroad.lost {
		return nil
	}
	for _, p := range m.peersInOrder() {
		key := refKey(p, aliasUser, uint32(u))
		if !m.linked(p) || s.row(bTold, key[:]) == nil {
			continue
		}
		if err := m.introduce(s, u, laneKey{p, fed.LaneControl}); err != nil {
			return err
		}
	}
	return nil
}
