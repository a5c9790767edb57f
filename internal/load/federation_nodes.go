package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
)

const (
	linkLimit   = 2 * time.Minute
	acceptLimit = 10 * time.Second
	linkedEach  = 50 * time.Millisecond
	// firstUser of those who are looked for: no other user's name begins with one of so many digits.
	firstUser = 1000
)

// office is a cluster of one node, and the path over which others reach it.
type office struct {
	*Server
	domain string
	path   *path
}

// path is the network before an office: a link with its faults, and a relay for the one transport that is to be used.
type path struct {
	link  *simnet.Link
	addr  string
	close func() error
}

// offices are clusters that were started for a benchmark.
type offices struct {
	o    FederationOptions
	dir  string
	all  []*office
	last int // users of each, in all
}

// withOffices runs so many offices, each with so many users to be looked for, while body does. They are not linked yet.
func withOffices(ctx context.Context, o FederationOptions, name string, many, users int, body func(*offices) error) error {
	f := &offices{o: o, dir: filepath.Join(o.Dir, name), last: firstUser + users - 1}
	err := f.start(ctx, many)
	if err == nil {
		err = body(f)
	}
	return errors.Join(err, f.stop())
}

func (f *offices) start(ctx context.Context, many int) error {
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		return err
	}
	f.all = make([]*office, many)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(startsAtOnce)
	for i := range f.all {
		group.Go(func() error {
			var err error
			f.all[i], err = f.open(ctx, i)
			return err
		})
	}
	return group.Wait()
}

// startsAtOnce bounds the servers that start at the same time.
const startsAtOnce = 4

func (f *offices) open(ctx context.Context, i int) (*office, error) {
	dir := filepath.Join(f.dir, fmt.Sprint("office", i+1))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	flags := append([]string{"--node", "127.0.0.1:0", "--node-name", fmt.Sprint("office", i+1)}, f.o.Flags...)
	s, err := StartServer(ctx, f.o.Binary, dir, f.last, benchPassword, flags...)
	if err != nil {
		return nil, err
	}
	a := &office{Server: s, domain: fmt.Sprintf("office%d.example", i+1)}
	if a.path, err = newPath(s.Addresses, f.o.Via); err != nil {
		return a, err
	}
	err = a.call(ctx, http.MethodPost, "init", map[string]any{"domain": a.domain, "office": fmt.Sprint("Office ", i+1), "endpoints": []string{a.path.addr}}, nil)
	return a, err
}

// newPath makes a path without any fault yet.
func newPath(to Addresses, via Via) (*path, error) {
	p := &path{link: simnet.NewLink(1, simnet.Faults{})}
	if via == ViaQUIC {
		r, err := simnet.RelayUDP(p.link, to.QUIC)
		if err != nil {
			return nil, err
		}
		p.addr, p.close = r.Addr(), r.Close
		return p, nil
	}
	r, err := simnet.RelayTCP(p.link, to.TLS)
	if err != nil {
		return nil, err
	}
	p.addr, p.close = r.Addr(), r.Close
	return p, nil
}

// linkAll has all offices accept an invitation of the first one, and confirms on both sides.
func (f *offices) linkAll(ctx context.Context) error {
	first := f.all[0]
	for _, a := range f.all[1:] {
		if err := a.join(ctx, first); err != nil {
			return fmt.Errorf("link %s with %s: %w", a.domain, first.domain, err)
		}
	}
	return f.linked(ctx)
}

func (a *office) join(ctx context.Context, inviter *office) error {
	var code struct {
		Code        string `json:"code"`
		Fingerprint string `json:"fingerprint"`
	}
	if err := inviter.call(ctx, http.MethodPost, "invite", map[string]any{}, &code); err != nil {
		return err
	}
	if err := a.accept(ctx, code.Code); err != nil {
		return err
	}
	var self struct {
		Fingerprint string `json:"fingerprint"`
	}
	if err := a.call(ctx, http.MethodGet, "self", nil, &self); err != nil {
		return err
	}
	confirm := func(at *office, peer, fingerprint string) error {
		return at.call(ctx, http.MethodPost, "confirm", map[string]any{"peer": peer, "fingerprint": fingerprint, "in": []string{"all"}, "out": []string{"all"}}, nil)
	}
	if err := confirm(inviter, a.domain, self.Fingerprint); err != nil {
		return err
	}
	return confirm(a, inviter.domain, code.Fingerprint)
}

// accept uses an invitation, again if the other side is not ready for it yet: it may have been started a moment ago.
func (a *office) accept(ctx context.Context, code string) error {
	limit := time.Now().Add(acceptLimit)
	for {
		err := a.call(ctx, http.MethodPost, "accept", map[string]any{"code": code}, nil)
		if err == nil || time.Now().After(limit) {
			return err
		}
		if waited := wait(ctx, linkedEach); waited != nil {
			return errors.Join(err, waited)
		}
	}
}

