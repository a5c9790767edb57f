package state

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"teamtalk/protocol"
	"teamtalk/raftstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type published struct {
	mu     sync.Mutex
	events []protocol.Event
}

func (p *published) Publish(events []protocol.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events = append(p.events, events...)
}

func (p *published) messages() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if _, ok := e.Body.(protocol.MessageSent); ok {
			n++
		}
	}
	return n
}

func openStore(t testing.TB, dir string, p raftstore.Publisher) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Config: raftstore.Config{
		Dir: dir, NodeID: "n1", Publisher: p, Version: "test", Fatal: func(err error) { t.Errorf("fatal: %v", err) },
		Tuning: raftstore.Tuning{MapSize: 1 << 28, LeaderWait: 10 * time.Second},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStore starts many messages before it waits for the first, and finds them in order after a restart.
func TestStore(t *testing.T) {
	dir, p := t.TempDir(), &published{}
	s := openStore(t, dir, p)
	ctx := context.Background()
	res, err := s.Execute(ctx, &protocol.AddUsers{Users: []protocol.NewUser{{User: protocol.User{Name: "a"}}, {User: protocol.User{Name: "b"}}}})
	if err != nil || len(res.(protocol.AddUsersResult).IDs) != 2 {
		t.Fatal(res, err)
	}
	var pending []protocol.Pending
	for i := range 300 {
		f, err := s.Start(ctx, text(1, protocol.WithUser(2), itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, f)
	}
	for i, f := range pending { // [TT-MSG-4]
		res, err := f.Wait(ctx)
		if err != nil || res.(protocol.SendResult).ID != protocol.MsgID(i+1) {
			t.Fatalf("message %d: %+v, %v", i, res, err)
		}
	}
	if _, err := s.Execute(ctx, text(1, protocol.WithUser(1), "x")); protocol.CodeOf(err) != protocol.CodeInvalid {
		t.Errorf("a refusal: %v", err)
	}
	if n := p.messages(); n != 300 {
		t.Errorf("%d events", n)
	}
	events, next, err := s.EventsAfter(2, 0, 1000)
	if err != nil || len(events) != 300 || next < s.Applied()-1 {
		t.Errorf("%d events, next %d of %d, %v", len(events), next, s.Applied(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, nil)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	msgs, err := s.History(2, protocol.WithUser(1), 0, 1000)
	if err != nil || len(msgs) != 300 || string(msgs[299].Data) != "0" {
		t.Errorf("%d messages after a restart, %v", len(msgs), err)
	}
	if res, err := s.Execute(ctx, text(2, protocol.WithUser(1), "back")); err != nil || res.(protocol.SendResult).ID != 301 {
		t.Errorf("%+v, %v", res, err)
	}
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
}

func TestOpenFails(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Config: raftstore.Config{Dir: file, NodeID: "n1", Fatal: func(error) {}}}); err == nil {
		t.Error("a file is no data directory")
	}
}

func BenchmarkStoreSend(b *testing.B) {
	for _, senders := range []int{1, 64, 512} {
		b.Run("senders="+itoa(senders), func(b *testing.B) {
			s := openStore(b, b.TempDir(), nil)
			defer func() { _ = s.Close() }()
			ctx := context.Background()
			var add protocol.AddUsers
			for i := range 2 * senders {
				add.Users = append(add.Users, protocol.NewUser{User: protocol.User{Name: "u" + itoa(i)}})
			}
			if _, err := s.Execute(ctx, &add); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range senders {
				wg.Go(func() {
					for n := i; n < b.N; n += senders {
						c := text(protocol.UserID(2*i+1), protocol.WithUser(protocol.UserID(2*i+2)), "")
						c.Data = make([]byte, 100)
						c.ClientMsgID = protocol.ClientMsgID{1, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
						if _, err := s.Execute(ctx, c); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
		})
	}
}
