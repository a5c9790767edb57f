package main

import (
	"context"
	"errors"
	"fmt"

	"teamtalk/internal/admin"
	"teamtalk/internal/texttable"
)

type departmentCmd struct {
	Add     departmentAddCmd     `cmd:"" help:"Add a department."`
	List    departmentListCmd    `cmd:"" help:"List departments."`
	Show    departmentShowCmd    `cmd:"" help:"Show one department."`
	Edit    departmentEditCmd    `cmd:"" help:"Change a department."`
	Disable departmentDisableCmd `cmd:"" help:"Hide a department from clients."`
	Enable  departmentEnableCmd  `cmd:"" help:"Show a department to clients again."`
}

func departmentTable(departments ...admin.Department) texttable.Table {
	t := texttable.Table{{"ID", "NAME", "PARENT", "PRIORITY", "STATUS"}}
	for _, d := range departments {
		status := "active"
		if d.Disabled {
			status = "disabled"
		}
		t = append(t, []string{fmt.Sprint(d.ID), d.Name, fmt.Sprint(d.Parent), fmt.Sprint(d.Priority), status})
	}
	return t
}

type departmentAddCmd struct {
	target
	Parent   *string `placeholder:"DEPARTMENT" help:"The department it is part of, by name or id."`
	Priority *uint32 `placeholder:"N" help:"Place in the order of display."`
	Name     string  `arg:"" help:"Name."`
}

// Run adds the department.
func (c *departmentAddCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		d, err := api.AddDepartment(ctx, admin.NewDepartment{Name: c.Name, Parent: c.Parent, Priority: c.Priority})
		if err != nil {
			return err
		}
		return c.answer(term, d, departmentTable(d))
	})
}

type departmentListCmd struct {
	target
}

// Run lists the departments.
func (c *departmentListCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		l, err := api.Departments(ctx)
		if err != nil {
			return err
		}
		return c.answer(term, l.Departments, departmentTable(l.Departments...))
	})
}

type departmentShowCmd struct {
	target
	Department string `arg:"" help:"Name or id."`
}

// Run shows the department.
func (c *departmentShowCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		d, err := api.Department(ctx, c.Department)
		if err != nil {
			return err
		}
		return c.answer(term, d, departmentTable(d))
	})
}

type departmentEditCmd struct {
	target
	Name       *string `placeholder:"TEXT" help:"New name."`
	Parent     *string `placeholder:"DEPARTMENT" help:"The department it is part of, by name or id; 0 for none."`
	Priority   *uint32 `placeholder:"N" help:"Place in the order of display."`
	Department string  `arg:"" help:"Name or id."`
}

// Run changes the department.
func (c *departmentEditCmd) Run(term *terminal) error {
	e := admin.DepartmentEdit{Name: c.Name, Parent: c.Parent, Priority: c.Priority}
	if e == (admin.DepartmentEdit{}) {
		return errors.New("nothing to change: give --name, --parent or --priority")
	}
	return c.changeDepartment(term, c.Department, e)
}

// changeDepartment edits a department and shows what became of it.
func (t *target) changeDepartment(term *terminal, department string, e admin.DepartmentEdit) error {
	return t.call(func(ctx context.Context, api *admin.Client) error {
		d, err := api.EditDepartment(ctx, department, e)
		if err != nil {
			return err
		}
		return t.answer(term, d, departmentTable(d))
	})
}

type departmentDisableCmd struct {
	target
	Department string `arg:"" help:"Name or id."`
}

// Run disables the department.
func (c *departmentDisableCmd) Run(term *terminal) error {
	disabled := true
	return c.changeDepartment(term, c.Department, admin.DepartmentEdit{Disabled: &disabled})
}

type departmentEnableCmd struct {
	target
	Department string `arg:"" help:"Id (a disabled department is not found by name)."`
}

// Run enables the department.
func (c *departmentEnableCmd) Run(term *terminal) error {
	disabled := false
	return c.changeDepartment(term, c.Department, admin.DepartmentEdit{Disabled: &disabled})
}
