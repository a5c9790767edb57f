//go:build linux

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"teamtalk/internal/simnet/netns"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pb/sessionpb"
	"teamtalk/protocol/pdu"
)

// A site is a network of hosts: one for each node and one for clients.
type site struct {
	nodes   []*netns.Namespace
	clients *netns.Namespace
}

const siteClients = "10.99.1.100"

func siteNode(place int) string { return fmt.Sprintf("10.99.1.%d", place+1) }

// newSite makes hosts that all reach each other. They go with the test. Where they can't be made the test is left out; on CI that is a failure.
func newSite(t *testing.T, nodes int) *site {
	t.Helper()
	needNamespaces(t)
	hub := newHost(t, "hub")
	in(t, hub, "ip", "link", "add", "br0", "type", "bridge")
	in(t, hub, "ip", "link", "set", "br0", "up")
	s := &site{}
	for place := range nodes {
		n := newHost(t, fmt.Sprintf("node%d", place+1))
		plug(t, hub, n, fmt.Sprintf("port%d", place), siteNode(place))
		s.nodes = append(s.nodes, n)
	}
	s.clients = newHost(t, "clients")
	plug(t, hub, s.clients, "clients", siteClients)
	return s
}

// needNamespaces leaves the test out where no hosts can be made; on CI that is a failure.
func needNamespaces(t *testing.T) {
	t.Helper()
	if err := netns.Missing(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("on CI this must run: %v", err)
		}
		t.Skipf("this test needs network namespaces: %v", err)
	}
}

func newHost(t *testing.T, label string) *netns.Namespace {
	t.Helper()
	n, err := netns.New(t.Context(), label)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// in runs a command in a namespace.
func in(t *testing.T, n *netns.Namespace, words ...string) {
	t.Helper()
	line := append(n.Wrap(), words...)
	if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(line, " "), err, out)
	}
}

// plug connects a host to the hub.
func plug(t *testing.T, hub, host *netns.Namespace, port, ip string) {
	t.Helper()
	in(t, hub, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.Name())
	in(t, hub, "ip", "link", "set", port, "master", "br0", "up")
	in(t, host, "ip", "address", "add", ip+mask, "dev", "eth0")
	in(t, host, "ip", "link", "set", "eth0", "up")
}

// start runs a cluster on the site; its clients are on the clients' host.
func (s *site) start(t *testing.T) *Cluster {
	t.Helper()
	return s.startWith(t, ClusterConfig{Args: quickPasswords()})
}

func (s *site) startWith(t *testing.T, config ClusterConfig) *Cluster {
	t.Helper()
	config.Clients = from{s.clients}
	for place, n := range s.nodes {
		config.Hosts = append(config.Hosts, Host{IP: siteNode(place), Wrap: n.Wrap(), Dial: n.DialContext})
	}
	return StartCluster(t, len(s.nodes), config)
}

// deafen lets a node hear nothing of some others any more, which lasts until heal.
func (s *site) deafen(t *testing.T, place int, of ...int) {
	t.Helper()
	var addresses []string
	for _, o := range of {
		addresses = append(addresses, siteNode(o))
	}
	rules := "table inet cut {\n\tchain in {\n\t\ttype filter hook input priority 0; policy accept\n\t\tip saddr { " + strings.Join(addresses, ", ") + " } drop\n\t}\n}\n"
	if err := s.nodes[place].Filter(t.Context(), rules); err != nil {
		t.Fatal(err)
	}
}

// part separates a node from all others; clients still reach it.
func (s *site) part(t *testing.T, place int) {
	t.Helper()
	for other := range s.nodes {
		if other != place {
			s.deafen(t, place, other)
			s.deafen(t, other, place)
		}
	}
}

func (s *site) heal(t *testing.T) {
	t.Helper()
	for _, n := range s.nodes {
		if err := n.Filter(t.Context(), "table inet cut\ndelete table inet cut\n"); err != nil { // the first makes sure that there is one
			t.Fatal(err)
		}
	}
}

// unavailableWithin is five times what is promised to who writes where no leader is.
const unavailableWithin = 10 * time.Second

