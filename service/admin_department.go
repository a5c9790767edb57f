package service

import (
	"context"

	"teamtalk/protocol"
)

// ListDepartments is all departments, deleted ones too.
func (a *Admin) ListDepartments(context.Context) ([]protocol.Department, error) {
	departments, _, err := a.directory.DepartmentsSince(0)
	return departments, wrap("list departments", err)
}

// PutDepartment adds a department (ID 0) or replaces one; Deleted disables it. Names are unique among those not deleted.
// COMPAT: Android keeps only one of two departments with the same name.
func (a *Admin) PutDepartment(ctx context.Context, d protocol.Department) (protocol.Department, error) {
	if err := protocol.CheckName("department name", d.Name, protocol.MaxDepartmentName); err != nil {
		return protocol.Department{}, err
	}
	all, err := a.ListDepartments(ctx)
	if err != nil {
		return protocol.Department{}, err
	}
	if err := checkPlace(d, all); err != nil {
		return protocol.Department{}, err
	}
	cmd := &protocol.PutDepartment{Department: d}
	result, err := execute[protocol.PutDepartmentResult](ctx, a.directory, "put department", cmd)
	if err != nil {
		return protocol.Department{}, err
	}
	d.ID = result.ID
	return d, nil
}

// checkPlace refuses a department that does not exist, has the name of another, or is not in the tree.
func checkPlace(d protocol.Department, all []protocol.Department) error {
	byID := make(map[protocol.DeptID]protocol.Department, len(all))
	for _, other := range all {
		byID[other.ID] = other
		if other.ID != d.ID && other.Name == d.Name && !other.Deleted && !d.Deleted {
			return protocol.Errorf(protocol.CodeInvalid, "department %d has the name %q already", other.ID, d.Name)
		}
	}
	if _, ok := byID[d.ID]; d.ID != 0 && !ok {
		return protocol.Errorf(protocol.CodeNotFound, "no department %d", d.ID)
	}
	if d.Deleted {
		return nil
	}
	parent := d.Parent
	for range len(all) + 1 {
		if parent == 0 {
			return nil
		}
		p, ok := byID[parent]
		switch {
		case !ok || p.Deleted:
			return protocol.Errorf(protocol.CodeNotFound, "no department %d to be in", parent)
		case p.ID == d.ID:
			return protocol.Errorf(protocol.CodeInvalid, "department %d cannot be inside itself", d.ID)
		}
		parent = p.Parent
	}
	return protocol.Errorf(protocol.CodeInvalid, "the departments above %d form a circle", d.Parent)
}

// checkDepartment refuses a department that a user cannot be in; 0 is none.
func (a *Admin) checkDepartment(id protocol.DeptID) error {
	if id == 0 {
		return nil
	}
	departments, _, err := a.directory.DepartmentsSince(0)
	if err != nil {
		return wrap("departments", err)
	}
	for _, d := range departments {
		if d.ID == id && !d.Deleted {
			return nil
		}
	}
	return protocol.Errorf(protocol.CodeNotFound, "no department %d", id)
}