// linked waits until the first office has all its links.
func (f *offices) linked(ctx context.Context) error {
	return f.await(ctx, linkLimit, func(s *fedStatus) bool {
		up := 0
		for _, l := range s.Links {
			if l.Up {
				up++
			}
		}
		return up == len(f.all)-1
	})
}

// await waits until the first office's links are as wanted.
func (f *offices) await(ctx context.Context, limit time.Duration, is func(*fedStatus) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var s *fedStatus // the last one: the time may be over in the middle of a question
	for {
		now, err := f.all[0].status(ctx)
		if err == nil {
			s = now
			if is(s) {
				return nil
			}
		}
		if waited := wait(ctx, linkedEach); waited != nil {
			return fmt.Errorf("the links of %s: %w: %s", f.all[0].domain, errors.Join(err, waited), s.words())
		}
	}
}

// setDelay makes a round trip to each office take so long.
func (f *offices) setDelay(roundTrip time.Duration) {
	for _, a := range f.all {
		a.path.link.SetDelay(roundTrip/2, 0)
	}
}

// stop ends all offices, and then the paths.
func (f *offices) stop() error {
	var all errgroup.Group
	for _, a := range f.all {
		if a != nil && a.Server != nil {
			all.Go(a.Stop)
		}
	}
	err := all.Wait()
	for _, a := range f.all {
		if a != nil && a.path != nil {
			err = errors.Join(err, a.path.close())
		}
	}
	return err
}

// fedStatus is what an office says of its links.
type fedStatus struct {
	Links []fedLink `json:"links"`
}

type fedLink struct {
	Domain   string `json:"domain"`
	State    string `json:"state"`
	Up       bool   `json:"up"`
	Via      string `json:"via"`
	Error    string `json:"error"`
	Depth    int64  `json:"depth"`
	Bytes    int64  `json:"bytes"`
	Sent     int64  `json:"events_sent"`
	Received int64  `json:"events_received"`
	Repeated int64  `json:"events_repeated"`
	Refused  int64  `json:"events_refused"`
}

// words is how the links are, for an error.
func (s *fedStatus) words() string {
	if s == nil {
		return "nothing is known"
	}
	var all []string
	for _, l := range s.Links {
		all = append(all, fmt.Sprintf("%s %s up=%t %s depth=%d %s", l.Domain, l.State, l.Up, l.Via, l.Depth, l.Error))
	}
	return strings.Join(all, "; ")
}

// depth is how many events wait for all peers.
func (s *fedStatus) depth() (n int64) {
	for _, l := range s.Links {
		n += l.Depth
	}
	return n
}

func (a *office) status(ctx context.Context) (*fedStatus, error) {
	s := new(fedStatus)
	return s, a.call(ctx, http.MethodGet, "", nil, s)
}

// find is what the users with a login name of other offices are called here, one for each office that has one.
func (a *office) find(ctx context.Context, name string) ([]protocol.UserID, error) {
	for {
		var found struct {
			Users []struct {
				ID   protocol.UserID `json:"id"`
				Name string          `json:"name"`
			} `json:"users"`
		}
		err := a.call(ctx, http.MethodGet, "people?text="+url.QueryEscape(name), nil, &found)
		var ids []protocol.UserID
		for _, u := range found.Users {
			ids = append(ids, u.ID)
		}
		if err == nil && len(ids) > 0 {
			return ids, nil
		}
		// Searches are limited to some a second, and who is over the limit is not heard.
		if waited := wait(ctx, searchAgain); waited != nil {
			return nil, fmt.Errorf("look for %s: %w", name, errors.Join(err, waited))
		}
	}
}

const (
	searchAgain = 100 * time.Millisecond
	searchEvery = 60 * time.Millisecond
)

// findAll is what so many users of another office are called here, the n-th from firstUser on at place n.
func (a *office) findAll(ctx context.Context, users int) ([]protocol.UserID, error) {
	ids := make([]protocol.UserID, users)
	for n := range ids {
		found, err := a.find(ctx, fmt.Sprint("user", firstUser+n))
		if err != nil {
			return nil, err
		}
		ids[n] = found[0]
		if err := wait(ctx, searchEvery); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// target is where the users of an office who are looked for log in.
func (a *office) target() (Target, error) {
	t, err := a.Target(ViaTCP, benchPassword)
	t.First = firstUser
	return t, err
}

// call makes a request of an operator's about other offices.
func (a *office) call(ctx context.Context, method, path string, body, answer any) error {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(text)
	}
	var out bytes.Buffer
	if err := a.request(ctx, method, strings.TrimSuffix("/api/v1/federation/"+path, "/"), in, &out); err != nil {
		return err
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(out.Bytes(), answer)
}
