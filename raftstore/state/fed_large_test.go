package state

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// crowd has an office know so many others with so many people each, who have as long names as there are.
func (o *office) crowd(clusters, people int) (all []protocol.UserID) {
	o.Helper()
	for c := range clusters {
		id := fed.ClusterID{0xcc, byte(c >> 8), byte(c)}
		root := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(c)}, 32))
		public, _ := root.Public().(ed25519.PublicKey)
		m := fed.Manifest{Cluster: id, Root: [32]byte(public), Serial: 1, Domain: fmt.Sprintf("office%d.example", c), Office: fmt.Sprintf("Office %d", c), Versions: fed.Current(),
			Keys: []fed.LinkKey{{Public: [32]byte(public), Purpose: fed.KeyActive}}}
		o.do(&protocol.SetPeer{Cluster: id, Peer: mustCBOR(fed.Peer{Manifest: fed.SignManifest(&m, root), State: fed.PeerConfirmed, In: fed.AllowAll, Out: fed.AllowAll, Quota: 1 << 40})})
		for first := 0; first < people; first += 500 {
			var cmds []protocol.Command
			for u := first; u < min(people, first+500); u++ {
				p := fed.Profile{Login: fmt.Sprintf("%064d", u+1), Nick: strings.Repeat("n", 128), Updated: 1}
				cmds = append(cmds, &protocol.AddAlias{Cluster: id, User: uint32(u + 1), Profile: mustCBOR(p)})
			}
			for _, res := range o.apply(cmds...) {
				added, ok := res.(protocol.AddAliasResult)
				if !ok {
					o.Fatal(res)
				}
				all = append(all, added.User)
			}
		}
	}
	return all
}

// TestLargeGroup: a group of 5,000 people of 20 offices: a post is one event for each office, however many people it has there, and what says who is in fits into events.
func TestLargeGroup(t *testing.T) {
	o := newOffice(t, 0)
	const clusters = 20
	people := o.crowd(clusters, 250)
	outs := func() (n, size, largest int) {
		o.view(func(t *txn) error {
			return t.scan(bOut, nil, nil, func(_, b []byte) (bool, error) {
				n, size, largest = n+1, size+len(b), max(largest, len(b)-outFixedLen)
				return false, nil
			})
		})
		return n, size, largest
	}
	begin := time.Now()
	made, _ := o.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "All hands", Members: append(people[:len(people)-2:len(people)-2], 1)}).(protocol.CreateGroupResult)
	n0, size, largest := outs()
	t.Logf("made: %v, %d events, %d kB, the largest %d kB", time.Since(begin), n0, size>>10, largest>>10)
	if largest > fed.MaxEvent || largest > fed.MaxBatchBytes {
		t.Errorf("an event of %d bytes", largest)
	}
	begin = time.Now()
	o.say(1, protocol.InGroup(made.Group), "hello")
	n1, size1, _ := outs()
	t.Logf("the first post: %v, %d kB", time.Since(begin), (size1-size)>>10)
	if n1-n0 != 2*clusters { // and who has said it
		t.Errorf("the first post is %d events", n1-n0)
	}
	begin = time.Now()
	const posts = 50
	for range posts {
		o.say(1, protocol.InGroup(made.Group), strings.Repeat("x", 100))
	}
	n2, size2, _ := outs()
	t.Logf("a post: %v, %d bytes", time.Since(begin)/posts, (size2-size1)/posts)
	if n2-n1 != clusters*posts {
		t.Errorf("%d posts are %d events", posts, n2-n1)
	}
	begin = time.Now()
	o.do(&protocol.ChangeMembers{Actor: 1, Group: made.Group, Change: protocol.MembersAdd, Members: people[len(people)-1:]})
	n3, size3, _ := outs()
	t.Logf("one joins: %v, %d events, %d kB", time.Since(begin), n3-n2, (size3-size2)>>10)
	if wrong := o.check(); wrong != nil {
		t.Error(wrong)
	}
	o.takesIn(t, people)
}

