package cluster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"teamtalk/internal/peers"
	"teamtalk/internal/peers/authority"
	"teamtalk/protocol"
)

// Join lets a node in, or passes the request on to the leader: the handler for peers.Port.ServeJoin, which has checked the token.
func (m *Manager) Join(ctx context.Context, r peers.JoinRequest) (peers.JoinReply, error) {
	mesh := m.links()
	if mesh == nil || m.cfg.Papers == nil {
		return peers.JoinReply{}, protocol.Errorf(protocol.CodeUnavailable, "this node is not ready to let others join")
	}
	leader, err := m.leader()
	switch {
	case err == nil && leader == m.cfg.Node:
	case err == nil && leader != "" && r.By == "":
		return mesh.ForwardJoin(ctx, leader, r)
	default:
		return peers.JoinReply{}, notLeading(m.cfg.Node, leader, err)
	}
	var reply peers.JoinReply
	err = m.change(ctx, func() (err error) {
		reply, err = m.letIn(ctx, r)
		return err
	})
	switch {
	case err == nil:
		m.metrics.joins.WithLabelValues("joined").Inc()
		m.cfg.Log.Info("a node joins", "node", reply.Node, "name", r.Name, "address", r.Address, "from", r.From, "by", r.By, "version", r.Version, "token", r.TokenID)
		return reply, nil
	case protocol.CodeOf(err) == protocol.CodeUnavailable || protocol.CodeOf(err) == protocol.CodeInternal:
		m.metrics.joins.WithLabelValues("failed").Inc()
	default:
		m.metrics.joins.WithLabelValues("refused").Inc()
	}
	m.cfg.Log.Warn("a node could not join", "name", r.Name, "address", r.Address, "from", r.From, "by", r.By, "token", r.TokenID, "error", err)
	return peers.JoinReply{}, asProtocol(err)
}

// letIn does all that can fail without a trace before it tells anybody, and the membership last.
func (m *Manager) letIn(ctx context.Context, r peers.JoinRequest) (peers.JoinReply, error) {
	none := peers.JoinReply{}
	if err := checkAddress(r.Address); err != nil {
		return none, err
	}
	if err := m.checkNewcomer(r); err != nil {
		return none, err
	}
	members, err := m.cfg.Store.Members()
	if err != nil {
		return none, err
	}
	// Nobody may remember: the leader is another one, or all were started anew.
	if by := byToken(members, r.TokenID, r.Address); by != nil {
		return none, tokenUsed(by.ID)
	}
	if err := m.vacate(ctx, members, r.Address); err != nil {
		return none, err
	}
	id := m.newID(members, r.TokenID)
	certificate, err := m.cfg.Papers.Sign(r.Request, id)
	if err != nil {
		return none, protocol.Errorf(protocol.CodeInvalid, "no certificate for this request: %w", err)
	}
	if err := m.admitted.take(r.TokenID, id, m.cfg.Clock()); err != nil {
		return none, err
	}
	a := admission{Node: id, TokenID: r.TokenID}
	err = m.announce(ctx, members, a)
	if err == nil {
		err = m.cfg.Store.AddNonvoter(ctx, id, r.Address)
	}
	if err != nil {
		if !protocol.IsOutcomeUnknown(err) {
			m.admitted.giveBack(r.TokenID, id)
			a.Withdrawn = true
			_ = m.announce(context.WithoutCancel(ctx), members, a) // whoever does not hear it refuses this token; there are others
		}
		return none, err
	}
	m.links().Refresh()
	reply := peers.JoinReply{Node: id, Certificate: certificate}
	for _, member := range members {
		if member.Address != r.Address { // but for the one that was there before, removed just now
			reply.Members = append(reply.Members, peers.JoinMember{ID: member.ID, Address: member.Address})
		}
	}
	return reply, nil
}

// announce tells the members that can be reached about an admission. The error is that of one who knows that the token was used.
func (m *Manager) announce(ctx context.Context, members []Member, a admission) error {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Policy.Patience)
	defer cancel()
	up := m.up()
	refusals := make(chan error, len(members))
	var calls sync.WaitGroup
	for _, member := range members {
		if !up[member.ID] || member.ID == m.cfg.Node {
			continue
		}
		calls.Go(func() { // ends with ctx
			if err := m.call(ctx, member.ID, methodAdmit, a, &nothing{}); protocol.CodeOf(err) == protocol.CodeForbidden {
				refusals <- err
			}
		})
	}
	calls.Wait()
	select {
	case err := <-refusals:
		return err
	default:
		return nil
	}
}

// noteAdmission is the other side of announce.
func (m *Manager) noteAdmission(from protocol.NodeID, a admission) error {
	if leader, err := m.leader(); err == nil && leader == m.cfg.Node {
		return protocol.Errorf(protocol.CodeUnavailable, "node %s leads, not node %s", m.cfg.Node, from)
	}
	if a.Withdrawn {
		m.admitted.giveBack(a.TokenID, a.Node)
		return nil
	}
	return m.admitted.take(a.TokenID, a.Node, m.cfg.Clock())
}

// vacate makes sure that nobody else is at an address. A newcomer that never came is: it asks once more, for it got no answer.
func (m *Manager) vacate(ctx context.Context, members []Member, address string) error {
	for _, member := range members {
		if member.Address != address {
			continue
		}
		if member.Voter || m.up()[member.ID] {
			return protocol.Errorf(protocol.CodeInvalid, "node %s is at %s: if it is gone for ever, take it out with `teamtalkd cluster remove %s`; else listen elsewhere",
				member.ID, address, member.ID)
		}
		if err := m.cfg.Store.Remove(ctx, member.ID); err != nil {
			return err
		}
		m.cfg.Log.Info("a node without a vote makes way for a newcomer at its address", "node", member.ID, "address", address)
	}
	return nil
}

