package state

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"teamtalk/protocol"
)

// checkBlobs compares all that is kept of blobs with what it is made from: messages, profiles and files say what is shown, and that says the rest.
func (n *node) checkBlobs() (wrong []string) {
	n.Helper()
	shown, offered, used := map[string]bool{}, map[string]bool{}, map[protocol.BlobID]bool{}
	unused, added, usage := map[string]bool{}, map[string]bool{}, map[protocol.UserID]uint64{}
	err := n.db.View(func(tx *bbolt.Tx) error {
		t := &txn{tx: tx}
		if err := t.scan(bShown, nil, nil, func(key, b []byte) (bool, error) {
			var row shownRow
			if err := decodeRow(b, &row); err != nil {
				return true, err
			}
			if err := t.isRight(key, &row); err != nil {
				wrong = append(wrong, err.Error())
			}
			for _, r := range row.Refs {
				shown[string(blobKey(r.ID, key))], used[r.ID] = true, true
				for _, p := range row.Peers {
					offered[string(blobKey(r.ID, p[:], key))] = true
				}
			}
			return false, nil
		}); err != nil {
			return err
		}
		err := t.scan(bBlob, nil, nil, func(key, b []byte) (bool, error) {
			var row blobRow
			if err := decodeRow(b, &row); err != nil {
				return true, err
			}
			nodes, err := t.holders(row.Blob.ID)
			if !bytes.Equal(key, row.Blob.ID[:]) || len(nodes) != int(row.Holders) || used[row.Blob.ID] != (row.Unused == 0) {
				wrong = append(wrong, fmt.Sprintf("%x: %+v, held by %v, used: %v", key, row, nodes, used[row.Blob.ID]))
			}
			added[string(blobTimeKey(row.Blob.Added, row.Blob.ID))] = true
			if row.Unused != 0 {
				unused[string(blobTimeKey(row.Unused, row.Blob.ID))] = true
			}
			if len(nodes) > 0 && row.Blob.Size > 0 {
				usage[row.Blob.Owner] += row.Blob.Size
			}
			return false, err
		})
		all := uint64(0)
		for u, mine := range usage {
			if all += mine; t.usage(u) != mine {
				wrong = append(wrong, fmt.Sprintf("user %d has %d bytes, not %d", u, mine, t.usage(u)))
			}
		}
		if t.number(metaBlobs) != all {
			wrong = append(wrong, fmt.Sprintf("all have %d bytes, not %d", all, t.number(metaBlobs)))
		}
		for id, want := range map[bucketID]map[string]bool{bShower: shown, bOffered: offered, bUnused: unused, bAdded: added} {
			if got := t.keys(id); !maps.Equal(got, want) {
				wrong = append(wrong, fmt.Sprintf("%s has %d rows, want %d", id.name(), len(got), len(want)))
			}
		}
		if rows := len(t.keys(bUsage)); rows != len(usage) {
			wrong = append(wrong, fmt.Sprintf("the usage of %d users, want %d", rows, len(usage)))
		}
		return err
	})
	if err != nil {
		n.Fatal(err)
	}
	return wrong
}

func (t *txn) keys(id bucketID) map[string]bool {
	keys := map[string]bool{}
	c := t.bucket(id).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		keys[string(k)] = true
	}
	return keys
}

// isRight looks whether what is said to show blobs does.
func (t *txn) isRight(key shower, row *shownRow) error {
	text := ""
	switch key[0] {
	case showsMessage:
		if msg, err := t.message(positionOf(key[1:])); err != nil || msg.deleted != 0 {
			return fmt.Errorf("message %x shows blobs: %w", []byte(key), err)
		}
		return nil
	case showsFile:
		var f protocol.OfflineFile
		if found, err := t.readRow(bFile, key[1:], &f); err != nil || !found || len(row.Refs) != 1 || row.Refs[0].ID != f.Blob {
			return fmt.Errorf("file %+v shows %v: %w", f, row.Refs, err)
		}
		return nil
	case showsAvatar:
		u, err := t.user(protocol.UserID(number(append(make([]byte, 4), key[1:]...))))
		if err != nil {
			return err
		}
		text = u.User.Avatar
	case showsGroup:
		g, err := t.group(protocol.GroupID(number(append(make([]byte, 4), key[1:]...))))
		if err != nil {
			return err
		}
		text = g.Avatar
	}
	if paths := protocol.BlobPaths(text); len(paths) != 1 || len(row.Refs) != 1 || paths[0].ID != row.Refs[0].ID {
		return fmt.Errorf("%q shows %v", text, row.Refs)
	}
	return nil
}

// gallery is a model of what shows what: only sets.
type gallery struct {
	added, since map[byte]int64 // blobs, and since when nothing shows them
	shows        map[string][]byte
	claims       map[byte]map[protocol.UserID]bool // who brought a blob and has not shown it yet; 0: somebody unnamed
}

func newGallery() *gallery {
	return &gallery{added: map[byte]int64{}, since: map[byte]int64{}, shows: map[string][]byte{}, claims: map[byte]map[protocol.UserID]bool{}}
}

