package state

import (
	"bytes"
	"encoding/binary"

	"teamtalk/protocol"
)

// addOfflineFile notes a waiting file; naming the same one again changes nothing, so that a repeat does no harm [TT-FILE-3].
func (m *machine) addOfflineFile(s *step, c *protocol.AddOfflineFile) error {
	f := c.File
	if err := checkFile(&f); err != nil {
		return err
	}
	if err := m.employed(s.txn, f.From); err != nil {
		return err
	}
	if err := m.employed(s.txn, f.To); err != nil {
		return err
	}
	waiting := 0
	at, err := s.findFile(f.From, f.To, f.TaskID, &waiting)
	if err != nil {
		return err
	}
	if at != nil {
		return nil
	}
	abroad := f.To >= protocol.MaxLocalID && m.media()
	if waiting >= protocol.MaxOfflineFiles && !abroad {
		return tooMany(f.To, waiting)
	}
	row, err := m.fileBlob(s, &f, abroad)
	if err != nil {
		return err
	}
	if abroad {
		if waiting >= protocol.MaxOfflineFiles {
			if err := s.dropOldestFile(f.To); err != nil {
				return err
			}
		}
		if err := m.offerFile(s, &f, &row.Blob); err != nil {
			return err
		}
	}
	return m.putFile(s, f)
}

func checkFile(f *protocol.OfflineFile) error {
	if err := protocol.CheckName("task id", f.TaskID, protocol.MaxTaskID); err != nil {
		return err
	}
	return protocol.CheckName("file name", f.Name, protocol.MaxFileName)
}

func tooMany(to protocol.UserID, waiting int) error {
	return protocol.Errorf(protocol.CodeQuota, "%d files wait for user %d: no more until he takes some", waiting, to)
}

// fileBlob is the content of a file that is to wait: whoever puts it there has brought it. For somebody abroad there has to be some, and the rules of the link have to let it pass.
func (m *machine) fileBlob(s *step, f *protocol.OfflineFile, abroad bool) (row blobRow, err error) {
	if f.Blob.IsZero() {
		if abroad {
			return row, invalid("a file for somebody of another office needs content that is stored here")
		}
		return row, nil
	}
	row, found, err := s.blob(f.Blob)
	if err != nil {
		return row, err
	}
	if !found {
		return row, notFound("no blob %v", f.Blob)
	}
	if abroad {
		err = m.mayOffer(s.txn, f)
	}
	return row, err
}

// putFile stores a waiting file. Its content is kept as long as it waits, and then as long as what is unused: clients take a file off the list when they begin to read it.
func (m *machine) putFile(s *step, f protocol.OfflineFile) error {
	if err := m.stamp(s); err != nil {
		return err
	}
	f.Added = s.now
	s.emit(protocol.OfflineFileAdded{File: f})
	key := placeKey(uint32(f.To), s.at)
	if !f.Blob.IsZero() {
		peers, err := s.clustersWith(protocol.Conversation{Type: protocol.SessionSingle, B: uint32(f.To)})
		if err != nil {
			return err
		}
		if err := s.show(fileShower(key[:]), []protocol.BlobRef{{ID: f.Blob}}, peers, false); err != nil {
			return err
		}
	}
	return s.putRow(bFile, key[:], f)
}

// takeFile forgets a waiting file, and how it was offered if it came from abroad.
func (s *step) takeFile(key []byte) error {
	if err := s.show(fileShower(key), nil, nil, false); err != nil {
		return err
	}
	if err := s.forgetKept(positionOf(key[4:])); err != nil {
		return err
	}
	return s.drop(bFile, key)
}

// dropOldestFile makes room among what was offered to somebody abroad: nobody tells this office which files he has taken.
func (s *step) dropOldestFile(to protocol.UserID) error {
	prefix := idKey(to)
	key, _ := s.bucket(bFile).Cursor().Seek(prefix[:])
	return s.takeFile(bytes.Clone(key))
}

// deleteOfflineFile is for the two whom the file concerns [TT-FILE-4].
func (m *machine) deleteOfflineFile(s *step, c *protocol.DeleteOfflineFile) error {
	if c.Actor != c.From && c.Actor != c.To {
		return forbidden("the file is neither from nor for user %d", c.Actor)
	}
	var waiting int
	key, err := s.findFile(c.From, c.To, c.TaskID, &waiting)
	if err != nil {
		return err
	}
	if key == nil {
		return notFound("no such file waits for user %d", c.To)
	}
	return s.takeFile(key)
}

// findFile returns the key of a waiting file, nil if there is none, and counts those it looked at.
func (t *txn) findFile(from, to protocol.UserID, task string, waiting *int) (found []byte, err error) {
	prefix := idKey(to)
	err = t.scan(bFile, prefix[:], prefix[:], func(key, row []byte) (bool, error) {
		*waiting++
		f, err := fileOf(key, row)
		if err == nil && f.From == from && f.TaskID == task {
			found = append(found, key...)
		}
		return found != nil, err
	})
	return found, err
}

func fileOf(key, row []byte) (f protocol.OfflineFile, err error) {
	if err := decodeRow(row, &f); err != nil {
		return f, badRow(bFile, key, err)
	}
	if len(key) != 4+positionLen || binary.BigEndian.Uint32(key) != uint32(f.To) {
		return f, badRow(bFile, key, errRowLength)
	}
	return f, nil
}

// OfflineFiles lists the files that wait for a user, oldest first [TT-FILE-2].
func (q *Queries) OfflineFiles(to protocol.UserID) (files []protocol.OfflineFile, err error) {
	err = q.view(func(r *txn) error {
		prefix := idKey(to)
		return r.scan(bFile, prefix[:], prefix[:], func(key, row []byte) (bool, error) {
			f, err := fileOf(key, row)
			files = append(files, f)
			return false, err
		})
	})
	return files, err
}
