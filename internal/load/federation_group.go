package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// FedGroup is a group with members in all offices.
type FedGroup struct {
	Offices int `json:"offices"`
	Members int `json:"members"`
	// Made is how long it took to make the group, until its creator was told.
	Made  float64 `json:"made_s"`
	Posts int     `json:"posts"`
	// Events went over all links together for one post, and Bytes both ways, other events of that time included.
	Events   float64        `json:"events_per_post"`
	Bytes    float64        `json:"bytes_per_copy"`
	Messages *MessageResult `json:"messages"`
	// Servers is how much of a core all offices needed together, in percent.
	Servers float64 `json:"servers_percent"`
}

// benchFedGroup makes a group of people of all offices, in which its creator writes; one member of each other office is online.
func benchFedGroup(ctx context.Context, f *offices, out *FederationResult, say func(string, ...any)) error {
	if err := f.linkAll(ctx); err != nil {
		return err
	}
	g := &FedGroup{Offices: len(f.all), Posts: f.o.Posts}
	say("looking for %d people in %d offices", f.o.Members, len(f.all))
	members, err := f.everybody(ctx, f.o.Members/len(f.all))
	if err != nil {
		return err
	}
	conns, err := f.connectOne(ctx)
	if err != nil {
		return err
	}
	err = g.measure(ctx, f, conns, members, say)
	out.Group = g
	return errors.Join(err, closeAll(conns))
}

// everybody is what so many users of each other office are called at the first one, and so many of its own.
func (f *offices) everybody(ctx context.Context, each int) (ids []protocol.UserID, err error) {
	for n := range each {
		name := fmt.Sprint("user", firstUser+n)
		var found []protocol.UserID
		for len(found) < len(f.all)-1 { // an office that had too many searches was not heard
			if found, err = f.all[0].find(ctx, name); err != nil {
				return nil, err
			}
			if err := wait(ctx, searchEvery); err != nil {
				return nil, err
			}
		}
		ids = append(ids, found...)
	}
	own, err := f.all[0].ownUsers(ctx, each)
	return append(ids, own...), err
}

// ownUsers are the ids of users who are looked for, at their own office.
func (a *office) ownUsers(ctx context.Context, many int) ([]protocol.UserID, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	conns, err := connect(ctx, t, many)
	if err != nil {
		return nil, err
	}
	var ids []protocol.UserID
	for _, c := range conns {
		ids = append(ids, c.User)
	}
	return ids, closeAll(conns)
}

// connectOne logs in one of those who are looked for at each office, the creator of the group first.
func (f *offices) connectOne(ctx context.Context) ([]*Conn, error) {
	conns := make([]*Conn, len(f.all))
	group, ctx := errgroup.WithContext(ctx)
	for i, a := range f.all {
		group.Go(func() error {
			t, err := a.target()
			if err == nil {
				conns[i], err = login(ctx, t, 0)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, closeAll(conns))
	}
	return conns, nil
}

func (g *FedGroup) measure(ctx context.Context, f *offices, conns []*Conn, members []protocol.UserID, say func(string, ...any)) error {
	g.Members = len(members)
	say("a group of %d members in %d offices", g.Members, g.Offices)
	began := time.Now()
	id, err := createGroupOf(conns[0], members)
	if err != nil {
		return err
	}
	g.Made = time.Since(began).Seconds()
	if err := f.quiet(ctx); err != nil {
		return err
	}
	before, bytes, err := f.traffic(ctx)
	if err != nil {
		return err
	}
	f.setDelay(f.o.RoundTrip)
	used, err := watchUsage(f.pids()...)
	if err != nil {
		return err
	}
	say("%d posts", g.Posts)
	l := &lane{to: protocol.InGroup(id), sender: conns[0], receivers: conns[1:]}
	g.Messages = measure(ctx, []*lane{l}, MessageOptions{Window: 4, Payload: f.o.Payload, Duration: farLimit, Count: g.Posts, Drain: farLimit})
	each, err := used.percent()
	if err != nil {
		return err
	}
	for _, n := range each {
		g.Servers += n
	}
	if err := errors.Join(g.Messages.Verdict(), f.quiet(ctx)); err != nil {
		return err
	}
	after, all, err := f.traffic(ctx)
	if err != nil {
		return err
	}
	g.Events = float64(after-before) / float64(g.Posts)
	g.Bytes = float64(all-bytes) / float64(g.Posts*(g.Offices-1))
	// One copy for each other office; a profile, or a mark, may go beside.
	if want := float64(g.Offices - 1); g.Events < want || math.Floor(g.Events) > want {
		err = fmt.Errorf("%.2f events went over the links for a post, %.0f are wanted", g.Events, want)
	}
	return err
}

// quiet waits until nothing waits for any peer.
func (f *offices) quiet(ctx context.Context) error {
	return f.await(ctx, farLimit, func(s *fedStatus) bool { return s.depth() == 0 })
}

// traffic is how many events the first office has sent, and how many bytes went over all paths, both ways.
func (f *offices) traffic(ctx context.Context) (events int64, bytes uint64, err error) {
	s, err := f.all[0].status(ctx)
	if err != nil {
		return 0, 0, err
	}
	for _, l := range s.Links {
		events += l.Sent
	}
	for _, a := range f.all {
		n := a.path.link.Stats()
		bytes += n.Up.Bytes + n.Down.Bytes
	}
	return events, bytes, nil
}

func createGroupOf(c *Conn, members []protocol.UserID) (protocol.GroupID, error) {
	req := &pb.IMGroupCreateReq{UserId: proto.Uint32(uint32(c.User)), GroupType: pb.GroupType_GROUP_TYPE_TMP.Enum(),
		GroupName: proto.String("ttload"), GroupAvatar: proto.String("")}
	for _, m := range members {
		req.MemberIdList = append(req.MemberIdList, uint32(m))
	}
	if err := c.send(pdu.CmdGroupCreateReq, req); err != nil {
		return 0, err
	}
	body, err := c.await(pdu.CmdGroupCreateRes)
	if err != nil {
		return 0, fmt.Errorf("create a group: %w", err)
	}
	var res pb.IMGroupCreateRsp
	if err := proto.Unmarshal(body, &res); err != nil {
		return 0, err
	}
	if res.GetResultCode() != 0 || len(res.GetUserIdList()) != len(members) {
		return 0, fmt.Errorf("create a group of %d: result %d with %d members", len(members), res.GetResultCode(), len(res.GetUserIdList()))
	}
	return protocol.GroupID(res.GetGroupId()), nil
}
