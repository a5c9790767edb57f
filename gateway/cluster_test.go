package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"teamtalk/bus"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// cluster is several servers that share a world; each has a bus of its own, and the buses are connected in memory.
type cluster struct {
	*world
	t     *testing.T
	nodes []*node

	carriers sync.WaitGroup
	mu       sync.Mutex // guards pipes
	pipes    map[[2]protocol.NodeID]*pipe
}

// node is one of the servers.
type node struct {
	*stage
	id  protocol.NodeID
	bus *bus.Bus
	of  *cluster
}

// pipe is one direction of the link between two nodes.
type pipe struct {
	payloads chan []byte
	down     chan struct{}
}

const linkDelay = time.Millisecond

// inCluster runs a test in a bubble, with servers that end with it.
func inCluster(t *testing.T, size int, configure func(*Config, *bus.Config), test func(*cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{world: newWorld(), t: t, pipes: make(map[[2]protocol.NodeID]*pipe)}
		ctx, cancel := context.WithCancel(context.Background())
		var parts sync.WaitGroup
		for i := range size {
			c.add(ctx, &parts, protocol.NodeID(fmt.Sprint("n", i+1)), configure)
		}
		parts.Go(func() { // the log, applied on all nodes
			for {
				events, err := c.events.Next(ctx)
				if err != nil {
					return
				}
				for _, n := range c.nodes {
					n.bus.Publish(events)
				}
			}
		})
		for i, a := range c.nodes {
			for _, b := range c.nodes[:i] {
				c.link(a, b)
			}
		}
		synctest.Wait()
		defer func() {
			c.shutdown()
			cancel()
			parts.Wait()
		}()
		test(c)
	})
}

func (c *cluster) shutdown() {
	for _, n := range c.nodes {
		if err := n.srv.Shutdown(context.Background()); err != nil {
			c.t.Errorf("Shutdown: %v", err)
		}
	}
	for i, a := range c.nodes {
		for _, b := range c.nodes[:i] {
			c.cut(a, b)
		}
	}
	c.carriers.Wait()
}

func (c *cluster) add(ctx context.Context, parts *sync.WaitGroup, id protocol.NodeID, configure func(*Config, *bus.Config)) {
	n := &node{id: id, of: c, stage: &stage{world: c.world, t: c.t, reg: prometheus.NewRegistry(), log: new(bytes.Buffer)}}
	table := bus.Config{Node: id, Generation: 1, TouchEvery: time.Second}
	cfg := Config{Services: c.services(), Replica: &c.ledger, Replay: &c.ledger, Node: string(id), Registerer: n.reg, Limits: Limits{ConcurrentLogins: 4},
		Log: slog.New(slog.NewTextHandler(&lockedWriter{w: n.log}, nil))}
	if configure != nil {
		configure(&cfg, &table)
	}
	n.bus = bus.New(table)
	cfg.Events, cfg.Signals, cfg.Signaler = n.bus.Subscribe("test"), n.bus.Signals("test"), n.bus
	cfg.Presence, cfg.Displaced = n.bus.Presence(), n.bus.Presence().Displaced()
	srv, err := New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	n.srv = srv
	c.nodes = append(c.nodes, n)
	parts.Go(func() {
		if err := srv.Run(ctx); !errors.Is(err, context.Canceled) {
			c.t.Errorf("Run: %v", err)
		}
	})
	parts.Go(func() {
		if err := n.bus.Serve(ctx, n); !errors.Is(err, context.Canceled) {
			c.t.Errorf("Serve: %v", err)
		}
	})
}

// link lets two nodes talk to each other.
func (c *cluster) link(a, b *node) {
	c.mu.Lock()
	for _, way := range [][2]*node{{a, b}, {b, a}} {
		p := &pipe{payloads: make(chan []byte, 4), down: make(chan struct{})}
		c.pipes[[2]protocol.NodeID{way[0].id, way[1].id}] = p
		c.carriers.Go(func() { p.carry(way[0].id, way[1]) }) // ends with the pipe
	}
	c.mu.Unlock()
	a.bus.Link(b.id, true)
	b.bus.Link(a.id, true)
}

// cut ends what is between two nodes, with all that is under way; both notice.
func (c *cluster) cut(a, b *node) {
	c.mu.Lock()
	for _, way := range [][2]protocol.NodeID{{a.id, b.id}, {b.id, a.id}} {
		if p := c.pipes[way]; p != nil {
			close(p.down)
			delete(c.pipes, way)
		}
	}
	c.mu.Unlock()
	a.bus.Link(b.id, false)
	b.bus.Link(a.id, false)
}