func (g *gallery) used(b byte) bool {
	for _, shown := range g.shows {
		if slices.Contains(shown, b) {
			return true
		}
	}
	return false
}

// endClaims ends the claims of him who shows blobs: his own, or else that of somebody unnamed.
func (g *gallery) endClaims(who protocol.UserID, blobs ...byte) {
	for _, b := range blobs {
		if g.claims[b][who] {
			delete(g.claims[b], who)
		} else {
			delete(g.claims[b], 0)
		}
	}
}

// show has something show blobs; what is not shown any more is gone if final and claimed by nobody, else unused since now.
func (g *gallery) show(by string, now int64, final bool, blobs ...byte) (gone []byte) {
	before := g.shows[by]
	g.shows[by] = blobs
	for b := range g.added {
		switch used := g.used(b); {
		case used:
			delete(g.since, b)
		case g.since[b] != 0 || !slices.Contains(before, b):
		case final && len(g.claims[b]) == 0:
			gone = append(gone, b)
		default:
			g.since[b] = now
		}
	}
	g.drop(gone...)
	return gone
}

func (g *gallery) put(b byte, owner protocol.UserID, now int64) {
	if g.added[b] == 0 {
		g.added[b], g.claims[b] = now, map[protocol.UserID]bool{}
	}
	g.claims[b][owner] = true
	if !g.used(b) {
		g.since[b] = now
	}
}

func (g *gallery) drop(blobs ...byte) {
	for _, b := range blobs {
		delete(g.added, b)
		delete(g.since, b)
		delete(g.claims, b)
	}
}

// TestBlobsAgainstModel: whatever is sent, deleted, put up and taken down, in whatever order: the blobs that are left, and since when they are unused, are what the model says; those that
// went were told once; two nodes, one of which restarts all the time, are the same to the byte.
func TestBlobsAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := &exhibition{rapid: rt, node: newNode(t), other: newNode(t), gallery: newGallery(), files: map[string]bool{}}
		defer p.node.close()
		defer p.other.close()
		p.both(&protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "a"}}, {User: protocol.User{Name: "b"}}}})
		p.both(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "g", Members: users(1, 2)})
		p.both(&protocol.BurnDue{Limit: 1})
		rt.Repeat(map[string]func(*rapid.T){
			"put": p.put, "send": p.send, "delete": p.delete, "burn": p.burn, "avatar": p.avatar, "file": p.file, "take": p.take, "drop": p.drop, "hold": p.hold,
			"restart": func(*rapid.T) { p.other.reopen() }, "": p.compare,
		})
		if !sameContents(p.node.contents(), p.other.contents()) {
			rt.Fatal("the nodes differ")
		}
	})
}

type exhibition struct {
	rapid *rapid.T
	*node
	*gallery
	other *node
	sent  []sentBlobs
	files map[string]bool
	gone  []byte
}

type sentBlobs struct {
	to    protocol.Session
	id    protocol.MsgID
	burns bool
}

func (s sentBlobs) name() string { return fmt.Sprintf("message %v/%d", s.to, s.id) }

// both executes a command on both nodes, which have to agree.
func (p *exhibition) both(c protocol.Command) any {
	events := len(p.node.events)
	want := p.node.apply(c)[0]
	if got := p.other.apply(c)[0]; fmt.Sprint(got) != fmt.Sprint(want) {
		p.rapid.Fatalf("%+v: %v here, %v there", c, want, got)
	}
	for _, e := range p.node.events[events:] {
		if d, ok := e.Body.(protocol.BlobsDropped); ok {
			for _, id := range d.IDs {
				p.gone = append(p.gone, id[0])
			}
		}
	}
	return want
}

func (p *exhibition) some(t *rapid.T) byte { return byte(rapid.IntRange(1, 5).Draw(t, "blob")) }

// wentAre compares what a command has dropped.
func (p *exhibition) wentAre(want []byte) {
	slices.Sort(want)
	slices.Sort(p.gone)
	if !slices.Equal(want, p.gone) {
		p.rapid.Fatalf("gone %v, want %v", p.gone, want)
	}
	p.gone = nil
}

func (p *exhibition) put(t *rapid.T) {
	b := p.some(t)
	owner := protocol.UserID(rapid.IntRange(0, 2).Draw(t, "owner"))
	p.both(put(testBlob(b), owner))
	p.gallery.put(b, owner, p.clock)
}

