package cluster

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"teamtalk/internal/peers"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

func request(address, token string) peers.JoinRequest {
	return peers.JoinRequest{Address: address, TokenID: token, Request: []byte("key"), From: "somewhere", Name: "new"}
}

func TestJoin(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	reply, err := all["n1"].Join(within(t), request("d:7000", "token1"))
	if err != nil {
		t.Fatal(err)
	}
	new := reply.Node
	if len(new) != 9 || new[0] != 'n' || string(reply.Certificate) != "certificate of "+string(new) || len(reply.Members) != 3 || reply.Members[2] != (peers.JoinMember{ID: "n3", Address: "n3:7000"}) {
		t.Errorf("%+v", reply)
	}
	if last := g.members[3]; last.ID != new || last.Address != "d:7000" || last.Voter {
		t.Errorf("%+v", last)
	}
	if all["n1"].metric(t, `joins_total{result="joined"}`) != 1 || strings.Contains(all["n1"].logs.String(), "certificate of") {
		t.Error("metrics or log")
	}
	// A node that has not read of it yet does not refuse it, however long it is behind.
	g.members = g.members[:3]
	for _, n := range all {
		if n.Removed(new) {
			t.Errorf("%s refuses the newcomer", n.cfg.Node)
		}
	}
}

func TestJoinByAFollower(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	if _, err := all["n2"].Join(within(t), request("d:7000", "token1")); err != nil {
		t.Error(err)
	}
	wantHistory(t, g, "add d:7000")
	r := request("e:7000", "token2")
	r.By = "n3"
	_, err := all["n2"].Join(within(t), r)
	wantCode(t, "forwarded to a follower", err, protocol.CodeUnavailable, "node n1 does")
	g.leader = ""
	_, err = all["n2"].Join(within(t), request("e:7000", "token2"))
	wantCode(t, "without a leader", err, protocol.CodeUnavailable, "no leader")
	all["n3"].mesh = nil
	_, err = all["n3"].Join(within(t), request("e:7000", "token2"))
	wantCode(t, "too early", err, protocol.CodeUnavailable, "not ready")
}

func TestTokenIsUsedOnce(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	join := func(by protocol.NodeID, address, token string) error {
		_, err := all[by].Join(within(t), request(address, token))
		return err
	}
	if err := join("n1", "d:7000", "token1"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "again", join("n1", "e:7000", "token1"), protocol.CodeForbidden, "used already")
	wantCode(t, "again by another", join("n2", "e:7000", "token1"), protocol.CodeForbidden, "used already")
	g.leader = "n2"
	wantCode(t, "after a change of the leader", join("n2", "e:7000", "token1"), protocol.CodeForbidden, "used already")
	g.leader = "n1"
	all["n1"].admitted = admissions{} // as if n1 had been started anew
	wantCode(t, "after a restart of the leader", join("n1", "e:7000", "token1"), protocol.CodeForbidden, "used already")
	for _, n := range all {
		n.admitted = admissions{}
	}
	wantCode(t, "after a restart of all", join("n1", "e:7000", "token1"), protocol.CodeForbidden, "used already")
	if err := join("n1", "d:7000", "token1"); err != nil {
		t.Errorf("the newcomer itself, that never came, asks once more: %v", err)
	}
	if all["n1"].metric(t, `joins_total{result="refused"}`) != 4 || all["n2"].metric(t, `joins_total{result="refused"}`) != 1 {
		t.Error("not counted")
	}
}

func TestTokenOfAFailedJoin(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, nil)
	g.fail = protocol.Errorf(protocol.CodeUnavailable, "the lead was lost")
	_, err := all["n1"].Join(within(t), request("d:7000", "token1"))
	wantCode(t, "certainly not added", err, protocol.CodeUnavailable, "lost")
	g.leader = "n2"
	if _, err := all["n2"].Join(within(t), request("d:7000", "token1")); err != nil {
		t.Errorf("the token is lost: %v", err)
	}
	g.fail = protocol.OutcomeUnknownf("who knows")
	_, err = all["n2"].Join(within(t), request("e:7000", "token2"))
	if wantCode(t, "perhaps added", err, protocol.CodeUnavailable, "who knows"); !protocol.IsOutcomeUnknown(err) {
		t.Error("claims to know")
	}
	_, err = all["n2"].Join(within(t), request("e:7000", "token2"))
	wantCode(t, "perhaps added before", err, protocol.CodeForbidden, "used")
	r := request("f:7000", "token3")
	r.Request = nil
	_, err = all["n2"].Join(within(t), r)
	wantCode(t, "no key", err, protocol.CodeInvalid, "no certificate")
	if all["n2"].admitted.tokens["token3"] != (usedToken{}) {
		t.Error("used a token for nothing")
	}
}

