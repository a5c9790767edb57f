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
	e := fed.Event{ID: m.eventID(s.at), Time: s.now, To: to}
	if e.Author, err = m.userRef(s.txn, f.From); err != nil {
		return err
	}
	offer := fed.FileOffer{Name: f.Name, Size: uint64(f.Size), SHA256: f.Blob, Task: f.TaskID, Type: blob.Type}
	_, err = m.putOut(s, k, fed.TypeFileOffer, protocol.Position{}, e.Encode(fed.TypeFileOffer, offer))
	return err
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
	offer, err := fed.BodyOf[fed.FileOffer](in.event)
	if err != nil {
		return err
	}
	ref := []protocol.BlobRef{{ID: offer.SHA256, Size: offer.Size, Type: offer.Type}}
	switch to := in.event.To; {
	case to.IsZero():
		return invalid("a file is offered to one user")
	case offer.Size > maxFile:
		return tooLarge("a file of %d bytes: at most %d", offer.Size, uint32(maxFile))
	}
	if err := checkRefs(ref); err != nil {
		return err
	}
	to := in.event.To.ID
	if err := m.localEmployed(s.txn, to); err != nil {
		return err
	}
	f := protocol.OfflineFile{To: to, TaskID: offer.Task, Name: offer.Name, Size: uint32(offer.Size), Blob: offer.SHA256}
	if err := checkFile(&f); err != nil {
		return err
	}
	if !in.fresh(m, s) {
		return nil
	}
	waiting := 0
	if _, err := s.findFile(0, to, "", &waiting); err != nil {
		return err
	}
	if waiting >= protocol.MaxOfflineFiles {
		return tooMany(to, waiting)
	}
	if f.From, err = m.person(s, in, in.event.Author); err != nil {
		return err
	}
	key := eventKey(in.event.ID)
	if err := s.put(bOrigin, key[:], s.room(positionLen)); err != nil { // it has no place among the messages
		return err
	}
	if at, err := s.findFile(f.From, to, f.TaskID, &waiting); err != nil || at != nil {
		return err
	}
	if err := m.meetBlobs(s, ref, in.sender); err != nil {
		return err
	}
	return m.putFile(s, f)
}

// pictureOf is what a user's avatar shows, for another office; zero if that is no blob.
func (t *txn) pictureOf(u protocol.UserID) (protocol.BlobRef, error) {
	shown, _, err := t.shown(avatarShower(u))
	if err != nil || len(shown.Refs) == 0 {
		return protocol.BlobRef{}, err
	}
	row, found, err := t.blob(shown.Refs[0].ID)
	if err != nil || !found {
		return protocol.BlobRef{}, err
	}
	return protocol.BlobRef{ID: row.Blob.ID, Size: row.Blob.Size, Type: row.Blob.Type}, nil
}

// meetPicture records the picture of a profile that was just taken, if that shows it [FED-FILE-4].
func (m *machine) meetPicture(s *step, in *inbound, u protocol.UserID, picture protocol.BlobRef) error {
	refs := []protocol.BlobRef{picture}
	if !m.media() || in.peer == nil || !in.peer.In.Has(fed.AllowFiles) || picture.Size > protocol.MaxBlobSize || len(picture.Type) > protocol.MaxContentType {
		return nil
	}
	shown, _, err := s.shown(avatarShower(u))
	if err != nil || len(shown.Refs) != 1 || shown.Refs[0].ID != picture.ID {
		return err
	}
	return m.meetBlobs(s, refs, in.sender)
}
