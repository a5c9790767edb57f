package client_test

import (
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"teamtalk/client"
	"teamtalk/client/dial"
	"teamtalk/protocol"
)

func sampleState() client.Saved {
	return client.Saved{
		Name: "me", User: 7, Device: "d", Token: []byte("secret"), Expires: time.Unix(1000, 0).UTC(), Cursor: 12,
		Handed: []client.Handed{{Session: inAlice(), Message: 4, Read: 3}}, Beyond: map[string]int{"g 9 1 1 2": 1},
		Shown:  map[string]string{"p 1 sign": "x"},
		Outbox: []client.Queued{{ID: protocol.ClientMsgID{1}, Session: inAlice(), Type: 1, Data: []byte("x"), Made: time.Unix(5, 0).UTC()}},
		Winner: &client.Winner{Network: "n", Transport: dial.TLS, At: time.Unix(6, 0).UTC()}, Version: 1,
	}
}

// Both storages give back what they were given.
func TestStorages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "session.json")
	file, err := client.NewFileStorage(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]client.Storage{"memory": &client.MemoryStorage{}, "file": file} {
		got, err := s.Load()
		if err != nil || !reflect.DeepEqual(got, client.Saved{}) {
			t.Errorf("%s: empty: %+v, %v", name, got, err)
		}
		want := sampleState()
		for range 2 {
			if err := s.Save(want); err != nil {
				t.Fatal(err)
			}
		}
		if got, err = s.Load(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	for _, bad := range []string{"{", `{"version":2}`, ""} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := file.Load(); err == nil {
			t.Errorf("%q was loaded", bad)
		}
	}
}

// faulty fails while it is told to.
type faulty struct {
	client.MemoryStorage
	mu   sync.Mutex // guards fail
	fail error
}

func (f *faulty) Save(s client.Saved) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	return f.MemoryStorage.Save(s)
}

// What can't be saved is not accepted, and not acked: an ACK says that it is stored [TT-SESS-4].
func TestStorageFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		storage := &faulty{}
		r.cfg.Storage = storage
		c := r.open()
		r.state(client.Online)
		storage.mu.Lock()
		storage.fail = errDisk
		storage.mu.Unlock()
		_, err := c.Send(t.Context(), inAlice(), client.Text("x"))
		is(t, err, errDisk)
		r.server.says("hi")
		r.message("hi")
		r.nothing()
		if acks := r.server.acked(); len(acks) != 0 || len(r.server.texts()) != 0 {
			t.Errorf("acked %v, stored %v", acks, r.server.texts())
		}
		storage.mu.Lock()
		storage.fail = nil
		storage.mu.Unlock()
		r.sent(r.send("y"))
		r.message("y")
		<-time.After(5 * time.Second)
		if acks := r.server.acked(); len(acks) == 0 || acks[len(acks)-1] != 2 {
			t.Errorf("%v", acks)
		}
	})
}

// A program that ends without Close may get again what it has had since the last save, and loses nothing.
func TestCrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		live := &client.MemoryStorage{}
		r.cfg.Storage = live
		r.open()
		r.state(client.Online)
		r.server.says("one")
		r.message("one")
		<-time.After(5 * time.Second)
		crashed, err := live.Load()
		if err != nil {
			t.Fatal(err)
		}
		r.server.says("two")
		r.message("two")
		r.close()
		after := &client.MemoryStorage{}
		if err := after.Save(crashed); err != nil {
			t.Fatal(err)
		}
		r.cfg.Storage = after
		r.open()
		r.message("two")
		r.nothing()
	})
}
