package state

import (
	"encoding/binary"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// Blob is what is recorded of a blob, and the nodes that have its content; none do of a blob that only another office has. NotFound if it is not recorded.
func (q *Queries) Blob(id protocol.BlobID) (blob protocol.Blob, nodes []protocol.NodeID, err error) {
	err = q.view(func(t *txn) error {
		row, found, err := t.blob(id)
		if err != nil {
			return err
		}
		if !found {
			return notFound("no blob %v", id)
		}
		blob = row.Blob
		nodes, err = t.holders(id)
		return err
	})
	return blob, nodes, err
}

// Blobs lists what is recorded, in order of ids, behind one: at most limit.
func (q *Queries) Blobs(after protocol.BlobID, limit int) (blobs []protocol.Blob, err error) {
	places, err := q.blobs(after, limit, false)
	for _, p := range places {
		blobs = append(blobs, p.Blob)
	}
	return blobs, err
}

// BlobPlaces is Blobs with the nodes that have their content.
func (q *Queries) BlobPlaces(after protocol.BlobID, limit int) ([]protocol.BlobPlace, error) {
	return q.blobs(after, limit, true)
}

func (q *Queries) blobs(after protocol.BlobID, limit int, holders bool) (places []protocol.BlobPlace, err error) {
	err = q.view(func(t *txn) error {
		if limit <= 0 {
			return nil
		}
		return t.scan(bBlob, nil, append(after[:], 0), func(key, b []byte) (bool, error) {
			var row blobRow
			if err := decodeRow(b, &row); err != nil {
				return true, badRow(bBlob, key, err)
			}
			p := protocol.BlobPlace{Blob: row.Blob}
			if holders {
				var err error
				if p.Nodes, err = t.holders(row.Blob.ID); err != nil {
					return true, err
				}
			}
			places = append(places, p)
			return len(places) >= limit, nil
		})
	})
	return places, err
}

// UnusedBlobs are those that nothing has shown since before a time, the longest unused first: at most limit. What nothing ever showed counts from when it was
// added, or brought again.
func (q *Queries) UnusedBlobs(before protocol.Time, limit int) ([]protocol.Blob, error) {
	return q.blobsBefore(bUnused, before, limit)
}

// BlobsAddedBefore are those that were added before a time, the oldest first: at most limit.
func (q *Queries) BlobsAddedBefore(before protocol.Time, limit int) ([]protocol.Blob, error) {
	return q.blobsBefore(bAdded, before, limit)
}

func (q *Queries) blobsBefore(index bucketID, before protocol.Time, limit int) (blobs []protocol.Blob, err error) {
	err = q.view(func(t *txn) error {
		if limit <= 0 {
			return nil
		}
		return t.scan(index, nil, nil, func(key, _ []byte) (bool, error) {
			if len(key) != 8+blobIDLen {
				return true, badRow(index, key, errRowLength)
			}
			if protocol.Time(binary.BigEndian.Uint64(key)) >= before {
				return true, nil
			}
			row, found, err := t.blob(protocol.BlobID(key[8:]))
			if err == nil && !found {
				err = badRow(index, key, errNoBlob)
			}
			blobs = append(blobs, row.Blob)
			return len(blobs) >= limit, err
		})
	})
	return blobs, err
}

// MayStore is CodeForbidden as long as PutBlob is refused because of the cluster's level, so that nobody brings for nothing what can't be recorded.
func (q *Queries) MayStore() error {
	return q.view(func(t *txn) error {
		if t.media() {
			return nil
		}
		return forbidden("pictures and files are stored once every node of the cluster runs a version that knows them, and may use it: upgrade all nodes")
	})
}

// BlobUsage is how many bytes the blobs have that a user brought, and how many all have, those of other offices of which there is a copy here among them.
// Copies on further nodes don't count.
func (q *Queries) BlobUsage(user protocol.UserID) (mine, all uint64, err error) {
	err = q.view(func(t *txn) error {
		mine, all = t.usage(user), t.number(metaBlobs)
		return nil
	})
	return mine, all, err
}

// MaySeeBlob reports whether a peer may have a blob: it was told of it by a message, a file offered or the picture of somebody or of a group that it was told of, that is still there,
// or it is that peer's own; and the rules of the link allow files [FED-FILE-2].
func (q *Queries) MaySeeBlob(peer [16]byte, id protocol.BlobID) (may bool, err error) {
	err = q.view(func(t *txn) error {
		a, err := openAbroad(t)
		if err != nil {
			return err
		}
		if p := a.peers[peer]; p == nil || !p.Linked() || !p.Out.Has(fed.AllowFiles) {
			return nil
		}
		row, _, err := t.blob(id)
		if may = !fed.ClusterID(peer).IsZero() && row.Blob.Peer == peer; may || err != nil {
			return err
		}
		prefix := blobKey(id, peer[:])
		key, _ := t.bucket(bOffered).Cursor().Seek(prefix)
		if may = hasPrefix(key, prefix); may {
			return nil
		}
		may, err = t.maySeePicture(peer, a.peers[peer].Out, &row.Blob, id)
		return err
	})
	return may, err
}

// OfflineFileByTask is the oldest file with a task id that waits for a user; NotFound if there is none.
func (q *Queries) OfflineFileByTask(to protocol.UserID, task string) (file protocol.OfflineFile, err error) {
	err = q.view(func(t *txn) error {
		found := false
		prefix := idKey(to)
		err := t.scan(bFile, prefix[:], prefix[:], func(key, row []byte) (bool, error) {
			f, err := fileOf(key, row)
			if found = err == nil && f.TaskID == task; found {
				file = f
			}
			return found, err
		})
		if err == nil && !found {
			err = notFound("no such file waits for user %d", to)
		}
		return err
	})
	return file, err
}