// TestLeaderCutOff: the leader loses the others, but not its clients. Those are told that nothing can be written, in 2 s, and that what they read may be
// old; the others go on with a new leader; afterwards all have the same, and nothing that was acked is lost [TT-SESS-18].
func TestLeaderCutOff(t *testing.T) {
	together(t)
	random := seed(t)
	s := newSite(t, 3)
	c := s.start(t)
	ctx, cancel := limited(t, clusterPatience)
	defer cancel()
	old := c.Leader(t)
	place := slices.Index(c.Nodes, old)
	p := c.pair(ctx, t, 1, place+1) // at the other two
	p.begin(ctx, random)
	raw := s.extended(ctx, t, old, "user3")
	if p, err := raw.Call(ctx, pdu.CmdMsgData, keyedText(4, 1, "before")); err != nil || p.Header.Command != pdu.CmdMsgDataAck {
		t.Fatalf("before the partition: %s, %v", p.Header.Command, err)
	}
	s.part(t, place)
	cut := time.Now()
	expectUnavailable(ctx, t, raw)
	next := c.Leader(t, old)
	if err := p.ackedAfter(ctx, time.Now()); err != nil {
		t.Fatalf("on the side of the majority: %v", err)
	}
	t.Logf("node %s leads instead of node %s; the majority goes on %s after the cut", next.ID, old.ID, time.Since(cut).Round(time.Millisecond))
	if st := old.ask(t); st.Leader == old.ID {
		t.Errorf("node %s still takes itself for the leader", old.ID)
	}
	s.heal(t)
	c.WaitHealthy(t)
	if err := p.ackedAfter(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	// What was refused may be repeated, and is there once then.
	if p, err := raw.Call(ctx, pdu.CmdMsgData, keyedText(4, 2, "during")); err != nil || p.Header.Command != pdu.CmdMsgDataAck {
		t.Errorf("after the partition: %s, %v", p.Header.Command, err)
	}
	history, err := raw.History(ctx, Single(4))
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckDense(history); err != nil || len(history) != 2 {
		t.Errorf("%d messages are there, want 2 (%v)", len(history), err)
	}
	total := c.checkHistories(ctx, t, p)
	t.Logf("%d messages on the side of the majority, none lost, none twice", total)
}

// extended opens a session of the extension at a node.
func (s *site) extended(ctx context.Context, t *testing.T, n *ClusterNode, user string) *Client {
	t.Helper()
	conn, err := s.clients.DialContext(ctx, "tcp", n.Addr.TCP)
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(conn)
	t.Cleanup(c.Close)
	if err := c.Hello(ctx, user+"-raw", pb.ClientType_CLIENT_TYPE_WINDOWS); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Login(ctx, user, "123456", pb.ClientType_CLIENT_TYPE_WINDOWS); err != nil {
		t.Fatal(err)
	}
	return c
}

// keyedText is a message that may be repeated.
func keyedText(to uint32, key byte, text string) *pb.IMMsgData {
	m := Single(to).TextMessage(text)
	m.ClientMsgId = slices.Repeat([]byte{key}, 16)
	return m
}

// expectUnavailable writes and reads on a node that has just lost the others.
func expectUnavailable(ctx context.Context, t *testing.T, c *Client) {
	t.Helper()
	began := time.Now()
	p, err := c.Call(ctx, pdu.CmdMsgData, keyedText(4, 2, "during"))
	took := time.Since(began)
	if err != nil {
		t.Fatal(err)
	}
	refusal := &sessionpb.Error{}
	if err := proto.Unmarshal(p.Body, refusal); err != nil || p.Header.Command != pdu.CmdError || refusal.GetCode() != sessionpb.Code_UNAVAILABLE {
		t.Fatalf("a write without a leader: %s %v, %v", p.Header.Command, refusal, err)
	}
	t.Logf("refused after %s: %s", took.Round(time.Millisecond), refusal.GetMessage())
	if took > unavailableWithin {
		t.Errorf("a write without a leader is refused only after %s", took)
	}
	const stale = 0x0001
	Eventually(t, "reads marked as stale", func() bool {
		p, err := c.Call(ctx, pdu.CmdUnreadReq, &pb.IMUnreadMsgCntReq{UserId: proto.Uint32(0)})
		if err != nil || p.Header.Command != pdu.CmdUnreadRes {
			t.Fatalf("a read without a leader: %s, %v", p.Header.Command, err)
		}
		return p.Header.Flag == stale
	})
}

// flaws are partitions that are not clean, by what they do to the links of the leader, the node at a place.
func flaws() map[string]func(t *testing.T, s *site, leader int) {
	follower := func(leader int) int { return (leader + 1) % 3 }
	return map[string]func(t *testing.T, s *site, leader int){
		"the leader hears nothing of one follower": func(t *testing.T, s *site, leader int) { s.deafen(t, leader, follower(leader)) },
		"the leader is not heard by the others": func(t *testing.T, s *site, leader int) {
			s.deafen(t, follower(leader), leader)
			s.deafen(t, follower(follower(leader)), leader)
		},
		"a bridge: leader and follower see a third": func(t *testing.T, s *site, leader int) {
			s.deafen(t, leader, follower(leader))
			s.deafen(t, follower(leader), leader)
		},
		"flapping": func(t *testing.T, s *site, leader int) {
			for range 6 {
				s.part(t, leader)
				<-time.After(400 * time.Millisecond)
				s.heal(t)
				<-time.After(200 * time.Millisecond)
			}
		},
	}
}

// TestFlawedLinks: links that carry one way only, that join some but not all, and that come and go. Somebody's messages are taken meanwhile, everybody's
// afterwards, and nothing that was acked is lost, doubled or out of order.
func TestFlawedLinks(t *testing.T) {
	together(t)
	random := seed(t)
	names := slices.Sorted(maps.Keys(flaws()))
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	if !soak() {
		names = names[:2]
	}
	s := newSite(t, 3)
	c := s.start(t)
	ctx, cancel := limited(t, time.Duration(len(names))*clusterPatience)
	defer cancel()
	parties := []*party{c.pair(ctx, t, 1, 0), c.pair(ctx, t, 3, 1), c.pair(ctx, t, 5, 2)}
	for _, p := range parties {
		p.begin(ctx, random)
	}
	for _, name := range names {
		leader := c.Leader(t)
		flaws()[name](t, s, slices.Index(c.Nodes, leader))
		began := time.Now()
		settled := began.Add(time.Duration(random.IntN(3000)) * time.Millisecond)
		Eventually(t, "somebody's message to be acked: "+name, func() bool {
			return slices.ContainsFunc(parties, func(p *party) bool {
				return slices.ContainsFunc(p.guests, func(g *guest) bool { return g.ackedSince(settled) })
			})
		})
		s.heal(t)
		c.WaitHealthy(t)
		healed := time.Now()
		for _, p := range parties {
			if err := p.ackedAfter(ctx, healed); err != nil {
				t.Fatalf("after %q: %v", name, err)
			}
		}
		t.Logf("%s: node %s led before, node %s afterwards; everybody goes on %s after the repair", name, leader.ID, c.Leader(t).ID,
			time.Since(healed).Round(time.Millisecond))
	}
	total := c.checkHistories(ctx, t, parties...)
	t.Logf("%d messages, none lost, none twice", total)
}