func TestAddressesOfJoiningNodes(t *testing.T) {
	g := newGroup("n1", "n2")
	g.follower("n3", 0)
	g.follower("n4", 0)
	all := g.nodes(t, nil)
	g.kill("n2", "n4")
	for address, text := range map[string]string{
		"": "host:port", "host": "host:port", ":7000": "every address", "0.0.0.0:7000": "every address", "[::]:7000": "every address", "a:0": "no port", "a:x": "no port", "a:70000": "no port",
		"n1:7000": "node n1 is at n1:7000", "n2:7000": "cluster remove n2", "n3:7000": "node n3 is at",
	} {
		_, err := all["n1"].Join(within(t), request(address, "token"))
		wantCode(t, address, err, protocol.CodeInvalid, text)
	}
	wantHistory(t, g, "")
	reply, err := all["n1"].Join(within(t), request("n4:7000", "token"))
	if err != nil || slices.ContainsFunc(reply.Members, func(m peers.JoinMember) bool { return m.ID == "n4" }) {
		t.Errorf("%+v, %v", reply, err)
	}
	wantHistory(t, g, "remove n4, add n4:7000")
}

func TestNodeAtAnotherAddress(t *testing.T) {
	g := newGroup("n1", "n2", "n3")
	all := g.nodes(t, func(c *Config) {
		c.Address = map[protocol.NodeID]string{"n2": "elsewhere:7000", "n3": "n1:7000"}[c.Node]
	})
	g.fail = protocol.Errorf(protocol.CodeUnavailable, "not now")
	g.lookFor(all["n2"].Manager, time.Second)
	wantHistory(t, g, "")
	g.lookFor(all["n2"].Manager, time.Minute)
	g.lookFor(all["n3"].Manager, time.Second) // somebody else is there
	all["n1"].look()
	wantHistory(t, g, "move n2 to elsewhere:7000")
	if !strings.Contains(all["n3"].logs.String(), "node n1 is at n1:7000") {
		t.Error("log")
	}
}

