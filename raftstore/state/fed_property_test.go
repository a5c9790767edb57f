package state

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// said is one message of the property test.
type said struct {
	office int
	author protocol.UserID
	to     string // whose mailboxes it belongs into
	what   string
	n      int
}

// TestFederationProperties: offices say, read, delete, while links carry as little as they please, twice, or not at all; days pass; places of the group get lost on their way; offices
// restart, and go on from backups, which loses what had not left them. Once everything was carried, each message is in each mailbox that it belongs into, once; what one author said is in his order; all offices
// have the same chain of the group; nothing of what was deleted, or of its pictures, is left anywhere; and of all pictures that are shown it is known who has them.
func TestFederationProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, 3)
		defer w.close()
		p := &play{rapid: rt, world: w}
		p.begin()
		rt.Repeat(map[string]func(*rapid.T){
			"say to somebody": p.sayToOne, "say to the group": p.sayToGroup, "carry": p.carrySome, "restart": p.restart, "read": p.read, "delete": p.deleteOne,
			"a day passes": p.sweep, "lose a place": p.losePlace, "back up": p.backUp, "restore": p.restore,
		})
		rt.Logf("restored %d times", p.restores)
		for _, no := range w.settle() {
			rt.Fatalf("refused: %+v", no)
		}
		p.judge()
	})
}

// play is the players' memory.
type play struct {
	rapid *rapid.T
	*world
	group   protocol.GroupID // at the first office
	said    []said
	deleted map[string]int  // when
	unsure  map[string]bool // whether the deletion was lost with its office
	backups map[int]saved
	n       int
	days    int
	// restores is how often an office was.
	restores int
}

// saved is a backup and when it was made.
type saved struct {
	copyOf
	n int
}

func (p *play) begin() {
	p.deleted, p.unsure, p.backups = map[string]int{}, map[string]bool{}, map[int]saved{}
	a, b, c := p.offices[0], p.offices[1], p.offices[2]
	made, _ := a.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "All", Members: []protocol.UserID{1, 2, a.person(b, 1), a.person(b, 2), a.person(c, 1)}}).(protocol.CreateGroupResult)
	p.group = made.Group
	p.settle()
}

func (p *play) draw(t *rapid.T, of int, what string) int {
	return rapid.IntRange(0, of-1).Draw(t, what)
}

// pair are a user and somebody of another office.
func (p *play) pair(t *rapid.T) (from, to int, author, reader protocol.UserID) {
	from = p.draw(t, 3, "from")
	to = (from + 1 + p.draw(t, 2, "to")) % 3
	return from, to, protocol.UserID(1 + p.draw(t, 2, "author")), protocol.UserID(1 + p.draw(t, 2, "reader"))
}

func (p *play) sayToOne(t *rapid.T) {
	from, to, author, reader := p.pair(t)
	p.n++
	what := fmt.Sprintf("m%d.", p.n)
	o := p.offices[from]
	p.sayWithPicture(o, author, protocol.WithUser(o.person(p.offices[to], reader)), what)
	p.said = append(p.said, said{from, author, fmt.Sprintf("%d/%d", to, reader), what, p.n})
}

// pictureOf is what the message with a text shows.
func pictureOf(what string) protocol.BlobID { return protocol.BlobID(sha([]byte(what))) }

// sayWithPicture says something that shows a picture of its own, which is at the office.
func (p *play) sayWithPicture(o *office, from protocol.UserID, to protocol.Session, what string) {
	o.do(put(pictureOf(what), from))
	c := showing(from, to, pictureOf(what))
	c.Data = []byte(what)
	o.do(c)
}

func (p *play) sayToGroup(t *rapid.T) {
	from := p.draw(t, 3, "from")
	o := p.offices[from]
	p.n++
	what := fmt.Sprintf("g%d.", p.n)
	p.sayWithPicture(o, 1, protocol.InGroup(o.group(p.offices[0], p.group)), what)
	p.said = append(p.said, said{from, 1, "group", what, p.n})
}

// carrySome brings a few events of one lane over, perhaps some that were there before, and perhaps nobody hears that they arrived.
func (p *play) carrySome(t *rapid.T) {
	from, to, _, _ := p.pair(t)
	a, b := p.offices[from], p.offices[to]
	lane := fed.Lane(p.draw(t, 9, "lane"))
	l := a.m.abroad.lanes[laneKey{b.id, lane}]
	at := b.cursor(a, lane)
	first := min(max(1, at+1-min(at, uint64(p.draw(t, 3, "again")))), at+1)
	if at == l.sent && first > at {
		return
	}
	committed, refused := p.carry(a, b, lane, first, 1+p.draw(t, 4, "events"))
	if rapid.Bool().Draw(t, "acknowledged") {
		p.ack(a, b, lane, committed, refused)
	}
}