func (p *pipe) carry(from protocol.NodeID, to *node) {
	for {
		select {
		case payload := <-p.payloads:
			select {
			case <-time.After(linkDelay):
				to.bus.Receive(from, payload)
			case <-p.down:
				return
			}
		case <-p.down:
			return
		}
	}
}

// Send is bus.Peers.
func (n *node) Send(ctx context.Context, to protocol.NodeID, payload []byte) error {
	n.of.mu.Lock()
	p := n.of.pipes[[2]protocol.NodeID{n.id, to}]
	n.of.mu.Unlock()
	if p == nil {
		return errors.New("no link")
	}
	select {
	case p.payloads <- payload:
		return nil
	case <-p.down:
		return errors.New("the link went down")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// againOn connects to another node and presents the token.
func (d *device) againOn(n *node) {
	d.s.t.Helper()
	d.client = &client{s: n.stage, user: d.user}
	d.again()
}

// soon lets what is under way between the nodes arrive.
func soon() { pass(20 * linkDelay) }

func status(u uint32, online bool) want {
	return want{pdu.CmdUserStatusNotify, 0, &pb.IMUserStatNotify{UserStat: userStat(protocol.UserID(u), online)}}
}

// [TT-KICK-1] [TT-KICK-2]: on whichever nodes; the user stays online.
func TestKickAcrossNodes(t *testing.T) {
	inCluster(t, 3, nil, func(c *cluster) {
		a, b, x := c.nodes[0], c.nodes[1], c.nodes[2]
		watcher := x.login(9, windows)
		old, phone, tab := a.login(1, windows), a.login(1, ios), a.enter(1, "tab", web)
		x.settle(watcher, old, phone, tab.client)
		fresh := b.login(1, mac)
		soon()
		got := old.take() // perhaps it was told of the new one's presence before
		compare(t, got[len(got)-1], want{pdu.CmdKickUser, 0, &pb.IMKickUser{UserId: new(uint32(1)), KickReason: pb.KickReasonType_KICK_REASON_DUPLICATE_USER.Enum()}})
		if !old.isOpen() {
			t.Error("closed before its client could read why")
		}
		pass(5 * time.Second)
		old.expectEnd()
		for _, o := range []*client{phone, tab.client, fresh, watcher} {
			if !o.isOpen() {
				t.Errorf("a session of user %d ended", o.user)
			}
		}
		watcher.expect(status(1, true)) // a legacy login always is news
		if n := a.metric("closed_total", string(reasonDuplicate)); n != 1 || b.metric("closed_total", "*") != 0 {
			t.Errorf("%v kicked", n)
		}
		fresh.close()
		tab.close()
		pass(2900 * time.Millisecond)
		watcher.expect()
		pass(400 * time.Millisecond)
		watcher.expect(status(1, false))
	})
}

// [TT-SESS-8]: ten devices in the whole cluster; the one that is ended is the idlest, wherever it is.
func TestDevicesAcrossNodes(t *testing.T) {
	inCluster(t, 3, nil, func(c *cluster) {
		var all []*device
		for i := range 10 {
			all = append(all, c.nodes[i%3].enter(1, fmt.Sprint("device ", i), windows))
			pass(2 * time.Second)
		}
		for i, d := range all { // all but one ask for something, the idlest last
			if i != 4 {
				d.send(pdu.CmdTimeReq, 1, &pb.IMClientTimeReq{})
			}
			d.write(beat(2)) // is no use
		}
		soon()
		for _, d := range all {
			d.take()
		}
		newest := c.nodes[2].enter(1, "one more", mac)
		soon()
		if b := all[4].expectBye(protocol.CodeKicked); b.GetMessage() != byeTexts[reasonDevices] {
			t.Errorf("got %v", b)
		}
		all = append(all[:4], all[5:]...)
		for _, d := range append(all, newest) {
			if !d.isOpen() {
				t.Errorf("%s ended", d.id)
			}
		}
	})
}

// [TT-SESS-3] [TT-SESS-13]: a session goes on on another node, with all that happened and nothing twice; its former connection is told so.
func TestResumeOnAnotherNode(t *testing.T) {
	inCluster(t, 3, nil, func(c *cluster) {
		a, b, x := c.nodes[0], c.nodes[1], c.nodes[2]
		d, sender, watcher := a.enter(1, "laptop", windows), x.enter(2, "phone", android), x.login(9, windows)
		x.settle(d.client, sender.client, watcher)
		for i := range byte(3) {
			sender.send(pdu.CmdMsgData, uint16(i), extendedText(1, i+1, fmt.Sprint(i)))
		}
		former := d.client
		d.againOn(b)
		soon()
		got := d.expectCommands(pdu.CmdWelcome, pdu.CmdMsgData, pdu.CmdMsgData, pdu.CmdMsgData, pdu.CmdCursor, pdu.CmdCredential)
		if w := decoded[*sessionpb.Welcome](d.client, got[0]); w.GetVerdict() != sessionpb.Verdict_RESUMED || w.GetNode() != "n2" {
			t.Errorf("got %v", w)
		}
		for i, p := range got[1:4] {
			if m := decoded[*pb.IMMsgData](d.client, p); string(m.GetMsgData()) != fmt.Sprint(i) {
				t.Errorf("message %d is %q", i, m.GetMsgData())
			}
		}
		former.expectBye(protocol.CodeReplaced)
		former.expectEnd()
		sender.send(pdu.CmdMsgData, 9, extendedText(1, 9, "live"))
		d.expectCommands(pdu.CmdMsgData)
		pass(10 * time.Second)
		watcher.expect() // it was never gone
		if n := a.metric("sessions") + b.metric("sessions"); n != 1 {
			t.Errorf("%v sessions", n)
		}
	})
}

// blocking lets messages of a user be carried out only after the returned function was called.
func (w *world) blocking(u protocol.UserID) (release func()) {
	gate := make(chan struct{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin = func(cmd protocol.SendMessage) error {
		if cmd.From == u {
			<-gate
		}
		return nil
	}
	return func() { close(gate) }
}

// [TT-SESS-3]: WELCOME waits until the former connection carries out nothing any more, but not for a node that can't be reached, nor for ever.
func TestResumeAwaitsTheFormer(t *testing.T) {
	for name, tc := range map[string]struct {
		closes  bool                             // the client closes its former connection before
		then    func(c *cluster, release func()) // after 100 ms
		welcome time.Duration                    // at most so long after that
	}{
		"stops":                  {false, func(_ *cluster, release func()) { release() }, 5 * linkDelay},
		"stops, closed before":   {true, func(_ *cluster, release func()) { release() }, 5 * linkDelay},
		"the link goes down":     {false, func(c *cluster, _ func()) { c.cut(c.nodes[0], c.nodes[1]) }, linkDelay},
		"takes its time forever": {false, func(*cluster, func()) {}, displacedWait},
	} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 2, nil, func(c *cluster) {
				a, b := c.nodes[0], c.nodes[1]
				d := a.enter(1, "laptop", windows)
				a.settle(d.client)
				release := sync.OnceFunc(c.blocking(1))
				defer release()
				d.send(pdu.CmdMsgData, 1, extendedText(2, 1, "slow"))
				synctest.Wait()
				if tc.closes {
					d.close()
				}
				d.againOn(b)
				pass(100 * time.Millisecond)
				d.expect()
				tc.then(c, release)
				pass(tc.welcome)
				if w := decoded[*sessionpb.Welcome](d.client, d.take()[0]); w.GetVerdict() != sessionpb.Verdict_RESUMED {
					t.Errorf("got %v", w)
				}
			})
		})
	}
}