func TestTokenNamesTheLeaderFirst(t *testing.T) {
	g := newGroup("n1", "n2", "n3", "n4", "n5", "n6")
	all := g.nodes(t, nil)
	g.kill("n1")
	g.leader = "n3"
	token, err := all["n2"].Token(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(token.Addresses, " "); got != "n3:7000 n2:7000 n4:7000 n5:7000 n6:7000" {
		t.Error(got)
	}
	if err := token.Verify(papers{}.Key(), g.clock().Add(59*time.Minute)); err != nil {
		t.Error(err)
	}
	if err := token.Verify(papers{}.Key(), g.clock().Add(61*time.Minute)); !errors.Is(err, authority.ErrTokenExpired) {
		t.Error(err)
	}
	if strings.Contains(all["n2"].logs.String(), token.Line()) || !strings.Contains(all["n2"].logs.String(), token.ID()) {
		t.Error("log")
	}
	for _, life := range []time.Duration{time.Second, -time.Hour, 25 * time.Hour} {
		_, err := all["n2"].Token(life)
		wantCode(t, life.String(), err, protocol.CodeInvalid, "24h")
	}
	all["n4"].mesh = nil
	_, err = all["n4"].Token(0)
	wantCode(t, "alone", err, protocol.CodeUnavailable, "listen.node")
}

// realPapers are those of an authority.
type realPapers struct {
	*authority.Authority
	key []byte
}

func (p realPapers) Key() []byte                 { return p.key }
func (p realPapers) Root() authority.Fingerprint { return p.Authority.Root().Fingerprint() }
func (p realPapers) Sign(request []byte, node protocol.NodeID) ([]byte, error) {
	return p.Authority.Sign(request, node, time.Now(), 0)
}

// process is a manager behind a port of its own, on loopback.
type process struct {
	*Manager
	port *peers.Port
	mesh *peers.Mesh
	logs *logs
}

func (p *process) close(t testing.TB) {
	p.Close()
	p.mesh.Close()
	if err := p.port.Close(); err != nil {
		t.Error(err)
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (g *group) process(t testing.TB, l net.Listener, identity *authority.Identity, p realPapers) *process {
	t.Helper()
	n := &process{logs: &logs{}}
	log := slog.New(slog.NewTextHandler(n.logs, nil))
	m, err := New(Config{Node: identity.Node(), Name: "host", Version: "v1", Store: store{g, identity.Node()}, Local: &self{}, Papers: p, Log: log,
		Policy: Policy{Tick: 10 * time.Millisecond, Settle: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	n.Manager = m
	resolve := func() map[protocol.NodeID]string {
		g.mu.Lock()
		defer g.mu.Unlock()
		at := map[protocol.NodeID]string{}
		for _, m := range g.members {
			at[m.ID] = m.Address
		}
		return at
	}
	n.port, err = peers.Open(peers.Config{Listener: l, Identity: identity, Removed: m.Removed, Resolve: resolve, Logger: log, Version: "v1",
		Tuning: peers.Tuning{Members: 20 * time.Millisecond, Backoff: 5 * time.Millisecond, BackoffMost: 50 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	if n.mesh, err = n.port.OpenMesh(peers.MeshConfig{Handler: m.Handle}); err != nil {
		t.Fatal(err)
	}
	n.port.ServeJoin(p.Key, m.Join)
	m.Start(n.mesh, n.port)
	return n
}

// join is a process that is let in by a token.
func (g *group) join(t testing.TB, token authority.Token, p realPapers) (*process, *authority.Identity) {
	t.Helper()
	read, err := authority.ParseToken(token.Line())
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	identity, reply, err := peers.Joining{Token: read}.Join(within(t), peers.JoinRequest{Address: l.Addr().String(), Name: "new", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	g.apply(reply.Node, 1000)
	return g.process(t, l, identity, p), identity
}

// Three nodes join by real ports and certificates, get their votes, one dies and is removed.
func TestThreeNodes(t *testing.T) {
	var cluster authority.ClusterID
	_, _ = rand.Read(cluster[:])
	auth, err := authority.New(cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := realPapers{auth, []byte(strings.Repeat("k", 32))}
	founder, err := auth.Identify("n1", time.Now(), 0)
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup("n1")
	l := listen(t)
	g.members[0].Address = l.Addr().String()
	n1 := g.process(t, l, founder, p)
	defer n1.close(t)

	token, err := n1.Token(0)
	if err != nil {
		t.Fatal(err)
	}
	n2, _ := g.join(t, token, p)
	defer n2.close(t)
	// The third one asks the follower.
	if token, err = authority.NewToken(p.key, []string{n2.port.RaftLayer().Addr().String()}, p.Root(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	n3, lost := g.join(t, token, p)
	all := func(reachable int, what func(MemberStatus) bool) func() bool {
		return func() bool {
			n := 0
			for _, m := range n2.Status(within(t)).Members {
				if m.Reachable && m.Role != roleNonvoter && what(m) {
					n++
				}
			}
			return n == reachable
		}
	}
	eventually(t, "three voters that know each other", all(3, func(m MemberStatus) bool { return m.Report != nil && len(m.Report.Links) == 2 }))
	wantCode(t, "more than the majority bears", n2.Remove(within(t), "n999999", false), protocol.CodeNotFound, "n999999")

	n3.close(t)
	eventually(t, "two are left", all(2, func(MemberStatus) bool { return true }))
	i := slices.IndexFunc(n2.Status(within(t)).Members, func(m MemberStatus) bool { return !m.Reachable })
	if gone := n2.Status(within(t)).Members[i]; gone.ID != lost.Node() || gone.Error == "" || gone.Role != roleVoter {
		t.Errorf("%+v", gone)
	}
	wantCode(t, "one of the two that are left", n2.Remove(within(t), "n1", false), protocol.CodeForbidden, "no majority")
	if leader, err := n2.leader(); err != nil || leader != "n1" {
		t.Errorf("the lead was handed over for nothing: %s, %v", leader, err)
	}
	if err := n2.Remove(within(t), lost.Node(), false); err != nil {
		t.Fatal(err)
	}
	// With its old certificate it is not let in any more.
	back, err := peers.Open(peers.Config{Listener: listen(t), Identity: lost})
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if c, err := back.Dial(within(t), n1.port.RaftLayer().Addr().String(), "n1", "teamtalk-node/1"); !errors.Is(err, peers.ErrRemoved) {
		t.Errorf("%v, %v", c, err)
	}
	if len(n2.Status(within(t)).Members) != 2 {
		t.Error("still a member")
	}
}