// takesIn has another office take in what the first of the others is told of the group.
func (o *office) takesIn(t *testing.T, people []protocol.UserID) {
	to := fed.ClusterID{0xcc}
	b := newOffice(t, 1)
	b.link(o, fed.AllowAll)
	begin, n := time.Now(), uint64(0)
	for lane := fed.LaneFirst; lane <= fed.LaneLast; lane++ {
		for _, row := range o.waiting(laneKey{to, lane}, 1, 1000) {
			if row.typ != fed.TypeGroupState {
				continue
			}
			n++
			event, err := fed.DecodeEvent(row.event)
			if err != nil {
				t.Fatal(err)
			}
			state, err := fed.BodyOf[fed.GroupState](&event)
			if err != nil {
				t.Fatal(err)
			}
			for i := range state.Members { // one of them is this office's
				if state.Members[i] == (fed.UserRef{Cluster: to, ID: 1}) {
					state.Members[i] = fed.UserRef{Cluster: b.id, ID: 1}
				}
			}
			res, _ := b.apply(&protocol.ReceiveEvent{Cluster: o.id, Epoch: 1, Lane: uint8(lane), Sequence: n, Event: event.Encode(fed.TypeGroupState, state)})[0].(protocol.ReceiveResult)
			if res.Refused != nil {
				t.Fatalf("%+v", res.Refused)
			}
		}
	}
	t.Logf("taken in: %v", time.Since(begin))
	groups, err := b.GroupsOf(1)
	if err != nil || len(groups) != 1 {
		t.Fatalf("%+v, %v", groups, err)
	}
	if members, err := b.Members(groups[0].ID); err != nil || len(members) != len(people) {
		t.Errorf("%d members, %v", len(members), err)
	}
}

// BenchmarkAbroad measures what an office with 50 peers and 100,000 of their people costs.
func BenchmarkAbroad(b *testing.B) {
	o := newOffice(b, 0)
	begin := time.Now()
	people := o.crowd(50, 2000)
	b.Logf("100,000 aliases: %v each, %d MB on disk", time.Since(begin)/time.Duration(len(people)), fileSize(b, o)>>20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	o.reopen()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("opened: %d kB more in memory", (int64(after.HeapAlloc)-int64(before.HeapAlloc))>>10)
	b.Run("say", func(b *testing.B) {
		i := 0
		for b.Loop() {
			o.say(1, protocol.WithUser(people[i*7919%len(people)]), "hello")
			i++
		}
	})
	b.Run("receive", func(b *testing.B) {
		peer := o.m.peersInOrder()[3]
		seq := uint64(0)
		for b.Loop() {
			seq++
			e := fed.Event{ID: fed.NewEventID(peer, 0, protocol.Position{Index: seq}), Time: 1, Author: fed.UserRef{Cluster: peer, ID: protocol.UserID(seq%2000 + 1)}, To: fed.UserRef{Cluster: o.id, ID: 1}}
			res, _ := o.apply(&protocol.ReceiveEvent{Cluster: peer, Epoch: 1, Lane: 1, Sequence: seq, Sig: make([]byte, 64),
				Event: e.Encode(fed.TypeMessage, fed.Message{Type: protocol.MsgSingleText, Data: []byte("hello, this is a message of usual length")})})[0].(protocol.ReceiveResult)
			if res.Sequence != seq || res.Refused != nil {
				b.Fatal(res, res.Refused)
			}
		}
	})
	b.Run("sweep", func(b *testing.B) {
		for b.Loop() {
			o.do(&protocol.SweepFederation{})
		}
	})
	b.Run("aliases of a peer", func(b *testing.B) {
		for b.Loop() {
			rows, err := o.AliasesOf(o.m.peersInOrder()[9], 0, 4096)
			if err != nil || len(rows) != 2000 {
				b.Fatal(len(rows), err)
			}
		}
	})
}

func fileSize(t testing.TB, o *office) int64 {
	info, err := os.Stat(o.path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
