package load

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// brief ends by count, long before its times do.
func brief(window, count int) MessageOptions {
	return MessageOptions{Window: window, Payload: MinPayload, Duration: time.Minute, Count: count, Drain: time.Minute}
}

func TestPairs(t *testing.T) {
	for _, window := range []int{1, 16} {
		r, err := Pairs(t.Context(), startFake(t, fault{}), 3, brief(window, 1000))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Verdict(); err != nil {
			t.Errorf("window %d: %v", window, err)
		}
		if r.Acked != 1000 || r.Delivered != 1000 || r.Expected != 1000 || r.Ack.Count != 1000 || r.Delivery.Count != 1000 || r.Ack.P50 == 0 {
			t.Errorf("window %d: %+v", window, r)
		}
	}
}

func TestGroup(t *testing.T) {
	r, err := Group(t.Context(), startFake(t, fault{}), 5, brief(4, 100))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Verdict(); err != nil || r.Acked != 100 || r.Delivered != 500 || r.Expected != 500 {
		t.Errorf("%v: %+v", err, r)
	}
}

// TestFaults shows that a run notices whatever a server can do wrong.
func TestFaults(t *testing.T) {
	cases := []struct {
		name  string
		fault fault
		want  func(*MessageResult) bool
	}{
		{"lost", fault{dropDelivery: 3}, func(r *MessageResult) bool { return r.Lost == 1 && r.Delivered == 19 }},
		{"twice", fault{doubleDelivery: 3}, func(r *MessageResult) bool { return r.Duplicated == 1 && r.Delivered == 20 }},
		{"twice at the end", fault{doubleDelivery: 20}, func(r *MessageResult) bool { return r.Duplicated == 1 && r.Delivered == 20 }},
		{"out of order", fault{swapDelivery: 3}, func(r *MessageResult) bool { return r.OutOfOrder == 1 && r.Delivered == 20 }},
		{"not acked", fault{dropAck: 20}, func(r *MessageResult) bool { return r.Unacked == 1 && r.Acked == 19 }},
		{"ack skipped", fault{dropAck: 3}, func(r *MessageResult) bool { return r.StrangeAcks > 0 && r.Unacked > 0 }},
		{"wrong id", fault{wrongAckID: 3}, func(r *MessageResult) bool { return r.WrongID == 1 }},
		{"kicked", fault{kick: 3}, func(r *MessageResult) bool { return r.Failed == 1 && strings.Contains(r.Errors[0], "kicked") }},
	}
	for _, c := range cases {
		for how, library := range map[string]bool{"socket": false, "library": true} {
			t.Run(c.name+" by "+how, func(t *testing.T) {
				t.Parallel()
				o := brief(2, 20)
				o.Duration, o.Drain = time.Second, 0
				target := startFake(t, c.fault)
				target.Library = library
				r, err := Pairs(t.Context(), target, 1, o)
				if err != nil {
					t.Fatal(err)
				}
				if r.Verdict() == nil || !c.want(r) {
					t.Errorf("%v: %+v", r.Verdict(), r)
				}
			})
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, library := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		target := startFake(t, fault{dropDelivery: 1})
		target.Library = library
		time.AfterFunc(100*time.Millisecond, cancel)
		r, err := Pairs(ctx, target, 2, MessageOptions{Window: 1, Payload: MinPayload, Duration: time.Hour, Drain: time.Hour})
		if err == nil && r.Verdict() == nil {
			t.Errorf("a run that was broken off is fine: %+v", r)
		}
	}
}

// TestStop ends a run that is paced.
func TestStop(t *testing.T) {
	stop := make(chan struct{})
	time.AfterFunc(500*time.Millisecond, func() { close(stop) })
	r, err := Pairs(t.Context(), startFake(t, fault{}), 1,
		MessageOptions{Window: 1, Payload: MinPayload, Duration: time.Hour, Pace: time.Millisecond, Stop: stop, Drain: time.Minute})
	if err != nil || r.Verdict() != nil || r.Acked == 0 || r.Acked > 1000 {
		t.Errorf("%v: %+v", err, r)
	}
}

func TestLogins(t *testing.T) {
	target := startFake(t, fault{})
	r, err := Logins(t.Context(), target, LoginOptions{Users: 10, At: 4, Duration: time.Minute, Count: 50})
	if err != nil || r.Logins != 50 || r.PerSecond <= 0 {
		t.Errorf("%v: %+v", err, r)
	}
	target.Password = "wrong"
	if _, err := Logins(t.Context(), target, LoginOptions{Users: 1, At: 1, Duration: time.Minute, Count: 1}); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("wrong password: %v", err)
	}
}

func TestIdle(t *testing.T) {
	collected := 0
	r, err := Idle(t.Context(), startFake(t, fault{}), IdleOptions{Connections: 20, Hold: time.Millisecond,
		Collect: func(context.Context) error { collected++; return nil }})
	if err != nil || r.Dropped != 0 || r.Connections != 20 || collected != 2 {
		t.Errorf("%v, collected %d times: %+v", err, collected, r)
	}
	if n, err := residentMemory(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("resident memory of this test: %d, %v", n, err)
	}
}