// tellAddress lets the leader know that this node is reached elsewhere than the cluster thinks: it has been started with another address.
func (m *Manager) tellAddress(now time.Time, members []Member) {
	self, leader := find(members, m.cfg.Node), leaderOf(members)
	if m.cfg.Address == "" || self == nil || self.Address == m.cfg.Address || leader == "" || now.Sub(m.watch.moved) < leaderPatience {
		return
	}
	m.watch.moved = now
	ctx, cancel := context.WithTimeout(m.ctx, m.cfg.Policy.Patience)
	defer cancel()
	if err := m.call(ctx, leader, methodMoved, moved{Address: m.cfg.Address}, &nothing{}); err != nil {
		m.cfg.Log.Warn("the cluster can't be told where this node is now; it is tried again", "address", m.cfg.Address, "before", self.Address, "error", err)
	}
}

// moveMember is the leader's part of tellAddress.
func (m *Manager) moveMember(ctx context.Context, id protocol.NodeID, address string) error {
	if err := checkAddress(address); err != nil {
		return err
	}
	members, err := m.cfg.Store.Members()
	if err != nil {
		return err
	}
	for _, member := range members {
		if member.Address == address && member.ID != id {
			return protocol.Errorf(protocol.CodeInvalid, "node %s is at %s", member.ID, address)
		}
	}
	if err := m.cfg.Store.SetAddress(ctx, id, address); err != nil {
		return err
	}
	m.cfg.Log.Info("a node is at another address now", "node", id, "address", address)
	return nil
}

// newID is a name for whoever comes by a token: what all ids by that token begin with, and four random digits, so that even if the token were good
// twice the two nodes would not be taken for each other.
func (m *Manager) newID(members []Member, token string) protocol.NodeID {
	for {
		var b [2]byte
		_, _ = rand.Read(b[:]) // never fails
		id := protocol.NodeID(idBegins(token) + hex.EncodeToString(b[:]))
		if find(members, id) == nil && !m.admitted.taken(id) {
			return id
		}
	}
}

// idBegins is how the id of a node begins that came by a token: "n" and four hexadecimal digits. So the members themselves tell which tokens were used.
func idBegins(token string) string {
	sum := sha256.Sum256([]byte("node by token " + token))
	return "n" + hex.EncodeToString(sum[:2])
}

// byToken is the member that came by a token, nil if none of them did. One at the given address does not count: it asks once more.
func byToken(members []Member, token, address string) *Member {
	begins := idBegins(token)
	for i, member := range members {
		if member.Address != address && strings.HasPrefix(string(member.ID), begins) {
			return &members[i]
		}
	}
	return nil
}

// checkAddress refuses what other nodes could not dial.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return protocol.Errorf(protocol.CodeInvalid, "the address %q is not host:port", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return protocol.Errorf(protocol.CodeInvalid, "the address %q has no port that can be dialled", address)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		return protocol.Errorf(protocol.CodeInvalid, "the address %q means every address of a machine: say under which one the others reach this node", address)
	}
	return nil
}

// up tells which nodes have a link to this one, this one included.
func (m *Manager) up() map[protocol.NodeID]bool {
	up := map[protocol.NodeID]bool{m.cfg.Node: true}
	if mesh := m.links(); mesh != nil {
		for _, p := range mesh.Peers() {
			up[p.Node] = p.Up
		}
	}
	return up
}

// maxTokenAddresses is how many nodes a token names at most.
const maxTokenAddresses = 5

// Token makes a token that lets one node join within its life (0: an hour, at most MaxTokenLife). It is a secret.
func (m *Manager) Token(life time.Duration) (authority.Token, error) {
	if life == 0 {
		life = authority.TokenLife
	}
	if life < time.Minute || life > MaxTokenLife {
		return authority.Token{}, protocol.Errorf(protocol.CodeInvalid, "a token is good for a minute at least and %s at most", MaxTokenLife)
	}
	if m.links() == nil || m.cfg.Papers == nil {
		return authority.Token{}, protocol.Errorf(protocol.CodeUnavailable, "this node has no node port, so no other can join it: see listen.node")
	}
	key := m.cfg.Papers.Key()
	if key == nil {
		return authority.Token{}, protocol.Errorf(protocol.CodeUnavailable, "the cluster has no key for tokens yet: try again")
	}
	members, err := m.cfg.Store.Members()
	if err != nil {
		return authority.Token{}, err
	}
	// The leader first, which needs not forward; then those that are there, the others in case they come back.
	var lead, there, away []string
	up := m.up()
	for _, member := range members {
		switch {
		case member.Leader:
			lead = append(lead, member.Address)
		case up[member.ID]:
			there = append(there, member.Address)
		default:
			away = append(away, member.Address)
		}
	}
	all := append(append(lead, there...), away...)
	var token authority.Token
	for { // mostly once: one that looks like a member's would be taken for used
		token, err = authority.NewToken(key, all[:min(len(all), maxTokenAddresses)], m.cfg.Papers.Root(), m.cfg.Clock().Add(life))
		if err != nil {
			return token, err
		}
		if byToken(members, token.ID(), "") == nil {
			break
		}
	}
	m.cfg.Log.Info("a join token was made", "token", token.ID(), "expires", token.Expires)
	return token, nil
}
