package msfs

import (
	"context"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"teamtalk/protocol"
)

func nobody(context.Context, netip.Addr) bool { return false }

const somePath = "g0/001/000/0100000000000000000000000000000000000000000000000000000000000000_30x40.png"

// [TT-MEDIA-2]: a ticket says what was put in, on any node with the key, until it expires; changed in any byte it says nothing.
func TestUploadTicket(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(r, "key")
		name := rapid.StringMatching(`[\p{L}0-9 ._-]{1,60}[a-z]`).Draw(r, "name")
		size := rapid.Uint64().Draw(r, "size")
		kind := rapid.SampledFrom([]string{"", "audio/webm;codecs=opus"}).Draw(r, "type")
		now := time.Unix(rapid.Int64Range(0, 1<<40).Draw(r, "now"), 0)
		path, expires, err := NewTickets(key).Upload(9, name, size, kind, now)
		if err != nil {
			r.Skip("not a file name")
		}
		ticket, other := strings.TrimPrefix(path, UploadPath), NewTickets(key)
		k, err := other.CheckUpload(ticket, expires.Add(-time.Second))
		if err != nil || k.User != 9 || k.Name != name || k.Size != size || k.Type != kind || !k.Expires.Equal(expires) {
			r.Fatalf("%+v %v", k, err)
		}
		if _, err := other.CheckUpload(ticket, expires); protocol.CodeOf(err) != protocol.CodeForbidden {
			r.Fatalf("when it has expired: %v", err)
		}
		if _, err := NewTickets(append(key, 1)).CheckUpload(ticket, now); protocol.CodeOf(err) != protocol.CodeForbidden {
			r.Fatalf("with another key: %v", err)
		}
		b := []byte(ticket)
		at := rapid.IntRange(0, len(b)-1).Draw(r, "at")
		b[at] = rapid.SampledFrom([]byte("AZaz09-_=/.")).Filter(func(c byte) bool { return c != b[at] }).Draw(r, "byte")
		if _, err := other.CheckUpload(string(b), now); protocol.CodeOf(err) != protocol.CodeForbidden {
			r.Fatalf("changed at %d: %v", at, err)
		}
	})
}

func TestUploadTicketRefuses(t *testing.T) {
	for _, name := range []string{"", " ", "a/b", `a\b`, "..", ".", "a\x00b", "a\nb", strings.Repeat("a", maxName+1), "\xff"} {
		if _, _, err := NewTickets(nil).Upload(1, name, 1, "", time.Now()); protocol.CodeOf(err) == protocol.CodeUnspecified {
			t.Errorf("%q is taken for a file name", name)
		}
	}
	if _, _, err := NewTickets(nil).Upload(1, "a", 1, strings.Repeat("a", maxType+1), time.Now()); err == nil {
		t.Error("a long type is taken")
	}
}

// [TT-MEDIA-2]: an address is for one thing: neither for another user, blob or task, nor for writing what may be read.
func TestAddressesAreForOneThing(t *testing.T) {
	k, now := NewTickets([]byte("key")), time.Unix(1_800_000_123, 0)
	a, err := parseAsked(somePath)
	if err != nil {
		t.Fatal(err)
	}
	at, expires, err := k.Download(5, somePath+"_100x100.jpg", now)
	if err != nil {
		t.Fatal(err)
	}
	q := query(t, at)
	if u, err := k.CheckDownload(a.ID, q, expires.Add(-time.Second)); u != 5 || err != nil {
		t.Errorf("for %d: %v", u, err)
	}
	if life := expires.Sub(now); life < time.Hour || life > 2*time.Hour || expires.Minute() != 0 {
		t.Errorf("good for %v", life)
	}
	later, _, _ := k.Download(5, somePath+"_100x100.jpg", now.Truncate(time.Hour).Add(59*time.Minute))
	if later != at {
		t.Error("changes within the hour: no cache will know it")
	}
	for name, err := range map[string]error{
		"expired":        second(k.CheckDownload(a.ID, q, expires)),
		"another blob":   second(k.CheckDownload(protocol.BlobID{2}, q, now)),
		"a task to read": second(k.CheckTask(string(a.ID[:]), false, q, now)),
		"another key":    second(NewTickets(nil).CheckDownload(a.ID, q, now)),
	} {
		if protocol.CodeOf(err) != protocol.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
	write, _ := k.Task(5, "t1", true, now)
	w := query(t, write)
	if !strings.HasPrefix(write, "/media/task/t1?") {
		t.Errorf("%s", write)
	}
	if u, err := k.CheckTask("t1", true, w, now); u != 5 || err != nil {
		t.Errorf("for %d: %v", u, err)
	}
	for name, err := range map[string]error{
		"to read what may be written": second(k.CheckTask("t1", false, w, now)),
		"another task":                second(k.CheckTask("t2", true, w, now)),
		"expired":                     second(k.CheckTask("t1", true, w, now.Add(taskLife))),
	} {
		if protocol.CodeOf(err) != protocol.CodeForbidden {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second(_ protocol.UserID, err error) error { return err }

func query(t *testing.T, at string) url.Values {
	t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query()
}

func FuzzTicket(f *testing.F) {
	k, now := NewTickets([]byte("key")), time.Unix(1_800_000_000, 0)
	good, _, _ := k.Upload(1, "a.png", 5, "image/png", now)
	f.Add(strings.TrimPrefix(good, UploadPath), []byte{}, "u=1&e=2&s=3", somePath)
	f.Add("", (&UploadTicket{Name: "a", Type: "b"}).encode(), "", somePath+"_1x1.jpg")
	f.Fuzz(func(t *testing.T, ticket string, body []byte, q, path string) {
		if got, err := NewTickets([]byte("another key")).CheckUpload(ticket, now); err == nil {
			t.Fatalf("a forged ticket is good: %+v", got)
		}
		if got, ok := decodeUpload(body); ok && string(got.encode()) != string(body) {
			t.Fatalf("%x is read as %+v", body, got)
		}
		if values, err := url.ParseQuery(q); err == nil {
			if _, err := k.CheckDownload(protocol.BlobID{1}, values, now); err == nil {
				t.Fatalf("%q is good", q)
			}
		}
		a, err := parseAsked(path)
		if err != nil {
			return
		}
		if !strings.HasPrefix(strings.ToLower(path), a.String()) || strings.Contains(path, "..") && !strings.Contains(path, "_") {
			t.Fatalf("%q is read as %q", path, a.String())
		}
	})
}
