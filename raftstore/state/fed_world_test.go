package state

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// office is a cluster of one machine, for what federation makes of the state: no sockets, no keepers of links.
type office struct {
	*node
	id     fed.ClusterID
	signer *fed.Signer
	// identity is the newest one.
	identity fed.Identity
	keys     fed.Keys
	signed   fed.SignedManifest
	name     string
}

// world is several offices that are all linked.
type world struct {
	testing.TB
	offices []*office
}

const officeUsers = 4

func officeName(i int) string { return []string{"hangzhou", "beijing", "singapore", "shanghai"}[i] }

func newWorld(t testing.TB, offices int) *world {
	w := &world{TB: t}
	for i := range offices {
		w.offices = append(w.offices, newOffice(t, i))
	}
	for _, a := range w.offices {
		for _, b := range w.offices {
			if a != b {
				a.link(b, fed.AllowAll)
			}
		}
	}
	return w
}

func newOffice(t testing.TB, i int) *office {
	o := &office{node: newNode(t), id: fed.ClusterID{byte(i + 1)}, name: officeName(i)}
	o.do(&protocol.FoundCluster{Cluster: protocol.Cluster{ID: o.id, History: [16]byte{1}, TokenKey: [32]byte{1}, AddressKey: [32]byte{1}}})
	root, link := bytes.Repeat([]byte{byte(i + 1)}, 32), bytes.Repeat([]byte{byte(i + 101)}, 32)
	public := func(seed []byte) [32]byte {
		p, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		return [32]byte(p)
	}
	m := fed.Manifest{Cluster: o.id, Root: public(root), Serial: 1, Domain: o.name + ".example", Office: o.name, Versions: fed.Current(),
		Keys: []fed.LinkKey{{Public: public(link), Purpose: fed.KeyActive}}}
	o.signed, o.keys = fed.SignManifest(&m, ed25519.NewKeyFromSeed(root)), m.LinkKeys()
	identity := fed.Identity{Root: [32]byte(root), Keys: []fed.OwnKey{{Seed: [32]byte(link), Purpose: fed.KeyActive}}, Manifest: o.signed, Epoch: 1, History: [16]byte{1}}
	o.do(&protocol.SetIdentity{Identity: mustCBOR(identity)})
	o.signer, o.identity = identity.Signer(o.id), identity
	for u := range officeUsers {
		o.do(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: fmt.Sprintf("%s%d", o.name, u+1), Nick: fmt.Sprintf("Nick%d", u+1)}}}})
	}
	return o
}