func (p *exhibition) send(t *rapid.T) {
	blobs := rapid.SliceOfN(rapid.ByteRange(1, 5), 0, 3).Draw(t, "blobs")
	s, from := sentBlobs{to: protocol.WithUser(2), burns: rapid.Bool().Draw(t, "burns")}, protocol.UserID(1)
	if rapid.Bool().Draw(t, "group") {
		s.to, s.burns = protocol.InGroup(1), false
		from = protocol.UserID(rapid.IntRange(1, 2).Draw(t, "from"))
	}
	c := text(from, s.to, "x")
	if s.burns {
		c.Extras.BurnAfter = 1
	}
	for _, b := range blobs {
		c.Blobs = append(c.Blobs, protocol.BlobRef{ID: testBlob(b), Size: 10})
	}
	res, _ := p.both(c).(protocol.SendResult)
	s.id = res.ID
	p.sent = append(p.sent, s)
	blobs = slices.DeleteFunc(blobs, func(b byte) bool { return p.added[b] == 0 })
	p.endClaims(from, blobs...)
	p.show(s.name(), p.clock, false, blobs...)
}

func (p *exhibition) delete(t *rapid.T) {
	if len(p.sent) == 0 {
		return
	}
	s := p.sent[rapid.IntRange(0, len(p.sent)-1).Draw(t, "message")]
	p.both(&protocol.DeleteMessage{Actor: 1, Session: s.to, ID: s.id, Deletion: protocol.Recalled, Within: 1e12})
	p.wentAre(p.show(s.name(), p.clock, true))
}

// burn has all that burns be read, and its time come.
func (p *exhibition) burn(*rapid.T) {
	p.both(&protocol.MarkRead{User: 2, Session: protocol.WithUser(1)})
	for _, n := range []*node{p.node, p.other} {
		n.clock += 5000
	}
	p.both(&protocol.BurnDue{Limit: 1000})
	var want []byte
	for _, s := range p.sent {
		if s.burns {
			want = append(want, p.show(s.name(), p.clock, true)...)
		}
	}
	p.wentAre(want)
}

func (p *exhibition) avatar(t *rapid.T) {
	b, text := p.some(t), "x.png"
	var shown []byte
	if rapid.Bool().Draw(t, "a blob") {
		text, shown = avatarOf(testBlob(b)), []byte{b}
	}
	by, who := "avatar", protocol.UserID(1)
	if rapid.Bool().Draw(t, "of the group") {
		by, who = "group", 0
		p.both(&protocol.EditGroup{Group: 1, Avatar: &text})
	} else {
		p.both(&protocol.ChangeAvatar{User: 1, Avatar: text})
	}
	if !slices.Equal(p.shows[by], shown) {
		p.endClaims(who, shown...)
	}
	p.show(by, p.clock, false, shown...)
}

func (p *exhibition) file(t *rapid.T) {
	b := p.some(t)
	task := fmt.Sprint("t", b)
	res := p.both(&protocol.AddOfflineFile{File: protocol.OfflineFile{From: 1, To: 2, TaskID: task, Name: "f", Blob: testBlob(b)}})
	if _, refused := res.(error); refused != (p.added[b] == 0 && !p.files[task]) {
		p.rapid.Fatal(res)
	}
	if p.added[b] != 0 && !p.files[task] {
		p.files[task] = true
		p.endClaims(0, b)
		p.show(task, p.clock, false, b)
	}
}

func (p *exhibition) take(t *rapid.T) {
	task := fmt.Sprint("t", p.some(t))
	p.both(&protocol.DeleteOfflineFile{Actor: 2, From: 1, To: 2, TaskID: task})
	delete(p.files, task)
	p.show(task, p.clock, false)
}

func (p *exhibition) drop(t *rapid.T) {
	c := &protocol.DropBlobs{Unused: rapid.Bool().Draw(t, "unused"), Before: protocol.Time(p.clock - rapid.Int64Range(0, 20_000).Draw(t, "age"))}
	var want []byte
	for b := byte(1); b <= 5; b++ {
		c.IDs = append(c.IDs, testBlob(b))
		since := p.added[b]
		if c.Unused {
			since = p.since[b]
		}
		if since != 0 && since < int64(c.Before) {
			want = append(want, b)
		}
	}
	p.both(c)
	p.gallery.drop(want...)
	p.wentAre(want)
}

func (p *exhibition) hold(t *rapid.T) {
	p.both(&protocol.HoldBlobs{Node: protocol.NodeID(fmt.Sprint("n", rapid.IntRange(1, 2).Draw(t, "node"))), IDs: []protocol.BlobID{testBlob(p.some(t))}, Lost: rapid.Bool().Draw(t, "lost")})
}

func (p *exhibition) compare(t *rapid.T) {
	if got := p.recorded(); !slices.Equal(got, slices.Sorted(maps.Keys(p.added))) {
		t.Fatalf("recorded %v, want %v", got, slices.Sorted(maps.Keys(p.added)))
	}
	unused := map[byte]int64{}
	p.node.db.View(func(tx *bbolt.Tx) error { //nolint:errcheck // the scan only reads
		return (&txn{tx: tx}).scan(bUnused, nil, nil, func(key, _ []byte) (bool, error) {
			unused[key[8]] = int64(number(key))
			return false, nil
		})
	})
	if !maps.Equal(unused, p.since) {
		t.Fatalf("unused %v, want %v", unused, p.since)
	}
	if wrong := p.checkBlobs(); len(wrong) > 0 {
		t.Fatal(wrong)
	}
}
