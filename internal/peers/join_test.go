package peers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

var joinKey = []byte(strings.Repeat("k", 32))

func key() []byte { return joinKey }

// lets lets everybody in as n9.
func (w *world) lets(seen chan<- JoinRequest) JoinHandler {
	return func(_ context.Context, r JoinRequest) (JoinReply, error) {
		seen <- r
		if r.Name == "nobody" {
			return JoinReply{}, protocol.Errorf(protocol.CodeForbidden, "this name is taken")
		}
		if r.Name == "broken" {
			return JoinReply{}, errors.New("the disk of /secret is full")
		}
		cert, err := w.authority.Sign(r.Request, "n9", w.now(), 0)
		return JoinReply{Node: "n9", Certificate: cert, Members: []JoinMember{{"n1", "a:1"}}, Extra: []byte("x")}, err
	}
}

func (w *world) token(t *testing.T, key []byte, root *authority.Root, life time.Duration, addresses ...string) authority.Token {
	t.Helper()
	made, err := authority.NewToken(key, addresses, root.Fingerprint(), w.now().Add(life))
	if err != nil {
		t.Fatal(err)
	}
	read, err := authority.ParseToken(made.Line())
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestJoin(t *testing.T) {
	w := newWorld(t)
	p, l := w.open(t, "n1", nil)
	seen := make(chan JoinRequest, 10)
	p.ServeJoin(key, w.lets(seen))
	tok := w.token(t, joinKey, w.authority.Root(), time.Hour, "127.0.0.1:1", address(p)) // the first one is down
	id, reply, err := Joining{Token: tok, Clock: w.now}.Join(within(t), JoinRequest{Address: "b:2", Name: "berlin", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	if id.Node() != "n9" || id.Root().Cluster() != w.authority.Root().Cluster() || len(reply.Members) != 1 || reply.Members[0].Address != "a:1" || string(reply.Extra) != "x" {
		t.Errorf("joined as %s: %+v", id.Node(), reply)
	}
	if r := <-seen; r.Address != "b:2" || r.Name != "berlin" || r.Version != "v1" || r.TokenID != tok.ID() || !strings.HasPrefix(r.From, "127.0.0.1:") || r.By != "" {
		t.Errorf("the handler saw %+v", r)
	}
	if strings.Contains(l.String(), tok.Line()) || !strings.Contains(l.String(), "node=n9") {
		t.Errorf("log: %s", l)
	}
	// What was got is good for a port.
	q, err := Open(w.config(t, id, new(logs)))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	go func() {
		if c, err := p.RaftLayer().Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := q.Dial(within(t), address(p), "n1", alpnRaft)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestJoinsThatFail(t *testing.T) {
	w, foreign := newWorld(t), newWorld(t)
	p, l := w.open(t, "n1", nil)
	seen := make(chan JoinRequest, 10)
	p.ServeJoin(key, w.lets(seen))
	good := w.token(t, joinKey, w.authority.Root(), time.Hour, address(p))
	for _, c := range []struct {
		name, as string
		token    authority.Token
		code     protocol.Code
		text     string
		unknown  bool
		counted  string
	}{
		{name: "forged", token: w.token(t, []byte(strings.Repeat("x", 32)), w.authority.Root(), time.Hour, address(p)), code: protocol.CodeForbidden, counted: reasonToken},
		{name: "over", token: w.token(t, joinKey, w.authority.Root(), -time.Second, address(p)), code: protocol.CodeForbidden, text: "over since", counted: reasonToken},
		{name: "refused", as: "nobody", token: good, code: protocol.CodeForbidden, text: "taken"},
		{name: "broken", as: "broken", token: good, code: protocol.CodeInternal, text: "see its log", unknown: true},
	} {
		_, _, err := Joining{Token: c.token, Clock: w.now}.Join(within(t), JoinRequest{Name: c.as})
		var e *protocol.Error
		if !errors.As(err, &e) || e.Code != c.code || e.OutcomeUnknown != c.unknown || !strings.Contains(e.Message, c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.counted != "" && (p.refusals(t, c.counted) == 0 || !strings.Contains(l.String(), "reason=token")) {
			t.Errorf("%s: not counted or not logged", c.name)
		}
	}
	// Somebody in the middle with an authority of its own never sees the token.
	middle, _ := foreign.open(t, "n1", nil)
	middle.ServeJoin(key, func(context.Context, JoinRequest) (JoinReply, error) {
		t.Error("the token was shown to a stranger")
		return JoinReply{}, nil
	})
	if _, _, err := (Joining{Token: w.token(t, joinKey, w.authority.Root(), time.Hour, address(middle))}).Join(within(t), JoinRequest{}); !errors.Is(err, authority.ErrForeign) {
		t.Errorf("somebody in the middle: %v", err)
	}
	// A certificate that is not for the key, or from elsewhere, is none.
	p.ServeJoin(key, func(_ context.Context, r JoinRequest) (JoinReply, error) {
		cert, err := foreign.authority.Sign(r.Request, "n9", w.now(), 0)
		return JoinReply{Node: "n9", Certificate: cert}, err
	})
	if _, _, err := (Joining{Token: good}).Join(within(t), JoinRequest{}); err == nil {
		t.Error("took a foreign certificate")
	}
}

func TestJoinByAFollower(t *testing.T) {
	w := newWorld(t)
	leader := w.join(t, "n1", echo, nil, nil)
	follower := w.join(t, "n2", echo, nil, nil)
	follower.expect(t, "n1 up")
	seen := make(chan JoinRequest, 10)
	follower.port.ServeJoin(key, func(ctx context.Context, r JoinRequest) (JoinReply, error) { return follower.ForwardJoin(ctx, "n1", r) })
	tok := w.token(t, joinKey, w.authority.Root(), time.Hour, address(follower.port))
	if _, _, err := (Joining{Token: tok}).Join(within(t), JoinRequest{}); protocol.CodeOf(err) != protocol.CodeUnavailable {
		t.Errorf("before the leader lets anybody join: %v", err)
	}
	leader.port.ServeJoin(key, w.lets(seen))
	id, _, err := Joining{Token: tok}.Join(within(t), JoinRequest{Name: "berlin"})
	if err != nil || id.Node() != "n9" {
		t.Fatal(err)
	}
	if r := <-seen; r.Name != "berlin" || r.By != "n2" || r.TokenID != tok.ID() || r.From == "" {
		t.Errorf("the leader saw %+v", r)
	}
	if _, _, err := (Joining{Token: tok}).Join(within(t), JoinRequest{Name: "nobody"}); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("refused by the leader: %v", err)
	}
}

func TestRenewalDropsNothing(t *testing.T) {
	w := newWorld(t)
	sign := func(_ context.Context, node protocol.NodeID, request []byte) ([]byte, error) {
		return w.authority.Sign(request, node, w.now(), 30*time.Hour)
	}
	kept := make(chan string, 10)
	a := w.join(t, "n1", echo, func(c *Config) { c.Identity = w.identity(t, "n1", 30*time.Hour) }, func(c *MeshConfig) {
		c.Renewed = func(i *authority.Identity) error {
			cert, key, root, err := i.PEM()
			if err == nil {
				_, err = authority.LoadIdentity(cert, key, root)
			}
			kept <- i.Expires().String()
			return err
		}
	})
	b := w.join(t, "n2", echo, func(c *Config) { c.Identity = w.identity(t, "n2", 90*time.Hour) }, func(c *MeshConfig) { c.Sign = sign })
	a.expect(t, "n2 up")
	b.expect(t, "n1 up")
	before := a.port.cfg.Identity.Expires()
	w.pass(21 * time.Hour)
	if !a.port.cfg.Identity.NeedsRenewal(w.now()) {
		t.Fatal("the test tests nothing")
	}
	if err := a.RenewNow(within(t)); err != nil {
		t.Fatal(err)
	}
	if after := a.port.cfg.Identity.Expires(); !after.After(before.Add(20 * time.Hour)) {
		t.Errorf("ends %s, before %s", after, before)
	}
	<-kept
	// Past the end of the old certificate: what is connected stays, and new connections work.
	w.pass(20 * time.Hour)
	if _, err := a.Call(within(t), "n2", LaneControl, 1, nil); err != nil {
		t.Error(err)
	}
	if _, err := a.Call(within(t), "n2", LanePropose, 1, nil); err != nil { // dialled only now
		t.Error(err)
	}
	for _, n := range []*node{a, b} {
		if len(n.links) > 0 {
			t.Errorf("node %s: %s", n.port.Node(), <-n.links)
		}
	}
	w.remove("n1")
	if err := a.RenewNow(within(t)); protocol.CodeOf(err) != protocol.CodeForbidden {
		t.Errorf("a removed node's renewal: %v", err)
	}
}

// Alone, a node renews by itself; and it notices by itself that it has to.
func TestLoneNodeRenews(t *testing.T) {
	w := newWorld(t)
	kept := make(chan struct{}, 10)
	n := w.join(t, "n1", echo, func(c *Config) {
		c.Identity, c.Tuning.Renewal = w.identity(t, "n1", 30*time.Hour), 5*time.Millisecond
	}, func(c *MeshConfig) {
		c.Sign = func(_ context.Context, node protocol.NodeID, request []byte) ([]byte, error) {
			return w.authority.Sign(request, node, w.now(), 30*time.Hour)
		}
		c.Renewed = func(*authority.Identity) error { kept <- struct{}{}; return nil }
	})
	w.pass(21 * time.Hour)
	select {
	case <-kept:
	case <-time.After(wait):
		t.Fatal("not renewed")
	}
	if n.port.cfg.Identity.NeedsRenewal(w.now()) {
		t.Error("renewed and still old")
	}
}
