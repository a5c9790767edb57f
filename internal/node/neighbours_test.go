package node

import (
	"slices"
	"testing"

	"teamtalk/gateway"
	"teamtalk/internal/peers"
	"teamtalk/protocol"
)

// [TT-SESS-25]: where the cluster is reached does not change because a member is away, busy or unable to write for a while; only those who take clients come
// first. It changes when a member comes, moves or goes.
func TestWhereTheOthersAre(t *testing.T) {
	var b neighbours
	busy := gateway.NodeStatus{Availability: gateway.NotReady}
	members := func(ids ...protocol.NodeID) (all []peers.PeerState) {
		for _, id := range ids {
			all = append(all, peers.PeerState{Node: id})
		}
		return all
	}
	say := func(by map[protocol.NodeID]neighbour, of []peers.PeerState) {
		b.set(by)
		b.retain(of)
	}
	check := func(what string, wantAll, wantElsewhere []string) {
		t.Helper()
		all, elsewhere := b.all(), b.elsewhere()
		first := slices.Sorted(slices.Values(all[:min(len(all), len(elsewhere))]))
		slices.Sort(all)
		slices.Sort(elsewhere)
		if !slices.Equal(all, wantAll) || !slices.Equal(elsewhere, wantElsewhere) || !slices.Equal(first, wantElsewhere) {
			t.Errorf("%s: %q, of which %q take clients; want %q and %q", what, all, elsewhere, wantAll, wantElsewhere)
		}
	}

	check("alone", nil, nil)
	say(map[protocol.NodeID]neighbour{"2": {Endpoints: []string{"tls://2"}, Native: busy}}, members("2", "3"))
	check("nobody has ever taken clients", nil, nil)
	say(map[protocol.NodeID]neighbour{
		"2": {Endpoints: []string{"tls://2"}}, // a node that does not say that it takes extended clients
		"3": {Endpoints: []string{"quic://3", "tls://3"}, Native: busy, Takes: true},
	}, members("2", "3"))
	three := []string{"quic://3", "tls://2", "tls://3"}
	check("all take clients, 3 has no port for those of today", three, three)
	say(map[protocol.NodeID]neighbour{"3": {Native: busy}}, members("2", "3"))
	check("2 is away, 3 is starting", three, nil)
	say(map[protocol.NodeID]neighbour{"2": {Endpoints: []string{"tls://moved"}}}, members("2", "3"))
	check("2 has moved, 3 is away", []string{"quic://3", "tls://3", "tls://moved"}, []string{"tls://moved"})
	say(map[protocol.NodeID]neighbour{"2": {Endpoints: []string{"tls://moved"}}}, members("2", "4"))
	check("4 is in the place of 3", []string{"tls://moved"}, []string{"tls://moved"})
	say(map[protocol.NodeID]neighbour{"4": {Endpoints: []string{"tls://4"}, Takes: true}}, members("2", "4"))
	check("4 takes clients, 2 is away", []string{"tls://4", "tls://moved"}, []string{"tls://4"})
}
