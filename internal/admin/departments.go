package admin

import (
	"context"
	"net/http"

	"teamtalk/protocol"
)

// Departments is what the API needs to know about the company's tree.
type Departments interface {
	ListDepartments(ctx context.Context) ([]protocol.Department, error)                    // the disabled ones too
	PutDepartment(ctx context.Context, d protocol.Department) (protocol.Department, error) // ID 0 adds
}

func departmentOf(d protocol.Department) Department {
	return Department{ID: d.ID, Name: d.Name, Parent: d.Parent, Priority: d.Priority, Disabled: d.Deleted, Updated: d.Updated.Std()}
}

// department finds a department by id or, if only one has it, by name.
func (s *server) department(ctx context.Context, ref string) (protocol.Department, error) {
	all, err := s.departments.ListDepartments(ctx)
	if err != nil {
		return protocol.Department{}, err
	}
	id, byID := idOf(ref)
	var found []protocol.Department
	for _, d := range all {
		if byID && d.ID == protocol.DeptID(id) {
			return d, nil
		}
		if !byID && d.Name == ref && !d.Deleted {
			found = append(found, d)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return protocol.Department{}, protocol.Errorf(protocol.CodeNotFound, "there is no department %q", ref)
	default:
		return protocol.Department{}, protocol.Errorf(protocol.CodeInvalid, "%d departments are called %q: use the id", len(found), ref)
	}
}

// departmentID is department for a reference that may also name none.
func (s *server) departmentID(ctx context.Context, ref string) (protocol.DeptID, error) {
	if ref == "" || ref == "0" {
		return 0, nil
	}
	d, err := s.department(ctx, ref)
	return d.ID, err
}

func (s *server) listDepartments(ctx context.Context, _ *http.Request) (any, error) {
	all, err := s.departments.ListDepartments(ctx)
	if err != nil {
		return nil, err
	}
	l := DepartmentList{Departments: make([]Department, 0, len(all))}
	for _, d := range all {
		l.Departments = append(l.Departments, departmentOf(d))
	}
	return l, nil
}

func (s *server) showDepartment(ctx context.Context, r *http.Request) (any, error) {
	d, err := s.department(ctx, r.PathValue("department"))
	if err != nil {
		return nil, err
	}
	return departmentOf(d), nil
}

func (s *server) addDepartment(ctx context.Context, r *http.Request) (any, error) {
	var n NewDepartment
	if err := readJSON(r, &n); err != nil {
		return nil, err
	}
	d := protocol.Department{Name: n.Name}
	if err := s.applyDepartmentEdit(ctx, &d, DepartmentEdit{Parent: n.Parent, Priority: n.Priority}); err != nil {
		return nil, err
	}
	d, err := s.departments.PutDepartment(ctx, d)
	if err != nil {
		return nil, err
	}
	s.log.Info("department added", "department", d.ID, "name", d.Name)
	return s.departmentNow(ctx, d.ID)
}

func (s *server) editDepartment(ctx context.Context, r *http.Request) (any, error) {
	var e DepartmentEdit
	if err := readJSON(r, &e); err != nil {
		return nil, err
	}
	d, err := s.department(ctx, r.PathValue("department"))
	if err != nil {
		return nil, err
	}
	if err := s.applyDepartmentEdit(ctx, &d, e); err != nil {
		return nil, err
	}
	if d, err = s.departments.PutDepartment(ctx, d); err != nil {
		return nil, err
	}
	s.log.Info("department edited", "department", d.ID, "disabled", d.Deleted)
	return s.departmentNow(ctx, d.ID)
}

func (s *server) applyDepartmentEdit(ctx context.Context, d *protocol.Department, e DepartmentEdit) error {
	if e.Name != nil {
		d.Name = *e.Name
	}
	if e.Priority != nil {
		d.Priority = *e.Priority
	}
	if e.Disabled != nil {
		d.Deleted = *e.Disabled
	}
	if e.Parent != nil {
		parent, err := s.departmentID(ctx, *e.Parent)
		if err != nil {
			return err
		}
		d.Parent = parent
	}
	return nil
}

// departmentNow reads a department back: only the store knows when it changed.
func (s *server) departmentNow(ctx context.Context, id protocol.DeptID) (any, error) {
	all, err := s.departments.ListDepartments(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.ID == id {
			return departmentOf(d), nil
		}
	}
	return nil, protocol.Errorf(protocol.CodeNotFound, "there is no department with id %d", id)
}
