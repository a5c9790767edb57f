package service

import (
	"slices"
	"strings"
	"testing"

	"teamtalk/protocol"
	"teamtalk/protocol/crypt"
)

// fewBlobs knows some.
type fewBlobs map[protocol.BlobID]protocol.Blob

func (f fewBlobs) Blob(id protocol.BlobID) (protocol.Blob, []protocol.NodeID, error) {
	b, ok := f[id]
	if !ok {
		return b, nil, notFound()
	}
	return b, nil, nil
}

// [TT-MEDIA-3] [TT-MEDIA-10]: a message holds what its text names by path, in each of the forms, known to this node or not.
func TestReferences(t *testing.T) {
	known, unknown := protocol.BlobID{1, 2, 3}, protocol.BlobID{4, 5, 6}
	path := func(id protocol.BlobID) string { return protocol.BlobPath{ID: id, Ext: "png"}.String() }
	cipher, err := crypt.New(crypt.DefaultKey)
	if err != nil {
		t.Fatal(err)
	}
	var many []string
	for i := range 2 * protocol.MaxBlobRefs {
		many = append(many, "http://x/"+path(protocol.BlobID{9, byte(i)}))
	}
	ref := protocol.BlobRef{ID: known, Size: 77, Type: "image/png"}
	for name, tt := range map[string]struct {
		kind protocol.MsgType
		text string
		raw  bool
		want []protocol.BlobRef
	}{
		"picture":       {protocol.MsgSingleText, "see &$#@~^@[{:http://x/msfs/" + path(known) + ":}]&$~@#@ there", false, []protocol.BlobRef{ref}},
		"file":          {protocol.MsgSingleText, "[文件] a.png (1 MB) https://x/msfs/" + path(known), false, []protocol.BlobRef{ref}},
		"voice":         {protocol.MsgSingleText, "[语音] 5″ http://x/msfs/" + path(unknown), false, []protocol.BlobRef{{ID: unknown}}},
		"two":           {protocol.MsgSingleText, path(unknown) + " " + path(known) + " " + path(unknown) + "_100x100.jpg", false, []protocol.BlobRef{{ID: unknown}, ref}},
		"text":          {protocol.MsgSingleText, "hello g0/ and so on", false, nil},
		"not encrypted": {protocol.MsgSingleText, path(known), true, nil},
		"sound":         {protocol.MsgSingleAudio, path(known), false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeStore{}
			m, err := NewMessages(s, MessageRules{}).WithBlobs(fewBlobs{known: {ID: known, Size: 77, Type: "image/png"}}, "")
			if err != nil {
				t.Fatal(err)
			}
			data := cipher.Encrypt(tt.text)
			if tt.raw {
				data = []byte(tt.text)
			}
			if tt.kind.IsAudio() {
				data = append([]byte{0, 0, 0, 5}, data...)
			}
			cmd := protocol.SendMessage{From: 1, To: protocol.WithUser(2), Type: tt.kind, Data: data, Blobs: []protocol.BlobRef{{ID: protocol.BlobID{8}}}}
			if _, err := m.Send(t.Context(), cmd); err != nil {
				t.Fatal(err)
			}
			if got := s.commands[0].(*protocol.SendMessage).Blobs; !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
	m, err := NewMessages(&fakeStore{}, MessageRules{}).WithBlobs(fewBlobs{}, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := m.media.of(&protocol.SendMessage{Type: protocol.MsgSingleText, Data: cipher.Encrypt(strings.Join(many, " "))}); len(got) != protocol.MaxBlobRefs {
		t.Errorf("%d references", len(got))
	}
	if _, err := NewMessages(&fakeStore{}, MessageRules{}).WithBlobs(fewBlobs{}, "short"); err == nil {
		t.Error("a key that is none")
	}
}
