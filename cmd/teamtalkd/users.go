package main

import (
	"context"
	"errors"
	"fmt"

	"teamtalk/internal/admin"
	"teamtalk/internal/texttable"
	"teamtalk/protocol"
)

type userCmd struct {
	Add     userAddCmd     `cmd:"" help:"Add a user."`
	List    userListCmd    `cmd:"" help:"List users."`
	Show    userShowCmd    `cmd:"" help:"Show one user."`
	Edit    userEditCmd    `cmd:"" help:"Change a user's entry in the directory."`
	Disable userDisableCmd `cmd:"" help:"Mark a user as left: he is logged out and cannot log in."`
	Enable  userEnableCmd  `cmd:"" help:"Let a user log in again."`
	Passwd  userPasswdCmd  `cmd:"" help:"Set a user's password, which logs him out."`
	Import  userImportCmd  `cmd:"" help:"Add the users of a CSV file, all or none."`
}

// userFields are the flags for a user's entry; those not given stay as they are.
type userFields struct {
	Nick       *string `placeholder:"TEXT" help:"Nick name, the one that is shown; at first the login name."`
	Gender     *string `placeholder:"GENDER" help:"male, female or unknown."`
	Avatar     *string `placeholder:"URL" help:"Picture."`
	Department *string `placeholder:"DEPARTMENT" help:"Department, by name or id; 0 for none."`
	Email      *string `placeholder:"ADDRESS" help:"Mail address."`
	Phone      *string `placeholder:"NUMBER" help:"Telephone."`
	Domain     *string `placeholder:"TEXT" help:"Pinyin of the name, for search."`
	Sign       *string `placeholder:"TEXT" help:"Signature."`
}

func (f *userFields) edit() (admin.UserEdit, error) {
	e := admin.UserEdit{Nick: f.Nick, Avatar: f.Avatar, Department: f.Department, Email: f.Email, Phone: f.Phone, Domain: f.Domain, Sign: f.Sign}
	if f.Gender != nil {
		e.Gender = new(admin.Gender)
		if err := e.Gender.UnmarshalText([]byte(*f.Gender)); err != nil {
			return e, fmt.Errorf("--gender: %w", err)
		}
	}
	return e, nil
}

func userTable(users ...admin.User) texttable.Table {
	t := texttable.Table{{"ID", "NAME", "NICK", "DEPARTMENT", "STATUS", "EMAIL", "PHONE"}}
	for _, u := range users {
		t = append(t, []string{fmt.Sprint(u.ID), u.Name, orDash(u.Nick), fmt.Sprint(u.Department), u.Status.String(), orDash(u.Email), orDash(u.Phone)})
	}
	return t
}

type userAddCmd struct {
	target
	passwordFlag
	userFields
	NoPassword bool   `help:"Without a password: the user cannot log in until one is set."`
	Name       string `arg:"" help:"Login name."`
}

// Run adds the user.
func (c *userAddCmd) Run(term *terminal) error {
	edit, err := c.edit()
	if err != nil {
		return err
	}
	n := admin.NewUser{Name: c.Name, UserEdit: edit}
	if !c.NoPassword {
		if n.Password, err = c.read(term, c.Name); err != nil {
			return err
		}
	} else if c.Password != nil {
		return errors.New("--password and --no-password exclude each other")
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		u, err := api.AddUser(ctx, n)
		if err != nil {
			return err
		}
		return c.answer(term, u, userTable(u))
	})
}

const listPage = 1000

type userListCmd struct {
	target
	After protocol.UserID `placeholder:"ID" help:"Begin after this id."`
	Limit int             `placeholder:"N" help:"At most so many; 0 for all."`
}

// Run lists the users.
func (c *userListCmd) Run(term *terminal) error {
	if c.Limit < 0 {
		return errors.New("--limit is negative")
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		all := []admin.User{}
		for after := c.After; ; {
			want := listPage
			if c.Limit > 0 {
				want = min(want, c.Limit-len(all))
			}
			p, err := api.Users(ctx, after, want)
			if err != nil {
				return err
			}
			all = append(all, p.Users...)
			if after = p.Next; after == 0 || len(all) == c.Limit {
				return c.answer(term, all, userTable(all...))
			}
		}
	})
}

type userShowCmd struct {
	target
	User string `arg:"" help:"Login name or id."`
}

// Run shows the user.
func (c *userShowCmd) Run(term *terminal) error {
	return c.call(func(ctx context.Context, api *admin.Client) error {
		u, err := api.User(ctx, c.User)
		if err != nil {
			return err
		}
		return c.answer(term, u, texttable.Table{{"id", fmt.Sprint(u.ID)}, {"name", u.Name}, {"nick", orDash(u.Nick)}, {"gender", u.Gender.String()},
			{"department", fmt.Sprint(u.Department)}, {"status", u.Status.String()}, {"email", orDash(u.Email)}, {"phone", orDash(u.Phone)},
			{"domain", orDash(u.Domain)}, {"avatar", orDash(u.Avatar)}, {"sign", orDash(u.Sign)},
			{"created", u.Created.Format(timeFormat)}, {"updated", u.Updated.Format(timeFormat)}})
	})
}

const timeFormat = "2006-01-02 15:04:05 MST"

type userEditCmd struct {
	target
	userFields
	Status *string `placeholder:"STATUS" help:"active, probation, regular, intern or left."`
	User   string  `arg:"" help:"Login name or id."`
}

// Run changes the user.
func (c *userEditCmd) Run(term *terminal) error {
	e, err := c.edit()
	if err != nil {
		return err
	}
	if c.Status != nil {
		e.Status = new(admin.Status)
		if err := e.Status.UnmarshalText([]byte(*c.Status)); err != nil {
			return fmt.Errorf("--status: %w", err)
		}
	}
	if e == (admin.UserEdit{}) {
		return errors.New("nothing to change: give --nick, --department or another flag")
	}
	return c.change(term, c.User, e)
}

// change edits a user and shows what became of him.
func (t *target) change(term *terminal, user string, e admin.UserEdit) error {
	return t.call(func(ctx context.Context, api *admin.Client) error {
		u, err := api.EditUser(ctx, user, e)
		if err != nil {
			return err
		}
		return t.answer(term, u, userTable(u))
	})
}

type userDisableCmd struct {
	target
	User string `arg:"" help:"Login name or id."`
}

// Run disables the user.
func (c *userDisableCmd) Run(term *terminal) error {
	left := admin.Status(protocol.StatusLeft)
	return c.change(term, c.User, admin.UserEdit{Status: &left})
}

type userEnableCmd struct {
	target
	User string `arg:"" help:"Login name or id."`
}

// Run enables the user.
func (c *userEnableCmd) Run(term *terminal) error {
	active := admin.Status(protocol.StatusActive)
	return c.change(term, c.User, admin.UserEdit{Status: &active})
}

type userPasswdCmd struct {
	target
	passwordFlag
	User string `arg:"" help:"Login name or id."`
}

// Run sets the password.
func (c *userPasswdCmd) Run(term *terminal) error {
	password, err := c.read(term, c.User)
	if err != nil {
		return err
	}
	return c.call(func(ctx context.Context, api *admin.Client) error {
		if err := api.SetPassword(ctx, c.User, password); err != nil {
			return err
		}
		return c.said(term, "password of "+c.User+" set")
	})
}

// said answers a command that has nothing to show.
func (t *target) said(term *terminal, text string) error {
	if t.JSON {
		return printJSON(term.out, struct{}{})
	}
	_, err := fmt.Fprintln(term.out, text)
	return err
}