func mustCBOR(v any) []byte {
	b, err := codec.enc.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// link makes a trust b.
func (o *office) link(b *office, allow fed.Allow) {
	o.do(&protocol.SetPeer{Cluster: b.id, Peer: mustCBOR(fed.Peer{Manifest: b.signed, State: fed.PeerConfirmed, In: allow, Out: allow})})
}

// person is what a user of another office is called here.
func (o *office) person(of *office, u protocol.UserID) protocol.UserID {
	o.Helper()
	var alias uint32
	o.view(func(t *txn) (err error) {
		alias, err = t.alias(of.id, aliasUser, uint32(u))
		return err
	})
	if alias == 0 {
		res, _ := o.do(&protocol.AddAlias{Cluster: of.id, User: uint32(u), Profile: mustCBOR(fed.Profile{Login: fmt.Sprintf("%s%d", of.name, u), Nick: "?"})}).(protocol.AddAliasResult)
		return res.User
	}
	return protocol.UserID(alias)
}

func (o *office) view(fn func(*txn) error) {
	o.Helper()
	if err := o.db.View(func(tx *bbolt.Tx) error { return fn(&txn{tx: tx}) }); err != nil {
		o.Fatal(err)
	}
}

// waiting are the events of a lane that the other side has not acknowledged, from a sequence on, at most n.
func (o *office) waiting(k laneKey, from uint64, n int) (events []outRow) {
	o.view(func(t *txn) error {
		for seq := from; seq <= o.m.abroad.lanes[k].sent && len(events) < n; seq++ {
			key := outKey(k, seq)
			if t.row(bOut, key[:]) == nil { // swept: whoever sends it again has nothing but its place
				skip := fed.Event{ID: o.m.eventID(protocol.Position{Index: seq})}
				events = append(events, outRow{typ: fed.TypeSkip, event: skip.Encode(fed.TypeSkip, fed.Skip{})})
				continue
			}
			row, err := t.out(k, seq)
			if err != nil {
				return err
			}
			row.event = bytes.Clone(row.event)
			events = append(events, row)
		}
		return nil
	})
	return events
}

// carry brings at most n events of one lane to the other office, from a sequence on, as a link does: signed, checked, one command each. It
// returns up to where that office has committed, and what it refused.
func (w *world) carry(from, to *office, lane fed.Lane, first uint64, n int) (committed uint64, refused []protocol.Refusal) {
	w.Helper()
	k, back := laneKey{to.id, lane}, laneKey{from.id, lane}
	for i, row := range from.waiting(k, first, n) {
		batch := fed.Batch{Epoch: from.m.abroad.epoch, Lane: lane, First: first + uint64(i), Events: []fed.SignedEvent{from.signer.SignEvent(row.event)}}
		from.signer.SignBatch(&batch, to.id)
		if err := batch.Verify(from.id, to.id, from.keys); err != nil {
			w.Fatal(err)
		}
		e := batch.Events[0]
		res := to.apply(&protocol.ReceiveEvent{Cluster: from.id, Epoch: batch.Epoch, Lane: uint8(lane), Sequence: batch.First, Event: e.Event,
			Key: e.Signature.Key, Sig: e.Signature.Sig[:]})[0]
		got, ok := res.(protocol.ReceiveResult)
		if !ok {
			w.Fatalf("%s → %s, lane %d, event %d (%v): %v", from.name, to.name, lane, batch.First, row.typ, res)
		}
		if got.Refused != nil {
			refused = append(refused, *got.Refused)
		}
		if got.Gap != nil {
			w.fillGaps(to, from)
		}
	}
	return to.m.abroad.lanes[back].in, refused
}

func (w *world) ack(from, to *office, lane fed.Lane, committed uint64, refused []protocol.Refusal) {
	w.Helper()
	if committed > from.m.abroad.lanes[laneKey{to.id, lane}].acked {
		from.do(&protocol.AckEvents{Cluster: to.id, Epoch: from.m.abroad.epoch, Lane: uint8(lane), Sequence: committed, Refused: refused})
	}
}

// settle carries everything until nothing waits, and returns what was refused.
func (w *world) settle() (refused []protocol.Refusal) {
	w.Helper()
	for moved := true; moved; {
		moved = false
		for _, a := range w.offices {
			a.work()
			for _, b := range w.offices {
				if a == b {
					continue
				}
				for lane := fed.LaneControl; lane <= fed.LaneLast; lane++ {
					l, in := a.m.abroad.lanes[laneKey{b.id, lane}], b.cursor(a, lane)
					if l.acked == l.sent && in == l.sent {
						continue
					}
					moved = true
					committed, no := w.carry(a, b, lane, min(l.acked, in)+1, 1000)
					w.ack(a, b, lane, committed, no)
					refused = append(refused, no...)
				}
			}
		}
	}
	return refused
}

// say has a user say something to a session, and returns the id here.
func (o *office) say(from protocol.UserID, to protocol.Session, what string) protocol.MsgID {
	o.Helper()
	res, _ := o.do(text(from, to, what)).(protocol.SendResult)
	return res.ID
}

// texts are what a user sees of a session, the oldest first, each with its author's name.
func (o *office) texts(u protocol.UserID, s protocol.Session) (all []string) {
	o.Helper()
	msgs, err := o.History(u, s, 0, 1000)
	if err != nil {
		o.Fatal(err)
	}
	for i := len(msgs) - 1; i >= 0; i-- {
		var name string
		o.view(func(t *txn) error {
			row, err := t.user(msgs[i].From)
			name = row.User.Name
			return err
		})
		what := string(msgs[i].Data)
		if msgs[i].Deleted != 0 {
			what = "(deleted)"
		}
		if at := bytes.IndexByte([]byte(name), '@'); at >= 0 {
			name = name[:at]
		}
		all = append(all, name+": "+what)
	}
	return all
}

// group is what a group of one office is called at another, 0: not known there.
func (o *office) group(of *office, g protocol.GroupID) protocol.GroupID {
	if o == of {
		return g
	}
	var alias uint32
	o.view(func(t *txn) (err error) {
		alias, err = t.alias(of.id, aliasGroup, uint32(g))
		return err
	})
	return protocol.GroupID(alias)
}

// states are what its author was told of a message, in order.
func (o *office) states(id protocol.MsgID) (states []uint8) {
	for _, e := range o.events {
		if c, ok := e.Body.(protocol.MessageStateChanged); ok && c.ID == id {
			states = append(states, c.State)
		}
	}
	return states
}

// cursor is up to where an office has committed what the other one sends now: nothing yet of a new epoch.
func (o *office) cursor(from *office, lane fed.Lane) uint64 {
	l := o.m.abroad.lanes[laneKey{from.id, lane}]
	if l.epochIn != from.m.abroad.epoch {
		return 0
	}
	return l.in
}

// work sweeps until no task is due.
func (o *office) work() {
	o.Helper()
	for range 1000 {
		due := false
		o.view(func(t *txn) error {
			return t.scan(bTask, nil, nil, func(_, b []byte) (bool, error) {
				var row taskRow
				err := decodeRow(b, &row)
				due = due || row.Due <= protocol.Time(o.clock)
				return due, err
			})
		})
		if !due {
			return
		}
		o.do(&protocol.SweepFederation{})
	}
	o.Fatal("tasks never end")
}

// rootKey is an office's.
func rootKey(n byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)) }

func sorted(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

func equal(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: %s", what, diff)
	}
}

// change writes into an office's state, past all rules.
func (o *office) change(fn func(*step) error) {
	o.Helper()
	if err := o.db.Update(func(tx *bbolt.Tx) error {
		return fn(&step{txn: &txn{tx: tx}, at: protocol.Position{Index: o.index}, now: protocol.Time(o.clock)})
	}); err != nil {
		o.Fatal(err)
	}
}

func sha(b []byte) [32]byte { return sha256.Sum256(b) }
