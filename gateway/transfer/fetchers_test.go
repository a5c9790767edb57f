package transfer

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"teamtalk/gateway/transport"
	"teamtalk/protocol"
	"teamtalk/protocol/pb"
	"teamtalk/protocol/pdu"
)

// [TT-FILE-11]: a user fetches so many files at once, by whichever way; who is refused takes nobody's place.
func TestFetchersAreBounded(t *testing.T) {
	play(t, Limits{Fetches: 2, PerAddress: 1}, func(s *stage) {
		file := content(3 * segment)
		task := s.offer(len(file), false)
		c := s.login(1, task, uploader)
		c.pushes(task, file, 0, len(file))
		c.stored(task)
		f, _ := s.w.file(task)
		f.To, f.TaskID = 3, newTaskID()
		s.w.mu.Lock()
		s.w.waiting[f.TaskID] = f
		s.w.mu.Unlock()
		one := s.login(2, task, downloader)
		beside := s.connect(2)
		beside.login(2, task, downloader, 0)
		for range 2 {
			c := s.connect(0)
			c.login(2, task, downloader, 1)
			c.ends()
		}
		s.login(3, f.TaskID, downloader) // another user
		for range 3 {                    // what he may not have is not counted for him
			c := s.connect(0)
			c.login(3, task, downloader, 1)
			c.ends()
		}
		s.login(3, f.TaskID, downloader)
		one.close()
		<-one.gone
		s.fetch(task, file, 0)
	})
}

// [TT-FILE-11]: over HTTP, too.
func TestHTTPFetchersAreBounded(t *testing.T) {
	w := newWeb(t, Limits{Fetches: 1})
	file := content(1000)
	task := w.offer(len(file))
	if res, b, _ := w.do("POST", "/1/up/"+task, nil, bytes.NewReader(file)); res.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", res.Status, b)
	}
	for range 3 { // one after the other
		if res, b, _ := w.do("GET", "/2/down/"+task, nil, nil); res.StatusCode != http.StatusOK || !bytes.Equal(b, file) {
			t.Fatalf("%s, %d bytes", res.Status, len(b))
		}
		until(t, "the one before is over", func() bool {
			w.e.fetching.mu.Lock()
			defer w.e.fetching.mu.Unlock()
			return len(w.e.fetching.of) == 0
		})
	}
	f, _ := w.w.file(task)
	w.w.mu.Lock()
	delete(w.w.blobs, f.Blob)
	w.w.mu.Unlock()
	for range 2 { // what can't be read takes no place
		if res, b, _ := w.do("GET", "/2/down/"+task, nil, nil); res.StatusCode != http.StatusNotFound {
			t.Fatalf("without content: %s %s", res.Status, b)
		}
	}
	if !w.e.fetching.enter(2) {
		t.Fatal("there is no room for one")
	}
	if res, b, m := w.do("GET", "/2/down/"+task, nil, nil); res.StatusCode != http.StatusTooManyRequests || m["code"] != "rate_limited" || res.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %s %s", res.Status, b)
	}
}

// [TT-FILE-7]: only who names a task of his own has logged in: until a connection that was refused is gone it takes a place of its address.
func TestRefusedAreStrangers(t *testing.T) {
	w := newWorld()
	e := New(Config{Store: w, Blobs: w, Presence: w, Limits: Limits{PerAddress: 1}, Timing: Timing{Flush: time.Minute}})
	port, err := transport.ListenTCP(transport.TCPConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- port.Serve(e.ServeConn) }() // ends with Close below
	defer func() {
		port.Close()
		e.stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	for _, role := range []pb.ClientFileRole{downloader, uploader, receiver} {
		ask := func() (answered bool, end func()) {
			conn, err := newRaw(t.Context(), port.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			b, err := pdu.Append(nil, pdu.CmdFileLoginReq, 1, &pb.IMFileLoginReq{UserId: new(uint32(1)), TaskId: new(newTaskID()), FileRole: role.Enum()})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(b) // it may be closed by now
			p, err := pdu.NewReader(conn).Read(pdu.MaxLen)
			return err == nil && p.Header.Command == pdu.CmdFileLoginRes, func() { _ = conn.Close() }
		}
		answered, end := ask()
		if !answered {
			t.Fatalf("role %d: the first one was not answered", role)
		}
		if answered, end := ask(); answered {
			end()
			t.Errorf("role %d: the second one of the address was answered", role)
		}
		end()
		until(t, "it is gone", func() bool {
			e.unknown.mu.Lock()
			defer e.unknown.mu.Unlock()
			return e.unknown.all == 0
		})
	}
}

// [TT-FILE-13]: a file that is stored is not to be offered anew, even if too many are remembered to remember this one.
func TestHTTPStoredUnremembered(t *testing.T) {
	w := newWeb(t, Limits{Tasks: 1})
	file := content(1000)
	for i := range 3 {
		task := w.offer(len(file))
		if res, b, m := w.do("POST", "/1/up/"+task, nil, bytes.NewReader(file)); res.StatusCode != http.StatusOK || m["stored"] != true || m["offset"] != 1000.0 {
			t.Errorf("file %d: %s %s", i, res.Status, b)
		}
		if f, got := w.w.file(task); f.To != protocol.UserID(2) || !bytes.Equal(got, file) {
			t.Errorf("file %d is not stored", i)
		}
	}
}
