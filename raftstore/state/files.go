package state

import (
	"encoding/binary"

	"teamtalk/protocol"
)

// addOfflineFile notes a waiting file; naming the same one again changes nothing, so that a repeat does no harm [TT-FILE-3].
func (m *machine) addOfflineFile(s *step, c *protocol.AddOfflineFile) error {
	f := c.File
	if err := protocol.CheckName("task id", f.TaskID, protocol.MaxTaskID); err != nil {
		return err
	}
	if err := protocol.CheckName("file name", f.Name, protocol.MaxFileName); err != nil {
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
	if waiting >= protocol.MaxOfflineFiles {
		return protocol.Errorf(protocol.CodeQuota, "%d files wait for user %d: no more until he takes some", waiting, f.To)
	}
	if err := m.stamp(s); err != nil {
		return err
	}
	f.Added = s.now
	s.emit(protocol.OfflineFileAdded{File: f})
	key := placeKey(uint32(f.To), s.at)
	return s.putRow(bFile, key[:], f)
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
	return s.drop(bFile, key)
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
