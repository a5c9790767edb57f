package bus

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"teamtalk/protocol"
)

func uuid(u int) protocol.DeviceID {
	return protocol.DeviceID(fmt.Sprintf("6f1c2f0e-7d1b-4f0e-9a55-%012d", u))
}

// fill has three nodes' sessions in the table of node a: of each so many users with one session.
func fill(tb testing.TB, b *Bus, users int, d func(u int) protocol.DeviceID) {
	tb.Helper()
	for u := range users {
		b.Presence().Join(Session{User: protocol.UserID(1 + u), Conn: protocol.ConnID(1 + u), Client: protocol.ClientWeb, Device: d(u)})
	}
	for i, from := range []protocol.NodeID{"b", "c"} {
		first := (i + 1) * users
		for at := 0; at < users; at += tableSessions {
			part := tablePart{Number: uint64(users), Part: at / tableSessions, IsLast: at+tableSessions >= users}
			for u := first + at; u < first+min(at+tableSessions, users); u++ {
				part.Sessions = append(part.Sessions, wireSession{
					User: protocol.UserID(1 + u), Conn: protocol.ConnID(1 + u), Client: protocol.ClientWeb, Device: []byte(d(u)), Since: protocol.TimeOf(time.Now()),
				})
			}
			b.Receive(from, payloadOf(tb, kindTable, part))
		}
	}
	b.presence.mu.RLock()
	defer b.presence.mu.RUnlock()
	if len(b.presence.users) != 3*users {
		tb.Fatalf("%d users", len(b.presence.users))
	}
}

func payloadOf(tb testing.TB, k kind, v any) []byte {
	tb.Helper()
	payload, err := newPayload(1)
	if err == nil {
		payload, err = appendItem(payload, k, v)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return payload
}

// What a session costs on every node of the cluster.
func TestBytesPerSession(t *testing.T) {
	for name, c := range map[string]struct {
		device func(int) protocol.DeviceID
		most   float64
	}{
		"legacy":   {func(int) protocol.DeviceID { return "" }, 160},
		"extended": {uuid, 220},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			b := New(Config{Node: "a"})
			b.presence.cfg.Settle = time.Hour
			fill(t, b, 100_000/3, c.device)
			for u := range 100_000 { // as when everybody has been announced
				b.publish(protocol.PresenceChanged{User: protocol.UserID(1 + u), Online: true})
			}
			b.presence.mu.Lock()
			b.presence.settling = newSettling()
			b.presence.mu.Unlock()
			runtime.GC()
			runtime.ReadMemStats(&after)
			per := float64(after.HeapAlloc-before.HeapAlloc) / 100_000
			t.Logf("%.0f bytes for each session", per)
			if per > c.most || per < 48 {
				t.Errorf("%.0f bytes for each session, want at most %.0f", per, c.most)
			}
			runtime.KeepAlive(b)
		})
	}
}

type nowhere struct{}

func (nowhere) Send(context.Context, protocol.NodeID, []byte) error { return nil }

func BenchmarkLookUp(b *testing.B) {
	bus := New(Config{Node: "a"})
	fill(b, bus, 100_000, uuid)
	p := bus.Presence()
	u := protocol.UserID(0)
	for b.Loop() {
		u = (u + 7919) % 300_000
		p.PCOnline(u)
	}
}

func BenchmarkJoinLeave(b *testing.B) {
	bus := New(Config{Node: "a", PeerItems: 1})
	bus.Link("b", true)
	bus.Link("c", true)
	fill(b, bus, 100_000, uuid)
	p := bus.Presence()
	u := protocol.UserID(0)
	for b.Loop() {
		u++
		p.Join(Session{User: 1_000_000 + u%1000, Conn: protocol.ConnID(u), Client: protocol.ClientMac})
		p.Leave(1_000_000+u%1000, protocol.ConnID(u))
	}
}

// BenchmarkDropNode is how long it takes to forget a node with 100,000 of 300,000 sessions; the table stands still for single steps of it only.
func BenchmarkDropNode(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		bus := New(Config{Node: "a"})
		fill(b, bus, 100_000, uuid)
		b.StartTimer()
		p := bus.Presence()
		p.mu.Lock()
		p.endLocked(p.remote["b"], time.Now())
		p.mu.Unlock()
		p.sweepAll()
	}
}

// BenchmarkSweepStep is how long the table stands still at most while a node is forgotten: for a scan, when others can still look up, and for a step.
func BenchmarkSweepStep(b *testing.B) {
	bus := New(Config{Node: "a"})
	fill(b, bus, 100_000, uuid)
	p := bus.Presence()
	m := p.remote["b"]
	m.isOver = true
	b.Run("scan", func(b *testing.B) {
		for b.Loop() {
			p.usersOf(m)
		}
	})
	users := p.usersOf(m)
	b.Run("step", func(b *testing.B) {
		for range min(b.N, len(users)/sweepUsers) {
			p.sweepSome(sweep{member: m, settled: time.Now()}, users[:sweepUsers])
			users = users[sweepUsers:]
		}
	})
}

// BenchmarkSendTable is what it costs to tell a new node of 100,000 of 300,000 sessions.
func BenchmarkSendTable(b *testing.B) {
	bus := New(Config{Node: "a"})
	fill(b, bus, 100_000, uuid)
	bus.Link("b", true)
	s := &sender{link: bus.links.open["b"], presence: bus.presence, peers: nowhere{}, metrics: bus.metrics}
	for b.Loop() {
		s.sendTable(b.Context())
	}
}