func (p *play) restart(t *rapid.T) { p.offices[p.draw(t, 3, "office")].reopen() }

func (p *play) read(t *rapid.T) {
	from, to, author, reader := p.pair(t)
	o := p.offices[from]
	o.do(&protocol.MarkRead{User: author, Session: protocol.WithUser(o.person(p.offices[to], reader))})
}

func (p *play) deleteOne(t *rapid.T) {
	if len(p.said) == 0 {
		return
	}
	m := p.said[p.draw(t, len(p.said), "which")]
	o := p.offices[m.office]
	with := protocol.InGroup(o.group(p.offices[0], p.group))
	if m.to != "group" {
		var to int
		var reader protocol.UserID
		if _, err := fmt.Sscanf(m.to, "%d/%d", &to, &reader); err != nil {
			t.Fatal(err)
		}
		with = protocol.WithUser(o.person(p.offices[to], reader))
	}
	msgs, err := o.History(m.author, with, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, msg := range msgs {
		if string(msg.Data) == m.what {
			o.do(&protocol.DeleteMessage{Actor: m.author, Session: with, ID: msg.ID, Deletion: protocol.Recalled, Within: 1 << 50})
			p.n++
			p.deleted[m.what] = p.n
		}
	}
}

// sweep lets a day pass: what was acknowledged before is gone from the outboxes. Nothing expires.
func (p *play) sweep(*rapid.T) {
	if p.days++; p.days > 5 {
		return
	}
	for _, o := range p.offices {
		o.clock += ackedKeep + 1
		o.do(&protocol.SweepFederation{})
	}
}

// losePlace has a place of the group that is on its way be given up, as if it had waited for too long.
func (p *play) losePlace(t *rapid.T) {
	hub, to := p.offices[0], p.offices[1+p.draw(t, 2, "to")]
	lane := fed.LaneOf(protocol.InGroup(p.group).Conversation(0))
	k := laneKey{to.id, lane}
	l := hub.m.abroad.lanes[k]
	for seq := max(l.acked, to.cursor(hub, lane)) + 1; seq <= l.sent; seq++ {
		if row := hub.waiting(k, seq, 1)[0]; row.typ != fed.TypeHubPost {
			continue
		}
		hub.change(func(s *step) error {
			row, err := s.out(k, seq)
			if err != nil {
				return err
			}
			was, err := fed.DecodeEvent(row.event)
			if err != nil {
				return err
			}
			post, err := fed.BodyOf[fed.HubPost](&was)
			if err != nil {
				return err
			}
			skip := fed.Event{ID: hub.m.eventID(s.at), Group: was.Group}
			return hub.m.replaceOut(s, way{k, seq}, &row, &outRow{typ: fed.TypeSkip, time: row.time, event: skip.Encode(fed.TypeSkip, fed.Skip{Place: post.Seq})})
		})
		return
	}
}

func (p *play) backUp(t *rapid.T) {
	i := p.draw(t, 3, "office")
	p.backups[i] = saved{p.offices[i].backup(), p.n}
}

// restore has an office go on from its backup. What it had said since then and told nobody is lost with it.
func (p *play) restore(t *rapid.T) {
	i := p.draw(t, 3, "office")
	b, ok := p.backups[i]
	if !ok {
		return
	}
	p.restores++
	p.said = slices.DeleteFunc(p.said, func(m said) bool {
		lost := m.office == i && m.n > b.n && p.deleted[m.what] == 0
		for j, o := range p.offices {
			lost = lost && (j == i || !holds(o, m.what))
		}
		return lost
	})
	for _, m := range p.said {
		if m.office == i && p.deleted[m.what] > b.n {
			p.unsure[m.what] = true
		}
	}
	b.restore()
	b.office.resume()
	p.reconcile(b.office)
}

// judge compares every mailbox with what was said.
func (p *play) judge() {
	for i, o := range p.offices {
		for _, wrong := range o.check() {
			p.rapid.Fatal(wrong)
		}
		p.judgeGroup(i, o)
		p.judgePictures(o)
		for what, when := range p.deleted {
			if when == 0 {
				continue
			}
			if holds(o, what) && !p.unsure[what] {
				p.rapid.Fatalf("%s still has %q, which was deleted", o.name, what)
			}
		}
		for j, other := range p.offices {
			if i == j {
				continue
			}
			for me := protocol.UserID(1); me <= 2; me++ {
				for peer := protocol.UserID(1); peer <= 2; peer++ {
					p.judgePair(i, j, o, other, me, peer)
				}
			}
		}
	}
	p.judgeOrder()
}

// judgePictures looks for the pictures of what an office has, and of what it has no more.
func (p *play) judgePictures(o *office) {
	for _, wrong := range o.checkBlobs() {
		p.rapid.Fatal(o.name, wrong)
	}
	for _, m := range p.said {
		id := pictureOf(m.what)
		switch has := holds(o, m.what); {
		case p.unsure[m.what]:
		case p.deleted[m.what] != 0 && len(o.holding(string(id[:]))) > 0:
			p.rapid.Fatalf("%s still has the picture of %q in %v", o.name, m.what, o.holding(string(id[:])))
		case p.deleted[m.what] == 0 && has:
			blob, nodes, err := o.Blob(id)
			if err != nil || len(nodes) == 0 && blob.Peer == [16]byte{} {
				p.rapid.Fatalf("%s does not know who has the picture of %q: %v at %v, %v", o.name, m.what, blob, nodes, err)
			}
		}
	}
}

// judgeOrder: the chain is the same everywhere. A hub that was restored does not get back places whose content was deleted; what is left is in the same order.
func (p *play) judgeOrder() {
	var orders [][][32]byte
	for _, o := range p.offices {
		orders = append(orders, p.placesOf(o))
	}
	all := slices.Clone(orders)
	for i, order := range all {
		if p.restores > 0 {
			order = slices.DeleteFunc(slices.Clone(order), func(hash [32]byte) bool {
				return slices.ContainsFunc(all, func(other [][32]byte) bool { return !slices.Contains(other, hash) })
			})
		}
		if orders[i] = order; !slices.Equal(order, orders[0]) {
			p.rapid.Fatalf("%s has another order: %d places, the hub has %d", p.offices[i].name, len(order), len(orders[0]))
		}
	}
}

// placesOf is the chain as an office has it; after a restore only its messages: a deletion may have been ordered again.
func (p *play) placesOf(o *office) (hashes [][32]byte) {
	if p.restores == 0 {
		return hubOrder(o, o.group(p.offices[0], p.group))
	}
	o.view(func(t *txn) error {
		prefix := idKey(o.group(p.offices[0], p.group))
		return t.scan(bHub, prefix[:], prefix[:], func(_, b []byte) (bool, error) {
			var row hubRow
			if err := decodeRow(b, &row); err != nil {
				return true, err
			}
			if at := positionKey(row.At); t.row(bLog, at[:]) != nil {
				hashes = append(hashes, row.Inner)
			}
			return false, nil
		})
	})
	return hashes
}

func (p *play) judgePair(i, j int, o, other *office, me, peer protocol.UserID) {
	all := o.texts(me, protocol.WithUser(o.person(other, peer)))
	for _, side := range []struct {
		office int
		author protocol.UserID
		to     string
	}{{i, me, fmt.Sprintf("%d/%d", j, peer)}, {j, peer, fmt.Sprintf("%d/%d", i, me)}} {
		p.compare(o, all, side.office, side.author, func(m *said) bool { return m.to == side.to })
	}
}

func (p *play) judgeGroup(_ int, o *office) {
	all := o.texts(1, protocol.InGroup(o.group(p.offices[0], p.group)))
	for i := range p.offices {
		p.compare(o, all, i, 1, func(m *said) bool { return m.to == "group" })
	}
}

// compare looks for what an author said in a mailbox: all of it, once, in his order; of what was deleted nothing, or where it was.
func (p *play) compare(o *office, mailbox []string, office int, author protocol.UserID, belongs func(*said) bool) {
	name := fmt.Sprintf("%s%d: ", officeName(office), author)
	var want, got []string
	for k := range p.said {
		if m := &p.said[k]; m.office == office && m.author == author && belongs(m) && p.deleted[m.what] == 0 {
			want = append(want, name+m.what)
		}
	}
	for _, line := range mailbox {
		if strings.HasPrefix(line, name) && !strings.HasSuffix(line, "(deleted)") && !p.unsure[strings.TrimPrefix(line, name)] {
			got = append(got, line)
		}
	}
	if !slices.Equal(want, got) {
		p.rapid.Fatalf("at %s of %s\nwant %v\ngot  %v", o.name, name, want, got)
	}
}

func (w *world) close() {
	for _, o := range w.offices {
		o.node.close()
	}
}