func TestEcho(t *testing.T) {
	for _, via := range Vias() {
		t.Run(string(via), func(t *testing.T) {
			r, err := Echo(t.Context(), EchoOptions{Via: via, Connections: 3, Window: 4, Payload: 100, Duration: 250 * time.Millisecond})
			if err != nil || r.RoundTrip.Count == 0 || r.PerSecond <= 0 {
				t.Errorf("%v: %+v", err, r)
			}
		})
	}
}

func TestDiscover(t *testing.T) {
	answer := `{"code":0,"msg":"","priorIP":"127.0.0.1","backupIP":"127.0.0.1","port":"8000"}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer s.Close()
	if got, err := Discover(t.Context(), s.URL); err != nil || got != "127.0.0.1:8000" {
		t.Errorf("got %q, %v", got, err)
	}
	answer = `{"code":2,"msg":"full"}`
	if _, err := Discover(t.Context(), s.URL); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("a full server: %v", err)
	}
}

func TestRequireLoopback(t *testing.T) {
	for hostport, ok := range map[string]bool{"127.0.0.1:1": true, "[::1]:1": true, "8.8.8.8:1": false, "0.0.0.0:1": false, "127.0.0.1": false} {
		if err := RequireLoopback(t.Context(), hostport); (err == nil) != ok {
			t.Errorf("%s: %v", hostport, err)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]MessageOptions{
		"no window":    {Payload: MinPayload, Duration: 1},
		"small":        {Window: 1, Payload: MinPayload - 1, Duration: 1},
		"no duration":  {Window: 1, Payload: MinPayload},
		"large window": {Window: maxWindow + 1, Payload: MinPayload, Duration: 1},
	} {
		if _, err := Pairs(t.Context(), Target{}, 1, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestArrivals compares the counts with those of a simple list of all that came.
func TestArrivals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		came := rapid.SliceOf(rapid.Uint32Range(0, 20)).Draw(t, "came")
		acked := rapid.IntRange(0, 25).Draw(t, "acked")
		in, seen, highest := newArrivals(), map[uint32]bool{}, -1
		duplicated, outOfOrder := 0, 0
		for _, n := range came {
			in.see(n, 100)
			switch {
			case seen[n]:
				duplicated++
			case int(n) < highest:
				outOfOrder++
			}
			seen[n], highest = true, max(highest, int(n))
		}
		lost := 0
		for n := range acked {
			if !seen[uint32(n)] {
				lost++
			}
		}
		if in.delivered != len(seen) || in.duplicated != duplicated || in.outOfOrder != outOfOrder || in.lost(acked) != lost {
			t.Fatalf("%v: %+v, lost %d; want %d delivered, %d twice, %d out of order, %d lost", came, in, in.lost(acked), len(seen), duplicated, outOfOrder, lost)
		}
	})
}

func TestStamp(t *testing.T) {
	data := bytes.Repeat([]byte("x"), 100)
	want := stamp{run: 1, lane: 2, n: 3, sent: time.Hour}
	want.put(data)
	if got, ok := readStamp(data); !ok || got != want {
		t.Errorf("got %+v, %v", got, ok)
	}
	for _, bad := range []string{"", "short", strings.Repeat("y", MinPayload)} {
		if _, ok := readStamp([]byte(bad)); ok {
			t.Errorf("%q is a stamp", bad)
		}
	}
}

func FuzzMessageFields(f *testing.F) {
	f.Add([]byte{0x18, 7, 0x32, 1, 'x'})
	f.Add([]byte{0xa2, 0x01, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, data, ok := messageFields(body); !ok && data != nil {
			t.Error("data of what is no message")
		}
	})
}

func TestResultsPrint(t *testing.T) {
	m, err := Inspect(t.Context(), t.TempDir())
	if err != nil || m.Cores == 0 || m.Fdatasync.Count == 0 || m.Kernel == "" {
		t.Fatalf("%v: %+v", err, m)
	}
	messages := &MessageResult{Acked: 4711, AckedPerSecond: 815, Ack: Summary{P50: 1500}}
	bench := &BenchResult{
		Machine: m, Cells: []BenchCell{{Pairs: 64, Window: 16, Messages: messages, Echo: &EchoResult{PerSecond: 99}}},
		Logins: &LoginResult{PerSecond: 42}, Idle: &IdleResult{Connections: 5000, PerConnection: 10 << 10},
	}
	var out bytes.Buffer
	if err := bench.Print(&out); err != nil {
		t.Fatal(err)
	}
	if err := messages.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{m.Go, "815", "4711", "1.50", "99", "42", "5000", "10.0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if text, err := json.Marshal(bench); err != nil || !strings.Contains(string(text), `"p50_us":1500`) {
		t.Errorf("%v: %s", err, text)
	}
}
