package federation

import (
	"bytes"
	"context"
	"io"
	"testing"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
	"teamtalk/protocol/fed"
)

// A gallery is a branch whose state knows what pictures there are, and who may have them.
type gallery struct {
	*branch
	*site
	attic *attic
}

func newGallery(t *testing.T, n *simnet.Network, i byte) *gallery {
	t.Helper()
	address := string('a'+rune(i)-1) + ":443"
	g := &gallery{branch: newBranch(t, n, i, address), attic: newAttic()}
	g.do(&protocol.RaiseLevel{To: 4})
	g.site = g.open(address, false, func(c *Config) { c.Files, c.Blobs = g.store, g.attic })
	g.attic.fetch = func(ctx context.Context, b protocol.Blob, w io.Writer) error {
		return g.m.Fetch(ctx, b.Peer, b.ID, 0, w)
	}
	return g
}

// hang brings a picture and returns the text by which profiles show it.
func (g *gallery) hang(content []byte) (protocol.BlobID, string) {
	g.Helper()
	id := g.attic.put(content)
	g.do(&protocol.PutBlob{Blob: protocol.Blob{ID: id, Size: uint64(len(content)), Type: "image/png"}, Node: "n1"})
	return id, "http://x.example/msfs/" + protocol.BlobPath{ID: id, Ext: "png", Width: 8, Height: 8}.String()
}

// looks gets a picture of another branch's.
func (g *gallery) looks(at *gallery, id protocol.BlobID) ([]byte, error) {
	var w bytes.Buffer
	err := g.m.Fetch(context.Background(), at.branch.id, id, 0, &w)
	return w.Bytes(), err
}

// awaits waits until somebody here was told of a picture, and whom to ask for it.
func (g *gallery) awaits(id protocol.BlobID, from *gallery) {
	g.Helper()
	g.until("it knows of the picture", func() bool {
		b, _, err := g.store.Blob(id)
		return err == nil && b.Peer == from.branch.id
	})
}

// TestPicturesOfThirdOffices: the picture of a group, and that of a member of an office that this one has no link with, come over the link with the hub, at the first one and after it was
// changed; to an office that has nobody in the group, and knows what they are called, they do not [FED-FILE-2] [FED-FILE-4] [FED-FILE-7].
func TestPicturesOfThirdOffices(t *testing.T) {
	bubble(t, func(t *testing.T, n *simnet.Network) {
		hub, b, c, stranger := newGallery(t, n, 1), newGallery(t, n, 2), newGallery(t, n, 3), newGallery(t, n, 4)
		for _, other := range []*gallery{b, c, stranger} {
			befriend(hub.branch, other.branch)
			hub.until("a link", func() bool { return linked(hub.site, other.site) })
		}
		hub.rule(stranger.branch, func(p *fed.Peer) { p.Out &^= fed.AllowDirectory })
		bens, ourName := noise(1, 300<<10), noise(2, 40<<10)
		face, text := b.hang(bens)
		b.do(&protocol.ChangeAvatar{User: 1, Avatar: text})
		b.say(1, hub.branch, 2, "hello")
		hub.awaits(face, b)
		hub.attic.hear(face, uint64(len(bens)), b.branch)
		sign, text := hub.hang(ourName)
		hub.do(&protocol.CreateGroup{Actor: 1, Type: protocol.GroupTemp, Name: "All", Avatar: text,
			Members: []protocol.UserID{1, hub.alias(b.branch, 1), hub.alias(c.branch, 1)}})
		for id, want := range map[protocol.BlobID][]byte{face: bens, sign: ourName} {
			c.awaits(id, hub)
			if got, err := c.looks(hub, id); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
			}
			stranger.do(&protocol.PutBlob{Blob: protocol.Blob{ID: id, Size: uint64(len(want)), Type: "image/png", Peer: hub.branch.id}, Node: "n2"}) // so it says
			stranger.until("a link", func() bool { return linked(hub.site, stranger.site) })
			if got, err := stranger.looks(hub, id); protocol.CodeOf(err) != protocol.CodeNotFound || len(got) > 0 {
				t.Errorf("a stranger gets %d bytes, %v", len(got), err)
			}
		}
		if c.up(b.branch) {
			t.Error("there is a link that nobody made")
		}
		newer := noise(3, 50<<10)
		later, text := b.hang(newer)
		b.do(&protocol.ChangeAvatar{User: 1, Avatar: text})
		c.awaits(later, hub)
		hub.attic.hear(later, uint64(len(newer)), b.branch)
		if got, err := c.looks(hub, later); err != nil || !bytes.Equal(got, newer) {
			t.Errorf("the new picture: %d bytes, %v", len(got), err)
		}
		if got, err := c.looks(hub, face); protocol.CodeOf(err) != protocol.CodeNotFound {
			t.Errorf("the one before: %d bytes, %v", len(got), err)
		}
	})
}
