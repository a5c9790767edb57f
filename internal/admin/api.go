package admin

import (
	"fmt"
	"time"

	"teamtalk/internal/cluster"
	"teamtalk/protocol"
)

// Error is what a failed request is answered with.
type Error struct {
	Status  int      `json:"-"` // HTTP status
	Code    string   `json:"code"`
	Message string   `json:"message"`
	Details []string `json:"details,omitempty"` // one problem each, when there are several
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// User is a person as the API shows it.
type User struct {
	ID         protocol.UserID `json:"id"`
	Name       string          `json:"name"`
	Nick       string          `json:"nick"`
	Gender     Gender          `json:"gender"`
	Avatar     string          `json:"avatar,omitempty"`
	Department protocol.DeptID `json:"department"`
	Email      string          `json:"email,omitempty"`
	Phone      string          `json:"phone,omitempty"`
	Domain     string          `json:"domain,omitempty"` // pinyin, for search
	Status     Status          `json:"status"`
	Sign       string          `json:"sign,omitempty"`
	Created    time.Time       `json:"created"`
	Updated    time.Time       `json:"updated"`
}

// UserPage is a part of the directory; Next is where the following part begins, 0 at the end.
type UserPage struct {
	Users []User          `json:"users"`
	Next  protocol.UserID `json:"next"`
}

// NewUser asks for a user; without a password he cannot log in until one is set.
type NewUser struct {
	Name     string `json:"name"`
	Password string `json:"password,omitempty"`
	UserEdit
}

// UserEdit changes the fields that are not nil.
type UserEdit struct {
	Nick       *string `json:"nick,omitempty"`
	Gender     *Gender `json:"gender,omitempty"`
	Avatar     *string `json:"avatar,omitempty"`
	Department *string `json:"department,omitempty"` // id or name; "" or "0" for none
	Email      *string `json:"email,omitempty"`
	Phone      *string `json:"phone,omitempty"`
	Domain     *string `json:"domain,omitempty"`
	Status     *Status `json:"status,omitempty"`
	Sign       *string `json:"sign,omitempty"`
}

// Password is the body of a request that sets one.
type Password struct {
	Password string `json:"password"`
}

// ImportProgress is a line of the answer to an import: how many users are ready to be stored, or how it ended.
type ImportProgress struct {
	Done  int    `json:"done"`
	Total int    `json:"total"`
	Ended bool   `json:"ended,omitempty"`
	Added int    `json:"added,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// Department is a department as the API shows it.
type Department struct {
	ID       protocol.DeptID `json:"id"`
	Name     string          `json:"name"`
	Parent   protocol.DeptID `json:"parent"`
	Priority uint32          `json:"priority"` // order of display
	Disabled bool            `json:"disabled"`
	Updated  time.Time       `json:"updated"`
}

// DepartmentList holds all departments.
type DepartmentList struct {
	Departments []Department `json:"departments"`
}

// NewDepartment asks for a department.
type NewDepartment struct {
	Name     string  `json:"name"`
	Parent   *string `json:"parent,omitempty"` // id or name
	Priority *uint32 `json:"priority,omitempty"`
}

// DepartmentEdit changes the fields that are not nil.
type DepartmentEdit struct {
	Name     *string `json:"name,omitempty"`
	Parent   *string `json:"parent,omitempty"` // id or name
	Priority *uint32 `json:"priority,omitempty"`
	Disabled *bool   `json:"disabled,omitempty"`
}

// Group is a group as the API shows it; Members only where one group is asked for.
type Group struct {
	ID      protocol.GroupID  `json:"id"`
	Name    string            `json:"name"`
	Type    GroupType         `json:"type"`
	Creator protocol.UserID   `json:"creator"` // 0: the operator
	Avatar  string            `json:"avatar,omitempty"`
	Version uint32            `json:"version"`
	Closed  bool              `json:"closed"`
	Created time.Time         `json:"created"`
	Updated time.Time         `json:"updated"`
	Members []protocol.UserID `json:"members,omitempty"`
}

// GroupPage is a part of all groups; Next is where the following part begins, 0 at the end.
type GroupPage struct {
	Groups []Group          `json:"groups"`
	Next   protocol.GroupID `json:"next"`
}

// NewGroup asks for a group.
type NewGroup struct {
	Name    string    `json:"name"`
	Type    GroupType `json:"type,omitempty"` // normal if not given
	Avatar  string    `json:"avatar,omitempty"`
	Members []string  `json:"members"` // ids or login names
}

// GroupEdit changes the fields that are not nil.
type GroupEdit struct {
	Name    *string `json:"name,omitempty"`
	Avatar  *string `json:"avatar,omitempty"`
	Creator *string `json:"creator,omitempty"` // id or login name
}

// Members adds people to a group or removes them; one of the two lists is empty.
type Members struct {
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// MembersChanged answers it.
type MembersChanged struct {
	Added   []protocol.UserID `json:"added,omitempty"`
	Removed []protocol.UserID `json:"removed,omitempty"`
	Members int               `json:"members"` // how many there are now
}

// ClusterStatus is how the cluster is.
type ClusterStatus = cluster.Status

// ClusterMember is one node in a ClusterStatus.
type ClusterMember = cluster.MemberStatus

// HeldBack is a node that keeps the cluster from using all that the others know.
type HeldBack = cluster.HeldBack

// NewJoinToken asks for a token that lets one node join.
type NewJoinToken struct {
	For string `json:"for,omitempty"` // a duration such as 30m; an hour if not given
}

// JoinToken is a token that lets one node join: a secret until it is used.
type JoinToken struct {
	Token     string    `json:"token"`
	ID        string    `json:"id"` // tells it apart in logs
	Addresses []string  `json:"addresses"`
	Expires   time.Time `json:"expires"`
}

// AfterDrain is what a node does when it is drained.
type AfterDrain = cluster.AfterDrain

// The ends of a drain: it stays without clients, its process ends, or it is removed from the cluster before that.
const (
	DrainStays   = cluster.DrainStays
	DrainStops   = cluster.DrainStops
	DrainRemoves = cluster.DrainRemoves
)

// NodeRequest asks for something to be done to a node. Without a name it is, where that makes sense, the node asked or any one.
type NodeRequest struct {
	Node  protocol.NodeID `json:"node,omitempty"`
	Force bool            `json:"force,omitempty"`
	// Then is what the node does when it is drained: "stop", "remove", or nothing.
	Then AfterDrain `json:"then,omitempty"`
}

// Leader is who leads after a transfer.
type Leader struct {
	Leader protocol.NodeID `json:"leader"`
}

// Status is an employment status, by its name in JSON.
type Status protocol.UserStatus

// Gender is 0 unknown, 1 male or 2 female, by its name in JSON.
type Gender uint8

// GroupType is normal or temp, by its name in JSON.
type GroupType protocol.GroupType

func statusNames() []string    { return []string{"active", "probation", "regular", "left", "intern"} }
func genderNames() []string    { return []string{"unknown", "male", "female"} }
func groupTypeNames() []string { return []string{"", "normal", "temp"} }

// String is the status's name.
func (s Status) String() string { return nameOf(uint8(s), statusNames()) }

// MarshalText is the status's name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a status's name.
func (s *Status) UnmarshalText(b []byte) error {
	return readName((*uint8)(s), "status", string(b), statusNames())
}

// String is the gender's name.
func (g Gender) String() string { return nameOf(uint8(g), genderNames()) }

// MarshalText is the gender's name.
func (g Gender) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads a gender's name.
func (g *Gender) UnmarshalText(b []byte) error {
	return readName((*uint8)(g), "gender", string(b), genderNames())
}

// String is the type's name.
func (t GroupType) String() string { return nameOf(uint8(t), groupTypeNames()) }

// MarshalText is the type's name.
func (t GroupType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads a type's name.
func (t *GroupType) UnmarshalText(b []byte) error {
	return readName((*uint8)(t), "group type", string(b), groupTypeNames())
}

func nameOf(n uint8, names []string) string {
	if int(n) < len(names) {
		return names[n]
	}
	return fmt.Sprintf("%d", n)
}

func readName(to *uint8, what, text string, names []string) error {
	var known []string
	for n, name := range names {
		if name == "" {
			continue
		}
		if name == text {
			*to = uint8(n)
			return nil
		}
		known = append(known, name)
	}
	return fmt.Errorf("%s %q is not one of %q", what, text, known)
}
