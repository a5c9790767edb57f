package state

import (
	"math"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// meetBlobs records blobs of another office that are not recorded yet: their content stays where it is until somebody here asks for it [FED-FILE-1]. Of one that no node
// here has, what its peer says anew counts; another peer's word only once there is no link to that one.
func (m *machine) meetBlobs(s *step, refs []protocol.BlobRef, from fed.ClusterID) error {
	for _, r := range refs {
		before, found, err := s.blob(r.ID)
		if err != nil {
			return err
		}
		if known := fed.ClusterID(before.Blob.Peer); before.Holders > 0 || known != from && m.linked(known) {
			continue
		}
		row := before
		row.Blob.ID, row.Blob.Size, row.Blob.Type, row.Blob.Peer = r.ID, r.Size, r.Type, from
		if !found {
			row.Blob.Added = s.now
		}
		if row.Unused = 0; !s.isShown(r.ID) {
			row.Unused = s.now
		}
		if row == before {
			continue
		}
		if err := s.saveBlob(&before, &row); err != nil {
			return err
		}
	}
	return nil
}

// takeRefs has a message from abroad, which was just stored, show its blobs, if the rules of the link let files in. What this cluster's own people said before it was
// restored does so, too.
func (m *machine) takeRefs(s *step, in *inbound, conv protocol.Conversation, refs []protocol.BlobRef) error {
	if !m.media() || len(refs) == 0 || !in.peer.In.Has(fed.AllowFiles) && in.from != m.abroad.self {
		return nil
	}
	if err := m.meetBlobs(s, refs, in.sender); err != nil {
		return err
	}
	from := in.sender
	if in.from == m.abroad.self {
		from = fed.ClusterID{}
	}
	return m.noteShown(s, conv, refs, from)
}

// maxFile is how large an offline file may be: the legacy protocol counts in 32 bits.
const maxFile = math.MaxUint32

// offerFile tells the receiver's cluster of a file that waits for him here [FED-FILE-3]. It writes only if it may.
func (m *machine) offerFile(s *step, f *protocol.OfflineFile, blob *protocol.Blob) error {
	to, err := m.userRef(s.txn, f.To)
	if err != nil {
		return err
	}
	k := laneKey{to.Cluster, fed.LaneOf(protocol.WithUser(f.To).Conversation(f.From))}
	if err := m.introduce(s, f.From, k); err != nil {
		return err
	}
	e, offer, err := m.offerEvent(s.txn, s.at, s.now, f, blob)
	if err != nil {
		return err
	}
	_, err = m.putOut(s, k, fed.TypeFileOffer, protocol.Position{}, e.Encode(fed.TypeFileOffer, offer))
	return err
}

// offerEvent says that a file, which began to wait at a position, waits for somebody of another office.
func (m *machine) offerEvent(t *txn, at protocol.Position, when protocol.Time, f *protocol.OfflineFile, blob *protocol.Blob) (e fed.Event, offer fed.FileOffer, err error) {
	e = fed.Event{ID: m.eventID(at), Time: when}
	if e.Author, err = m.userRef(t, f.From); err != nil {
		return e, offer, err
	}
	e.To, err = m.userRef(t, f.To)
	return e, fed.FileOffer{Name: f.Name, Size: uint64(f.Size), SHA256: f.Blob, Task: f.TaskID, Type: blob.Type}, err
}

// mayOffer refuses a file that can't be offered to the receiver's cluster. It writes nothing.
func (m *machine) mayOffer(t *txn, f *protocol.OfflineFile) error {
	to, err := m.userRef(t, f.To)
	if err != nil {
		return err
	}
	return m.abroad.ready(to.Cluster, fed.AllowFiles, len(f.Name)+len(f.TaskID)+wrapping)
}

// MaySendFile refuses a file for somebody of another office that AddOfflineFile would refuse now, so that nobody brings it for nothing; nil for one's own people.
func (q *Queries) MaySendFile(from, to protocol.UserID) error {
	if to < protocol.MaxLocalID {
		return nil
	}
	return q.view(func(t *txn) error {
		if !t.media() {
			return forbidden("files for other offices work once every node of the cluster runs a version that knows them, and may use it: upgrade all nodes")
		}
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		return (&machine{abroad: a}).mayOffer(t, &protocol.OfflineFile{From: from, To: to})
	})
}

// receiveFileOffer notes that a file waits for one of this cluster's users, at its origin [FED-FILE-3].
func (m *machine) receiveFileOffer(s *step, in *inbound) error {
	f, ref, err := offeredFile(in)
	if err != nil {
		return err
	}
	f.To = in.event.To.ID
	if err := m.localEmployed(s.txn, f.To); err != nil || !in.fresh(m, s) {
		return err
	}
	waiting := 0
	if _, err := s.findFile(0, f.To, "", &waiting); err != nil {
		return err
	}
	if waiting >= protocol.MaxOfflineFiles {
		return tooMany(f.To, waiting)
	}
	if f.From, err = m.person(s, in, in.event.Author); err != nil {
		return err
	}
	taken, err := m.takeOffer(s, in, f, ref)
	if err != nil || !taken {
		return err
	}
	in.at = s.at
	return s.keep(in) // for its origin, should that lose it
}

// offeredFile reads what is offered; from whom and to whom is for the caller.
func offeredFile(in *inbound) (f protocol.OfflineFile, ref protocol.BlobRef, err error) {
	offer, err := fed.BodyOf[fed.FileOffer](in.event)
	if err != nil {
		return f, ref, err
	}
	switch {
	case in.event.To.IsZero():
		return f, ref, invalid("a file is offered to one user")
	case offer.Size > maxFile:
		return f, ref, tooLarge("a file of %d bytes: at most %d", offer.Size, uint32(maxFile))
	}
	ref = protocol.BlobRef{ID: offer.SHA256, Size: offer.Size, Type: offer.Type}
	if err := checkRefs([]protocol.BlobRef{ref}); err != nil {
		return f, ref, err
	}
	f = protocol.OfflineFile{TaskID: offer.Task, Name: offer.Name, Size: uint32(offer.Size), Blob: offer.SHA256}
	err = checkFile(&f)
	return f, ref, err
}

// takeOffer notes the file of an offer that is new, unless the same one waits already.
func (m *machine) takeOffer(s *step, in *inbound, f protocol.OfflineFile, ref protocol.BlobRef) (bool, error) {
	key, waiting := eventKey(in.event.ID), 0
	if err := s.put(bOrigin, key[:], s.room(positionLen)); err != nil { // it has no place among the messages
		return false, err
	}
	if at, err := s.findFile(f.From, f.To, f.TaskID, &waiting); err != nil || at != nil {
		return false, err
	}
	if err := m.meetBlobs(s, []protocol.BlobRef{ref}, in.sender); err != nil {
		return false, err
	}
	return true, m.putFile(s, f)
}

// ownOfferAgain has a file wait again that one of this cluster's users had offered to somebody abroad, before the cluster was restored. What its node does not have any more can be had
// where it was offered, if it was fetched there [FED-EP-1].
func (m *machine) ownOfferAgain(s *step, in *inbound) error {
	f, ref, err := offeredFile(in)
	if err != nil || !m.media() || !in.fresh(m, s) {
		return err
	}
	if f.From, err = m.authorOf(s, in); err != nil {
		return err
	}
	if f.To, err = m.person(s, in, in.event.To); err != nil {
		return err
	}
	waiting := 0
	if _, err := s.findFile(0, f.To, "", &waiting); err != nil {
		return err
	}
	if waiting >= protocol.MaxOfflineFiles { // it is older than what was offered since
		return nil
	}
	_, err = m.takeOffer(s, in, f, ref)
	return err
}

// maySeePicture reports whether a blob is the picture of a group of this cluster's that a peer is in, or of somebody of whom it was told [FED-FILE-4].
func (t *txn) maySeePicture(peer fed.ClusterID, out fed.Allow, blob *protocol.Blob, id protocol.BlobID) (may bool, err error) {
	who := acquaintance{peer: peer, groups: map[protocol.GroupID]bool{}}
	prefix := blobKey(id, []byte{showsAvatar})
	err = t.scan(bShower, prefix, prefix, func(key, _ []byte) (bool, error) {
		u, err := idOf[protocol.UserID](key[len(prefix):])
		switch {
		case err != nil:
			return true, badRow(bShower, key, err)
		case u < protocol.MaxLocalID && out.Has(fed.AllowDirectory):
			may = true
		case u < protocol.MaxLocalID:
			may, err = who.knows(t, u)
		case out.Has(fed.AllowGroups):
			may, err = t.mayIntroduce(u, peer, blob.Peer, id)
		}
		return may || err != nil, err
	})
	if may || err != nil || !out.Has(fed.AllowGroups) {
		return may, err
	}
	prefix = blobKey(id, []byte{showsGroup})
	err = t.scan(bShower, prefix, prefix, func(key, _ []byte) (bool, error) {
		g, err := idOf[protocol.GroupID](key[len(prefix):])
		if err != nil {
			return true, badRow(bShower, key, err)
		}
		may = t.isIn(g, peer)
		return may, nil
	})
	return may, err
}

// mayIntroduce reports whether a peer was told of somebody abroad, by a group of this cluster's that both are in, and may have from here what his picture shows: if that is of his
// cluster, or may be had by it. Naming another's blob as one's picture gives it to nobody.
func (t *txn) mayIntroduce(u protocol.UserID, peer, from fed.ClusterID, id protocol.BlobID) (may bool, err error) {
	home, _, ok, err := t.ref(aliasUser, uint32(u))
	if err != nil || !ok || home == peer {
		return false, err
	}
	offered := blobKey(id, home[:])
	if key, _ := t.bucket(bOffered).Cursor().Seek(offered); from != home && !hasPrefix(key, offered) {
		return false, nil
	}
	err = t.eachSession(u, func(s protocol.Session, row *sessionRow) error {
		may = may || s.Type == protocol.SessionGroup && row.stay() != nil && t.isIn(s.Group(), peer)
		return nil
	})
	return may, err
}

// isIn reports whether a peer is in a group of this cluster's.
func (t *txn) isIn(g protocol.GroupID, peer fed.ClusterID) bool {
	key := sinceKey(g, peer)
	return t.row(bSince, key[:]) != nil
}

// pictureOf is what a user's avatar, or the picture of a group, shows, for another office; zero if that is no blob.
func (t *txn) pictureOf(by shower) (protocol.BlobRef, error) {
	shown, _, err := t.shown(by)
	if err != nil || len(shown.Refs) == 0 {
		return protocol.BlobRef{}, err
	}
	row, found, err := t.blob(shown.Refs[0].ID)
	if err != nil || !found {
		return protocol.BlobRef{}, err
	}
	return protocol.BlobRef{ID: row.Blob.ID, Size: row.Blob.Size, Type: row.Blob.Type}, nil
}

// meetPicture records the picture of a person's or a group's profile that was just taken, if that shows it [FED-FILE-4].
func (m *machine) meetPicture(s *step, in *inbound, by shower, picture protocol.BlobRef) error {
	refs := []protocol.BlobRef{picture}
	if !m.media() || in.peer == nil || !in.peer.In.Has(fed.AllowFiles) || picture.ID.IsZero() || picture.Size > protocol.MaxBlobSize || len(picture.Type) > protocol.MaxContentType {
		return nil
	}
	shown, _, err := s.shown(by)
	if err != nil || len(shown.Refs) != 1 || shown.Refs[0].ID != picture.ID {
		return err
	}
	return m.meetBlobs(s, refs, in.sender)
}
