package admin

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"teamtalk/protocol"
)

// AddressesFile is the name of the file in which a running server notes where it listens.
const AddressesFile = "addresses.json"

// Client calls the API of one server.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// NewClient calls the server whose ops listener is at base (http://host:port) with the given token.
func NewClient(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the URL of an ops listener: write http://host:port", base)
	}
	return &Client{base: strings.TrimSuffix(base, "/"), token: token, http: &http.Client{Transport: &http.Transport{}}}, nil
}

// ClientOf finds the running server of a data directory.
func ClientOf(dir string) (*Client, error) {
	path := filepath.Join(dir, AddressesFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no server is running on the data directory %s (there is no %s): start one, or say where it is with --data DIR or --ops URL --token-file FILE", dir, path)
	}
	if err != nil {
		return nil, fmt.Errorf("address of the server: %w", err)
	}
	var at struct {
		Ops string `json:"ops"`
	}
	if err := json.Unmarshal(b, &at); err != nil {
		return nil, fmt.Errorf("address of the server: %s: %w", path, err)
	}
	if at.Ops == "" {
		return nil, fmt.Errorf("the server of %s has its ops listener off: start it with --ops 127.0.0.1:8090", dir)
	}
	token, err := ReadToken(filepath.Join(dir, TokenFile))
	if err != nil {
		return nil, err
	}
	return NewClient("http://"+at.Ops, token)
}

// Close gives up idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Users is one page of the directory in the order of ids, beginning after the given one.
func (c *Client) Users(ctx context.Context, after protocol.UserID, limit int) (UserPage, error) {
	return ask[UserPage](ctx, c, "GET", "users?after="+strconv.Itoa(int(after))+"&limit="+strconv.Itoa(limit), nil)
}

// User is the user with an id or login name.
func (c *Client) User(ctx context.Context, ref string) (User, error) {
	return ask[User](ctx, c, "GET", "users/"+url.PathEscape(ref), nil)
}

// AddUser adds a user.
func (c *Client) AddUser(ctx context.Context, n NewUser) (User, error) {
	return ask[User](ctx, c, "POST", "users", n)
}

// EditUser changes a user.
func (c *Client) EditUser(ctx context.Context, ref string, e UserEdit) (User, error) {
	return ask[User](ctx, c, "PATCH", "users/"+url.PathEscape(ref), e)
}

// SetPassword sets a user's password, which ends his sessions.
func (c *Client) SetPassword(ctx context.Context, ref, password string) error {
	return c.call(ctx, "POST", "users/"+url.PathEscape(ref)+"/password", Password{password}, nil)
}