// A session that was replaced on its node is awaited too by one that replaces its successor on another node.
func TestResumeAwaitsAllFormers(t *testing.T) {
	inCluster(t, 2, nil, func(c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		d := a.enter(1, "laptop", windows)
		a.settle(d.client)
		release := c.blocking(1)
		d.send(pdu.CmdMsgData, 1, extendedText(2, 1, "slow"))
		synctest.Wait()
		d.again() // waits for the first
		soon()
		d.againOn(b) // displaces the second, which then waits no longer
		pass(time.Second)
		d.expect()
		release()
		soon()
		if w := decoded[*sessionpb.Welcome](d.client, d.take()[0]); w.GetVerdict() != sessionpb.Verdict_RESUMED {
			t.Errorf("got %v", w)
		}
	})
}

// What a former connection has parked is dropped, although its client has closed it: the client repeats what has no ack.
func TestResumeDropsWhatIsParkedElsewhere(t *testing.T) {
	inCluster(t, 2, func(cfg *Config, _ *bus.Config) { slow(cfg) }, func(c *cluster) {
		d := c.nodes[0].enter(1, "laptop", windows)
		for i := range byte(80) {
			d.send(pdu.CmdMsgData, uint16(i), extendedText(2, i+1, "x"))
		}
		d.take()
		d.close()
		d.againOn(c.nodes[1])
		soon()
		if w := decoded[*sessionpb.Welcome](d.client, d.take()[0]); w.GetVerdict() != sessionpb.Verdict_RESUMED {
			t.Errorf("got %v", w)
		}
		pass(5 * time.Second)
		if n := len(c.allBegun()); n > 62 {
			t.Errorf("%d messages were carried out", n)
		}
	})
}

