package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// MessageOptions shape and bound a run of messages.
type MessageOptions struct {
	// Window is how many messages a sender has unacked at most; Payload their size in bytes.
	Window, Payload int
	// Warmup is run but not measured, then Duration is.
	Warmup, Duration time.Duration
	// Count ends the run after so many messages of all senders, if it comes first; 0 is no limit.
	Count int
	// Pace is waited before each message; Stop ends the run when it is closed, if nothing else has. Zero: neither.
	Pace time.Duration
	Stop <-chan struct{}
	// Drain is how long to wait at the end for what is under way.
	Drain time.Duration

	moments *moments // nil: not wanted
}

// maxErrors is how many errors of a run are kept as examples.
const maxErrors = 5

// maxWindow leaves half of the sequence numbers unused, so that an ack names one message.
const maxWindow = 1 << 15

func (o MessageOptions) check() error {
	switch {
	case o.Window < 1 || o.Window > maxWindow:
		return fmt.Errorf("window %d: 1 to %d", o.Window, maxWindow)
	case o.Payload < MinPayload || o.Payload > 64<<10:
		return fmt.Errorf("payload of %d bytes: %d to 65536", o.Payload, MinPayload)
	case o.Duration <= 0:
		return errors.New("no duration")
	}
	return nil
}

// lane is one sender and those his messages have to reach.
type lane struct {
	number    int
	to        protocol.Session
	sender    *Conn
	receivers []*Conn
	// final is the number of acked messages once the sender has finished, before that -1; ids are then those of its acks.
	final atomic.Int64
	ids   idCheck
}

// run is what the goroutines of one measurement share.
type run struct {
	id       uint32
	opts     MessageOptions
	clock    clock
	from, to time.Duration // the measured part
	turns    *turns
	ack      *latency
	delivery *latency
	mu       sync.Mutex // guards result
	result   MessageResult
}

// Pairs lets users 0, 2, 4 … send to users 1, 3, 5 … of the target.
func Pairs(ctx context.Context, t Target, pairs int, o MessageOptions) (*MessageResult, error) {
	return PairsOver(ctx, []Target{t}, pairs, o)
}

// PairsOver is Pairs with the users spread over the nodes of a cluster: those of a pair are at different ones if there are several.
func PairsOver(ctx context.Context, nodes []Target, pairs int, o MessageOptions) (*MessageResult, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	conns, err := connectEach(ctx, 2*pairs, func(i int) Target { return nodes[placeInPair(i)%len(nodes)] })
	if err != nil {
		return nil, err
	}
	lanes := make([]*lane, pairs)
	for i := range lanes {
		sender, receiver := conns[2*i], conns[2*i+1]
		lanes[i] = &lane{number: i, to: protocol.WithUser(receiver.User), sender: sender, receivers: []*Conn{receiver}}
	}
	return measure(ctx, lanes, o), closeAll(conns)
}

// placeInPair spreads users over nodes: each pair begins at the next one, and its second user is one further.
func placeInPair(user int) int { return user/2 + user%2 }

// Group makes a group of users 0 … members of the target, in which user 0 sends and the others receive.
func Group(ctx context.Context, t Target, members int, o MessageOptions) (*MessageResult, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	conns, err := connect(ctx, t, members+1)
	if err != nil {
		return nil, err
	}
	group, err := createGroup(conns)
	if err != nil {
		return nil, errors.Join(err, closeAll(conns))
	}
	lanes := []*lane{{to: protocol.InGroup(group), sender: conns[0], receivers: conns[1:]}}
	return measure(ctx, lanes, o), closeAll(conns)
}

func createGroup(conns []*Conn) (protocol.GroupID, error) {
	req := &pb.IMGroupCreateReq{
		UserId: proto.Uint32(uint32(conns[0].User)), GroupType: pb.GroupType_GROUP_TYPE_TMP.Enum(),
		GroupName: proto.String("ttload"), GroupAvatar: proto.String(""),
	}
	for _, c := range conns {
		req.MemberIdList = append(req.MemberIdList, uint32(c.User))
	}
	if err := conns[0].send(pdu.CmdGroupCreateReq, req); err != nil {
		return 0, err
	}
	body, err := conns[0].await(pdu.CmdGroupCreateRes)
	if err != nil {
		return 0, fmt.Errorf("create a group: %w", err)
	}
	var res pb.IMGroupCreateRsp
	if err := proto.Unmarshal(body, &res); err != nil {
		return 0, err
	}
	if res.GetResultCode() != 0 || len(res.GetUserIdList()) != len(conns) {
		return 0, fmt.Errorf("create a group of %d: result %d with %d members", len(conns), res.GetResultCode(), len(res.GetUserIdList()))
	}
	return protocol.GroupID(res.GetGroupId()), nil
}

// measure runs the lanes to the end. Whatever goes wrong is part of the result.
func measure(ctx context.Context, lanes []*lane, o MessageOptions) *MessageResult {
	r := &run{
		id: rand.Uint32(), opts: o, clock: newClock(), from: o.Warmup, to: o.Warmup + o.Duration,
		turns: newTurns(o.Count), ack: newLatency(), delivery: newLatency(),
	}
	var all sync.WaitGroup
	start := func(c *Conn, body func() error) {
		release := c.bind(ctx)
		all.Go(func() {
			defer release()
			r.note(body())
		})
	}
	for _, l := range lanes {
		l.final.Store(-1)
		for i, c := range l.receivers {
			c.setDeadline(r.last())
			start(c, func() error { return r.receive(ctx, l, c, i) })
		}
		l.sender.setDeadline(r.last())
		start(l.sender, func() error { return r.send(l) })
	}
	all.Wait()
	if err := ctx.Err(); err != nil {
		r.note(err)
	}
	return r.finish(len(lanes))
}

// last is when a run is over in any case.
func (r *run) last() time.Time { return r.clock.start.Add(r.to + r.opts.Drain) }

// note keeps the first few errors.
func (r *run) note(err error) {
	if err == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Failed++
	if len(r.result.Errors) < maxErrors {
		r.result.Errors = append(r.result.Errors, err.Error())
	}
}

// add takes in what one goroutine has counted.
func (r *run) add(counted MessageResult) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.add(counted)
}

func (r *run) finish(lanes int) *MessageResult {
	out := r.result
	end := min(r.clock.now(), r.to)
	out.Seconds = (end - r.from).Seconds()
	out.Ack, out.Delivery = r.ack.summary(), r.delivery.summary()
	if out.Seconds > 0 {
		out.AckedPerSecond = float64(out.Ack.Count) / out.Seconds
		out.DeliveredPerSecond = float64(out.Delivery.Count) / out.Seconds
	}
	out.Lanes = lanes
	return &out
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
