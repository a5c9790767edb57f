package protocol_test

import (
	"strings"
	"testing"

	"teamtalk/protocol"
)

func someBlob() protocol.BlobID { return protocol.BlobID{0: 7, 1: 255, 31: 0xab} }

func TestBlobID(t *testing.T) {
	id := someBlob()
	if got, err := protocol.ParseBlobID(id.String()); got != id || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", id.String()[1:], id.String() + "0", strings.ToUpper(id.String()), "g" + id.String()[1:]} {
		if _, err := protocol.ParseBlobID(s); protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestBlobPath: the legacy form of a path, with the blob's id as name [TT-MSFS-5].
func TestBlobPath(t *testing.T) {
	const name = "07ff0000000000000000000000000000000000000000000000000000000000ab"
	for path, want := range map[string]protocol.BlobPath{
		"g0/007/255/" + name + ".jpg":         {ID: someBlob(), Ext: "jpg"},
		"g0/007/255/" + name + "_800x600.png": {ID: someBlob(), Width: 800, Height: 600, Ext: "png"},
	} {
		if want.String() != path {
			t.Errorf("%v, want %s", want, path)
		}
		if got, err := protocol.ParseBlobPath(path); got != want || err != nil {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	for _, path := range []string{
		"", "g0/007/255/" + name, "/g0/007/255/" + name + ".jpg", "g0/007/254/" + name + ".jpg", "g0/008/255/" + name + ".jpg", "g0/7/255/" + name + ".jpg",
		"g0/007/255/" + name[1:] + ".jpg", "g0/007/255/" + strings.ToUpper(name) + ".jpg", "g0/007/255/" + name + ".toolongext", "g0/007/255/" + name + "_1x.jpg",
		"g0/007/255/" + name + "_10000x1.jpg", "g0/007/255/../" + name + ".jpg", "g0/007/255/" + name + ".j/g", "g0/007/255/" + name + ".jpg?x",
	} {
		if got, err := protocol.ParseBlobPath(path); protocol.CodeOf(err) != protocol.CodeInvalid {
			t.Errorf("%q is %+v, %v", path, got, err)
		}
	}
}

func TestBlobPaths(t *testing.T) {
	one, two := protocol.BlobPath{ID: someBlob(), Width: 8, Height: 9, Ext: "jpg"}, protocol.BlobPath{ID: protocol.BlobID{1}, Ext: "webm"}
	text := "see &$#@~^@[{:http://10.0.0.1/msfs/" + one.String() + ":}]&$~@#@ and " + two.String() + "_100x100.jpg, " + one.String() + " g0/999/999/x"
	if got := protocol.BlobPaths(text); len(got) != 2 || got[0] != one || got[1] != two {
		t.Errorf("%+v", got)
	}
	if got := protocol.BlobPaths("nothing here"); got != nil {
		t.Errorf("%+v", got)
	}
	var many strings.Builder
	for i := range byte(protocol.MaxBlobRefs + 5) {
		many.WriteString(protocol.BlobPath{ID: protocol.BlobID{2: i}, Ext: "jpg"}.String() + " ")
	}
	if got := protocol.BlobPaths(many.String()); len(got) != protocol.MaxBlobRefs {
		t.Errorf("%d of many", len(got))
	}
}

// FuzzBlobPaths: whatever a text says, a path that is found in it is one.
func FuzzBlobPaths(f *testing.F) {
	f.Add("x g0/007/255/07ff0000000000000000000000000000000000000000000000000000000000ab_800x600.png y")
	f.Add("g0/000/000/" + strings.Repeat("0", 64) + "_0x0.A")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range protocol.BlobPaths(text) {
			if got, err := protocol.ParseBlobPath(p.String()); got != p || err != nil {
				t.Errorf("%+v is read as %+v, %v", p, got, err)
			}
		}
	})
}
