package state

import (
	"bytes"
	"errors"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

var errNoBlob = errors.New("a blob that is not recorded")

// maxNodeName is how long the name of a node may be, in bytes.
const maxNodeName = 255

// putBlob records that a node has a blob. What makes the sums grow is weighed against the quotas: content that the cluster has already costs nobody anything.
func (m *machine) putBlob(s *step, c *protocol.PutBlob) (any, error) {
	if err := s.checkBlob(c); err != nil {
		return nil, err
	}
	before, found, err := s.blob(c.Blob.ID)
	if err != nil {
		return nil, err
	}
	row := before
	comes := !found || fed.ClusterID(c.Blob.Peer).IsZero() && !fed.ClusterID(row.Blob.Peer).IsZero() // to this office
	switch {
	case comes:
		row.Blob = c.Blob
		row.Blob.Added = s.now
	case row.Holders == 0, row.Blob.Type == "": // what is known of it may be another office's word; or nobody has looked at it before, since it came as a file
		row.Blob.Size, row.Blob.Type, row.Blob.Width, row.Blob.Height = c.Blob.Size, c.Blob.Type, c.Blob.Width, c.Blob.Height
	}
	holder := blobKey(c.Blob.ID, []byte(c.Node))
	holds := s.holds(holder)
	if !holds {
		row.Holders++
	}
	if err := s.roomForBlob(&before, &row, c); err != nil {
		return nil, err
	}
	if err := m.stamp(s); err != nil {
		return nil, err
	}
	if !holds {
		if err := s.put(bHolder, holder, nil); err != nil {
			return nil, err
		}
	}
	if row.Unused = 0; !s.isShown(row.Blob.ID) {
		row.Unused = s.now // whoever brought it, perhaps again, is about to show it
	}
	if fed.ClusterID(c.Blob.Peer).IsZero() { // a copy of another office's is nobody's upload
		row.Claims.add(claimantOf(c.Blob.Owner))
	}
	if err := s.saveBlob(&before, &row); err != nil {
		return nil, err
	}
	if comes || before.Holders == 0 {
		s.emit(protocol.BlobAdded{Blob: row.Blob, Node: c.Node})
	}
	return protocol.PutBlobResult{Blob: row.Blob, Known: found}, nil
}

func (t *txn) holds(holder []byte) bool {
	key, _ := t.bucket(bHolder).Cursor().Seek(holder)
	return bytes.Equal(key, holder)
}

func (t *txn) checkBlob(c *protocol.PutBlob) error {
	b := &c.Blob
	switch {
	case b.ID.IsZero():
		return invalid("the blob has no id")
	case b.Size > protocol.MaxBlobSize:
		return tooLarge("a blob of %d bytes: at most %d", b.Size, uint64(protocol.MaxBlobSize))
	}
	if err := protocol.CheckLine("content type", b.Type, protocol.MaxContentType); err != nil {
		return err
	}
	if err := protocol.CheckName("node", string(c.Node), maxNodeName); err != nil {
		return err
	}
	if b.Owner == 0 {
		return nil
	}
	_, err := t.user(b.Owner)
	return err
}

// roomForBlob refuses what goes beyond a quota of the command's. It writes nothing.
func (t *txn) roomForBlob(before, row *blobRow, c *protocol.PutBlob) error {
	size, counted := row.Blob.Size, before.Holders > 0
	if all := t.number(metaBlobs); !counted && c.Quota != 0 && (size > c.Quota || all > c.Quota-size) {
		return protocol.Errorf(protocol.CodeQuota, "there is no room for %d more bytes: all pictures and files may have %d together", size, c.Quota)
	}
	owner := row.Blob.Owner
	if counted && before.Blob.Owner == owner || owner == 0 || c.UserQuota == 0 {
		return nil
	}
	if mine := t.usage(owner); size > c.UserQuota || mine > c.UserQuota-size {
		return protocol.Errorf(protocol.CodeQuota, "there is no room for %d more bytes: a user's pictures and files may have %d together", size, c.UserQuota)
	}
	return nil
}

// saveBlob replaces a blob's row, its places in the indexes and its share of the sums; a row without id stands for none.
func (s *step) saveBlob(before, row *blobRow) error {
	if err := s.countBlob(before, false); err != nil {
		return err
	}
	if err := s.countBlob(row, true); err != nil {
		return err
	}
	for _, index := range []struct {
		bucket   bucketID
		was, now protocol.Time
	}{{bAdded, before.Blob.Added, row.Blob.Added}, {bUnused, before.Unused, row.Unused}} {
		if index.was == index.now {
			continue
		}
		if index.was != 0 {
			if err := s.drop(index.bucket, blobTimeKey(index.was, before.Blob.ID)); err != nil {
				return err
			}
		}
		if index.now != 0 {
			if err := s.put(index.bucket, blobTimeKey(index.now, row.Blob.ID), nil); err != nil {
				return err
			}
		}
	}
	if row.Blob.ID.IsZero() {
		return s.drop(bBlob, before.Blob.ID[:])
	}
	return s.putRow(bBlob, row.Blob.ID[:], row)
}

// countBlob adds a blob's bytes to the sums, or takes them off: those that some node has.
func (s *step) countBlob(row *blobRow, add bool) error {
	if row.Holders == 0 || row.Blob.Size == 0 {
		return nil
	}
	mine, all := s.usage(row.Blob.Owner), s.number(metaBlobs)
	if add {
		mine, all = mine+row.Blob.Size, all+row.Blob.Size
	} else {
		mine, all = mine-row.Blob.Size, all-row.Blob.Size
	}
	if err := s.setNumber(metaBlobs, all); err != nil {
		return err
	}
	key := idKey(row.Blob.Owner)
	if mine == 0 {
		return s.drop(bUsage, key[:])
	}
	return s.putNumber(bUsage, key[:], mine)
}

// holdBlobs notes which content a node has, or has no more.
func (m *machine) holdBlobs(s *step, c *protocol.HoldBlobs) (any, error) {
	if err := tooManyBlobs(c.IDs); err != nil {
		return nil, err
	}
	if err := protocol.CheckName("node", string(c.Node), maxNodeName); err != nil {
		return nil, err
	}
	result := protocol.HoldBlobsResult{}
	for _, id := range c.IDs {
		before, found, err := s.blob(id)
		if err != nil {
			return nil, err
		}
		if !found {
			result.Unknown = append(result.Unknown, id)
			continue
		}
		holder := blobKey(id, []byte(c.Node))
		row := before
		switch holds := s.holds(holder); {
		case holds == !c.Lost:
			continue
		case c.Lost:
			row.Holders--
			err = s.drop(bHolder, holder)
		default:
			row.Holders++
			err = s.put(bHolder, holder, nil)
		}
		if err != nil {
			return nil, err
		}
		if err := s.saveBlob(&before, &row); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func tooManyBlobs(ids []protocol.BlobID) error {
	if len(ids) > protocol.MaxBlobIDs {
		return tooLarge("%d blobs: at most %d in one command", len(ids), protocol.MaxBlobIDs)
	}
	return nil
}

// dropBlobs forgets blobs: by retention whatever shows them, by the sweep what nothing has shown for long enough. That is decided here, in the order of the log: what
// was shown meanwhile stays.
func (m *machine) dropBlobs(s *step, c *protocol.DropBlobs) (any, error) {
	if err := tooManyBlobs(c.IDs); err != nil {
		return nil, err
	}
	result := protocol.DropBlobsResult{}
	for _, id := range c.IDs {
		row, found, err := s.blob(id)
		if err != nil {
			return nil, err
		}
		switch {
		case !found:
			continue
		case c.Unused && (row.Unused == 0 || row.Unused >= c.Before):
			continue
		case !c.Unused && c.Before != 0 && row.Blob.Added >= c.Before:
			continue
		}
		if err := s.dropBlob(&row); err != nil {
			return nil, err
		}
		result.Dropped = append(result.Dropped, id)
	}
	return result, nil
}

// dropBlob forgets a blob, and has every node remove its content. What shows it goes on doing so: there is nothing behind it.
func (s *step) dropBlob(row *blobRow) error {
	id := row.Blob.ID
	nodes, err := s.holders(id)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		if err := s.drop(bHolder, blobKey(id, []byte(n))); err != nil {
			return err
		}
	}
	if err := s.saveBlob(row, &blobRow{}); err != nil {
		return err
	}
	s.dropped = append(s.dropped, id)
	return nil
}