// ImportUsers adds the users of a CSV file, all or none, telling how far it is.
func (c *Client) ImportUsers(ctx context.Context, csv io.Reader, progress func(ImportProgress)) (added int, err error) {
	req, err := c.request(ctx, "POST", "users/import", csv)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "text/csv")
	resp, err := c.do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p ImportProgress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return 0, fmt.Errorf("answer to the import: %w", err)
		}
		switch {
		case p.Error != nil:
			return 0, p.Error
		case p.Ended:
			return p.Added, nil
		default:
			progress(p)
		}
	}
	return 0, fmt.Errorf("the server ended before the import did (nothing or all of it was added; `user list` tells): %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}

// Departments lists all departments, the disabled ones too.
func (c *Client) Departments(ctx context.Context) (DepartmentList, error) {
	return ask[DepartmentList](ctx, c, "GET", "departments", nil)
}

// Department is the department with an id or name.
func (c *Client) Department(ctx context.Context, ref string) (Department, error) {
	return ask[Department](ctx, c, "GET", "departments/"+url.PathEscape(ref), nil)
}

// AddDepartment adds a department.
func (c *Client) AddDepartment(ctx context.Context, n NewDepartment) (Department, error) {
	return ask[Department](ctx, c, "POST", "departments", n)
}

// EditDepartment changes a department.
func (c *Client) EditDepartment(ctx context.Context, ref string, e DepartmentEdit) (Department, error) {
	return ask[Department](ctx, c, "PATCH", "departments/"+url.PathEscape(ref), e)
}

// Groups is one page of all groups in the order of ids, beginning after the given one.
func (c *Client) Groups(ctx context.Context, after protocol.GroupID, limit int) (GroupPage, error) {
	return ask[GroupPage](ctx, c, "GET", "groups?after="+strconv.Itoa(int(after))+"&limit="+strconv.Itoa(limit), nil)
}

// Group is a group with its members.
func (c *Client) Group(ctx context.Context, id protocol.GroupID) (Group, error) {
	return ask[Group](ctx, c, "GET", groupPath(id), nil)
}

// AddGroup adds a group.
func (c *Client) AddGroup(ctx context.Context, n NewGroup) (Group, error) {
	return ask[Group](ctx, c, "POST", "groups", n)
}

// EditGroup changes a group's profile.
func (c *Client) EditGroup(ctx context.Context, id protocol.GroupID, e GroupEdit) (Group, error) {
	return ask[Group](ctx, c, "PATCH", groupPath(id), e)
}

// CloseGroup removes all members of a group; it does not come back.
func (c *Client) CloseGroup(ctx context.Context, id protocol.GroupID) error {
	return c.call(ctx, "DELETE", groupPath(id), nil, nil)
}

// ChangeMembers adds people to a group or removes them.
func (c *Client) ChangeMembers(ctx context.Context, id protocol.GroupID, m Members) (MembersChanged, error) {
	return ask[MembersChanged](ctx, c, "POST", groupPath(id)+"/members", m)
}

// Cluster tells how the cluster is.
func (c *Client) Cluster(ctx context.Context) (ClusterStatus, error) {
	return ask[ClusterStatus](ctx, c, "GET", "cluster", nil)
}

// JoinToken makes a token that lets one node join within the given time; 0: an hour.
func (c *Client) JoinToken(ctx context.Context, life time.Duration) (JoinToken, error) {
	n := NewJoinToken{}
	if life != 0 {
		n.For = life.String()
	}
	return ask[JoinToken](ctx, c, "POST", "cluster/token", n)
}

// RemoveNode takes a node out of the cluster for ever.
func (c *Client) RemoveNode(ctx context.Context, id protocol.NodeID, force bool) error {
	return c.call(ctx, "POST", "cluster/remove", NodeRequest{Node: id, Force: force}, nil)
}

// TransferLead makes another node the leader, "" any one that is up to date, and tells which.
func (c *Client) TransferLead(ctx context.Context, to protocol.NodeID) (protocol.NodeID, error) {
	l, err := ask[Leader](ctx, c, "POST", "cluster/transfer", NodeRequest{Node: to})
	return l.Leader, err
}

// DrainNode has a node, "" the one asked, begin to send its clients elsewhere, and do something when none is left.
func (c *Client) DrainNode(ctx context.Context, id protocol.NodeID, then AfterDrain) error {
	return c.call(ctx, "POST", "cluster/drain", NodeRequest{Node: id, Then: then}, nil)
}

// SnapshotNode has a node, "" the one asked, cut its log.
func (c *Client) SnapshotNode(ctx context.Context, id protocol.NodeID) error {
	return c.call(ctx, "POST", "cluster/snapshot", NodeRequest{Node: id}, nil)
}

// Backup writes a copy of the server's state to w. What was written is whole only if there is no error. encrypts promises that w does so: without it, a server
// that other offices know refuses, for its root key is in the copy.
func (c *Client) Backup(ctx context.Context, w io.Writer, encrypts bool) (int64, error) {
	path := "cluster/backup"
	if encrypts {
		path += "?" + encryptedByCaller
	}
	req, err := c.request(ctx, "GET", path, nil)
	if err != nil {
		return 0, err
	}
	resp, err := c.do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	n, err := io.Copy(w, resp.Body)
	if err != nil {
		return n, fmt.Errorf("backup of the server at %s: %w", c.base, err)
	}
	switch outcome := resp.Trailer.Get(backupTrailer); outcome {
	case backupComplete:
		return n, nil
	case "":
		return n, fmt.Errorf("backup of the server at %s: it ended before its end: %w", c.base, io.ErrUnexpectedEOF)
	default:
		return n, fmt.Errorf("backup of the server at %s: it failed half-way: %s", c.base, outcome)
	}
}

func groupPath(id protocol.GroupID) string { return "groups/" + strconv.Itoa(int(id)) }

// ask sends a request and returns its answer.
func ask[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var answer T
	err := c.call(ctx, method, path, body, &answer)
	return answer, err
}

// call sends a request and decodes the answer into to; a refusal is an *Error.
func (c *Client) call(ctx context.Context, method, path string, body, to any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("admin request: %w", err)
		}
		r = bytes.NewReader(b)
	}
	req, err := c.request(ctx, method, path, r)
	if err != nil {
		return err
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if to == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(to); err != nil {
		return fmt.Errorf("answer of the server at %s: %w", c.base, err)
	}
	return nil
}

func (c *Client) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api/v1/"+path, body)
	if err != nil {
		return nil, fmt.Errorf("admin request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	return req, nil
}

// do sends the request; any answer but 200 is an error.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err // without the method and the whole URL
		}
		return nil, fmt.Errorf("no answer from the server at %s (is it running?): %w", c.base, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	refused := &Error{Status: resp.StatusCode}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if json.Unmarshal(b, refused) != nil || refused.Message == "" {
		refused.Message = fmt.Sprintf("the server at %s answered %s, which is not an admin API", c.base, resp.Status)
	}
	return nil, refused
}