// [TT-PRES-2] [TT-DIFF-7]: the users of a node that dies are shown offline on the others within 5 s, but not those who have gone on elsewhere.
func TestPresenceWhenANodeDies(t *testing.T) {
	inCluster(t, 3, nil, func(c *cluster) {
		a, b, x := c.nodes[0], c.nodes[1], c.nodes[2]
		watcher := x.login(9, windows)
		lost, moves := a.login(1, windows), a.enter(2, "laptop", windows)
		x.settle(lost, moves.client)
		watcher.expect(status(1, true), status(2, true))
		for _, n := range []*node{b, x} {
			c.cut(a, n)
		}
		pass(time.Second)
		moves.againOn(b)
		pass(4 * time.Second)
		watcher.expect(status(1, false))
		if w := decoded[*sessionpb.Welcome](moves.client, moves.take()[0]); w.GetVerdict() != sessionpb.Verdict_RESUMED {
			t.Errorf("got %v", w)
		}
		back := b.login(1, windows)
		soon()
		pass(time.Second)
		back.take()
		watcher.expect(status(1, true))
	})
}

// So are they when they are very many: all of them, if in a few seconds more.
func TestPresenceWhenALargeNodeDies(t *testing.T) {
	const users = 30_000
	inCluster(t, 2, nil, func(c *cluster) {
		a, b := c.nodes[0], c.nodes[1]
		for u := range protocol.UserID(users) {
			a.bus.Presence().Join(protocol.LiveSession{User: 100 + u, Conn: 1, Client: protocol.ClientWindows})
		}
		watcher := b.login(1, windows)
		pass(20 * time.Second)
		watcher.take()
		c.cut(a, b)
		pass(10 * time.Second)
		offline := map[uint32]bool{}
		for _, p := range watcher.take() {
			if m, ok := decoded[message](watcher, p).(*pb.IMUserStatNotify); ok && m.GetUserStat().GetStatus() == pb.UserStatType_USER_STATUS_OFFLINE {
				offline[m.GetUserStat().GetUserId()] = true
			}
		}
		if len(offline) != users || b.metric("dropped_total", "*") != 0 {
			t.Errorf("%d shown offline, %v dropped", len(offline), b.metric("dropped_total", "*"))
		}
	})
}

// A session that ends in the moment in which it becomes known is not left behind in the table.
func TestNothingIsLeftBehind(t *testing.T) {
	inCluster(t, 1, nil, func(c *cluster) {
		a := c.nodes[0]
		table := a.bus.Presence()
		for _, kind := range []string{"legacy", "extended"} {
			during := &endsBeforeJoin{Presence: table, srv: a.srv}
			a.srv.presence = during
			conn := a.dial()
			if kind == "extended" {
				conn.send(pdu.CmdHello, 1, helloOf("laptop", windows))
			}
			conn.send(pdu.CmdLoginReq, 2, loginReq("user1", windows))
			synctest.Wait()
			conn.expectEnd()
			if left := table.Sessions(1); len(left) != 0 || !during.did {
				t.Errorf("%s: left behind: %+v", kind, left)
			}
		}
	})
}

// endsBeforeJoin is a presence table that ends a session just before it is filed.
type endsBeforeJoin struct {
	Presence
	srv *Server
	did bool
}

func (e *endsBeforeJoin) Join(s protocol.LiveSession, instead ...protocol.ConnID) {
	for _, o := range e.srv.sessions.of(s.User) {
		e.did = o.end(ending{reason: reasonRevoked, now: true}) || e.did
	}
	e.Presence.Join(s, instead...)
}
