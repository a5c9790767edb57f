package state

import (
	"slices"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// checkRefs refuses what a message can't show.
func checkRefs(refs []protocol.BlobRef) error {
	if len(refs) > protocol.MaxBlobRefs {
		return tooLarge("%d blobs: a message shows at most %d", len(refs), protocol.MaxBlobRefs)
	}
	for i := range refs {
		switch r := &refs[i]; {
		case r.ID.IsZero():
			return invalid("a blob without id")
		case r.Size > protocol.MaxBlobSize:
			return tooLarge("a blob of %d bytes: at most %d", r.Size, uint64(protocol.MaxBlobSize))
		}
		if err := protocol.CheckLine("content type", refs[i].Type, protocol.MaxContentType); err != nil {
			return err
		}
	}
	return nil
}

// show has something show these blobs from here on, and none other; peers are the clusters that are told of them by it. final: what it showed before
// is nobody's any more if nothing else shows it and nobody is about to, and is dropped at once; else it is left for the sweep of what is unused.
func (s *step) show(by shower, refs []protocol.BlobRef, peers []fed.ClusterID, final bool) error {
	old, had, err := s.shown(by)
	if err != nil {
		return err
	}
	if !had && len(refs) == 0 || had && slices.Equal(old.Refs, refs) && slices.Equal(old.Peers, peers) {
		return nil
	}
	if err := s.hide(by, &old); err != nil {
		return err
	}
	for _, r := range refs {
		if err := s.put(bShower, blobKey(r.ID, by), nil); err != nil {
			return err
		}
		for _, p := range peers {
			if err := s.put(bOffered, blobKey(r.ID, p[:], by), nil); err != nil {
				return err
			}
		}
	}
	if len(refs) > 0 {
		if err := s.putRow(bShown, by, shownRow{refs, peers}); err != nil {
			return err
		}
	}
	if err := s.endClaims(by, refs); err != nil {
		return err
	}
	for _, r := range slices.Concat(old.Refs, refs) {
		if err := s.settle(r.ID, final); err != nil {
			return err
		}
	}
	return nil
}

// endClaims takes off the claims of him who shows these blobs: the one that bears his name or else, since he may have brought them without saying it, the one without a name.
func (s *step) endClaims(by shower, refs []protocol.BlobRef) error {
	if len(refs) == 0 {
		return nil
	}
	who, err := s.whoShows(by)
	if err != nil {
		return err
	}
	for _, r := range refs {
		before, found, err := s.blob(r.ID)
		if err != nil {
			return err
		}
		row := before
		if !found || !row.Claims.remove(who) && !row.Claims.remove(byForm) {
			continue
		}
		if err := s.saveBlob(&before, &row); err != nil {
			return err
		}
	}
	return nil
}

// whoShows is the author of a message that is stored already, or whose avatar it is. Of other showers it is not known: what they show is never dropped at once.
func (t *txn) whoShows(by shower) (protocol.UserID, error) {
	switch by[0] {
	case showsMessage:
		row, err := t.message(positionOf(by[1:]))
		return row.from, err
	case showsAvatar:
		return idOf[protocol.UserID](by[1:])
	}
	return byForm, nil
}

// hide takes back all that show wrote.
func (s *step) hide(by shower, old *shownRow) error {
	for _, r := range old.Refs {
		if err := s.drop(bShower, blobKey(r.ID, by)); err != nil {
			return err
		}
		for _, p := range old.Peers {
			if err := s.drop(bOffered, blobKey(r.ID, p[:], by)); err != nil {
				return err
			}
		}
	}
	return s.drop(bShown, by)
}

// settle brings a blob's row in line with whether anything shows it.
func (s *step) settle(id protocol.BlobID, final bool) error {
	before, found, err := s.blob(id)
	if err != nil || !found {
		return err
	}
	row, isShown := before, s.isShown(id)
	switch {
	case isShown == (before.Unused == 0):
		return nil
	case isShown:
		row.Unused = 0
	case final && row.Claims == claims{}:
		return s.dropBlob(&before)
	default:
		row.Unused = s.now
	}
	return s.saveBlob(&before, &row)
}

// recorded are those blobs of a message of this cluster's own that are recorded, as they are: a text may name what is nowhere, and its author need not know sizes.
func (t *txn) recorded(refs []protocol.BlobRef) (all []protocol.BlobRef, err error) {
	for _, r := range refs {
		row, found, err := t.blob(r.ID)
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, protocol.BlobRef{ID: r.ID, Size: row.Blob.Size, Type: row.Blob.Type})
		}
	}
	return all, nil
}

// noteShown notes what a message that was just stored shows, and which clusters are told of it: all that are in its conversation, but for the one that it came from. That
// one has the content; if it has not, naming it is no way to get it.
func (m *machine) noteShown(s *step, conv protocol.Conversation, refs []protocol.BlobRef, from fed.ClusterID) error {
	if len(refs) == 0 {
		return nil
	}
	peers, err := s.clustersWith(conv)
	if err != nil {
		return err
	}
	peers = slices.DeleteFunc(peers, func(c fed.ClusterID) bool { return c == from })
	return s.show(messageShower(s.at), refs, peers, false)
}

// clustersWith are the other clusters of a conversation, as far as this one deals with them: of a group abroad its hub.
func (t *txn) clustersWith(c protocol.Conversation) ([]fed.ClusterID, error) {
	kind, alias := aliasUser, c.B
	if c.Type == protocol.SessionGroup {
		if kind, alias = aliasGroup, c.A; alias < protocol.MaxLocalID {
			return t.clustersIn(protocol.GroupID(alias))
		}
	}
	if alias < protocol.MaxLocalID {
		return nil, nil
	}
	peer, _, ok, err := t.ref(kind, alias)
	if err != nil || !ok {
		return nil, err
	}
	return []fed.ClusterID{peer}, nil
}

// showPath has a profile show what the text of its picture says, if that is the path of a blob. What it showed before may be on screens still.
func (s *step) showPath(by shower, text string) error {
	if !s.media() {
		return nil
	}
	var refs []protocol.BlobRef
	for _, p := range protocol.BlobPaths(text) {
		refs = append(refs, protocol.BlobRef{ID: p.ID})
	}
	return s.show(by, refs, nil, false)
}
