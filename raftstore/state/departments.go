package state

import "teamtalk/protocol"

// department reads a department that is not deleted.
func (t *txn) department(id protocol.DeptID) (protocol.Department, error) {
	var d protocol.Department
	key := idKey(id)
	found, err := t.readRow(bDept, key[:], &d)
	if err == nil && (!found || d.Deleted) {
		err = notFound("no department %d", id)
	}
	return d, err
}

// putDepartment adds a department or replaces one, a deleted one too. The tree stays a tree.
func (m *machine) putDepartment(s *step, c *protocol.PutDepartment) (any, error) {
	d := c.Department
	if err := protocol.CheckName("department name", d.Name, protocol.MaxDepartmentName); err != nil {
		return nil, err
	}
	if d.ID != 0 {
		key := idKey(d.ID)
		if s.row(bDept, key[:]) == nil {
			return nil, notFound("no department %d", d.ID)
		}
	}
	if !d.Deleted {
		if err := s.checkParents(d); err != nil {
			return nil, err
		}
	}
	if d.ID == 0 {
		id, err := s.nextID(metaDepts)
		if err != nil {
			return nil, err
		}
		d.ID = protocol.DeptID(id)
	}
	if err := m.stamp(s); err != nil {
		return nil, err
	}
	d.Updated = s.now
	key := idKey(d.ID)
	if err := s.putRow(bDept, key[:], d); err != nil {
		return nil, err
	}
	s.emit(protocol.DirectoryChanged{})
	return protocol.PutDepartmentResult{ID: d.ID}, nil
}

func (s *step) checkParents(d protocol.Department) error {
	for parent := d.Parent; parent != 0; {
		if parent == d.ID {
			return invalid("department %d would be below itself", d.ID)
		}
		p, err := s.department(parent)
		if err != nil {
			return err
		}
		parent = p.Parent
	}
	return nil
}

// DepartmentsSince lists the departments updated after t, deleted ones too, by id; newest is the latest update of all,
// at least t [TT-BUDDY-5].
func (q *Queries) DepartmentsSince(t protocol.Time) (depts []protocol.Department, newest protocol.Time, err error) {
	newest = t
	err = q.view(func(r *txn) error {
		return r.scan(bDept, nil, nil, func(key, row []byte) (bool, error) {
			var d protocol.Department
			if err := decodeRow(row, &d); err != nil {
				return true, badRow(bDept, key, err)
			}
			newest = max(newest, d.Updated)
			if d.Updated > t {
				depts = append(depts, d)
			}
			return false, nil
		})
	})
	return depts, newest, err
}
