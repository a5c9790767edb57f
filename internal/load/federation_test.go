package load

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"teamtalk/internal/simnet"
	"teamtalk/protocol"
)

// fakeOffice answers operators as an office does, and notes what it was asked.
type fakeOffice struct {
	*office
	mu     sync.Mutex // guards what follows
	asked  []string
	answer map[string][]string // by request, one after the other; the last one stays
}

func newFakeOffice(t *testing.T, domain string, answer map[string][]string) *fakeOffice {
	t.Helper()
	f := &fakeOffice{answer: answer}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		f.mu.Lock()
		defer f.mu.Unlock()
		what := strings.TrimPrefix(r.URL.Path, "/api/v1/federation")
		f.asked = append(f.asked, what+" "+body.String())
		answers := f.answer[what]
		if len(answers) == 0 || r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		if len(answers) > 1 {
			f.answer[what] = answers[1:]
		}
		_, _ = w.Write([]byte(answers[0]))
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		s.Close()
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, tokenFile), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.office = &office{domain: domain, path: &path{link: simnet.NewLink(1, simnet.Faults{})},
		Server: &Server{Place: Place{Addresses: Addresses{Ops: strings.TrimPrefix(s.URL, "http://")}, dir: dir}}}
	return f
}

// TestLinkOffices: who accepts an invitation is confirmed on both sides, each with the other's fingerprint, and it is waited until the link is up.
func TestLinkOffices(t *testing.T) {
	first := newFakeOffice(t, "one.example", map[string][]string{"/invite": {`{"code":"ttf1-x","fingerprint":"AAAA"}`}, "/confirm": {"{}"},
		"": {`{"links":[{"up":false}]}`, `{"links":[{"up":false}]}`, `{"links":[{"up":true}]}`}})
	second := newFakeOffice(t, "two.example", map[string][]string{"/accept": {"{}"}, "/self": {`{"fingerprint":"BBBB"}`}, "/confirm": {"{}"}})
	f := &offices{all: []*office{first.office, second.office}}
	if err := f.linkAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		of   *fakeOffice
		want string
	}{
		{first, `/confirm {"fingerprint":"BBBB","in":["all"],"out":["all"],"peer":"two.example"}`},
		{second, `/accept {"code":"ttf1-x"}`},
		{second, `/confirm {"fingerprint":"AAAA","in":["all"],"out":["all"],"peer":"one.example"}`},
	} {
		if !strings.Contains(strings.Join(c.of.asked, "\n"), c.want) {
			t.Errorf("%s was not asked %s but %q", c.of.domain, c.want, c.of.asked)
		}
	}
	if looked := strings.Count(strings.Join(first.asked, "\n"), "\n "); looked < 2 {
		t.Errorf("it was looked %d times whether the link is up", looked)
	}
}

// TestLinkThatStaysDown: the error says how the links are.
func TestLinkThatStaysDown(t *testing.T) {
	first := newFakeOffice(t, "one.example", map[string][]string{"": {`{"links":[{"domain":"two.example","state":"confirmed","up":false,"depth":7,"error":"nobody answers"}]}`}})
	f := &offices{all: []*office{first.office, {domain: "two.example"}}}
	ctx, cancel := context.WithCancel(t.Context())
	err := f.await(ctx, time.Minute, func(s *fedStatus) bool {
		cancel() // it is known what there is to say
		return s.depth() == 0
	})
	if err == nil || !strings.Contains(err.Error(), "two.example confirmed up=false  depth=7 nobody answers") {
		t.Error(err)
	}
}

// TestFindAbroad asks again as long as nobody was found.
func TestFindAbroad(t *testing.T) {
	first := newFakeOffice(t, "one.example", map[string][]string{"/people": {`{"users":[]}`, `{"users":[{"id":1073741825,"name":"user1000@two.example"}]}`,
		`{"users":[{"id":1073741826,"name":"user1001@two.example"},{"id":1073741827,"name":"user1001@three.example"}]}`}})
	ids, err := first.findAll(t.Context(), 2)
	if err != nil || len(ids) != 2 || ids[0] != protocol.MaxLocalID+1 || ids[1] != protocol.MaxLocalID+2 {
		t.Errorf("%v, %v", ids, err)
	}
	nobody := newFakeOffice(t, "one.example", map[string][]string{"/people": {`{"users":[]}`}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := nobody.find(ctx, "user1000"); err == nil || !strings.Contains(err.Error(), "user1000") {
		t.Error(err)
	}
}

// TestTrafficAbroad adds up what all links say.
func TestTrafficAbroad(t *testing.T) {
	first := newFakeOffice(t, "one.example", map[string][]string{"": {`{"links":[{"events_sent":5,"depth":1},{"events_sent":7,"depth":2}]}`}})
	f := &offices{all: []*office{first.office}}
	events, sent, err := f.traffic(t.Context())
	if err != nil || events != 12 || sent != 0 {
		t.Errorf("%d events, %d bytes, %v", events, sent, err)
	}
	if s, err := first.status(t.Context()); err != nil || s.depth() != 3 {
		t.Errorf("%+v, %v", s, err)
	}
}

// TestFederationReport: every table has as many cells in each row as columns, and the figures are in it.
func TestFederationReport(t *testing.T) {
	sum := Summary{Count: 1, P50: 1_230_000, P99: 2_340_000, P999: 3_450_000, Max: 4_560_000}
	messages := &MessageResult{Acked: 77, DeliveredPerSecond: 5432, Ack: sum, Delivery: sum}
	r := &FederationResult{
		Machine: &Machine{Cores: 2}, Via: ViaQUIC, RoundTrip: 90,
		Link:  []FedLinkRow{{RoundTrip: 90, Pairs: 128, Window: 16, Messages: messages, Servers: 150}},
		Delay: []FedLinkRow{{Messages: messages}},
		Drain: &DrainResult{Queued: 1000, Seconds: 4, Drained: 250, New: messages, Local: messages, Before: messages, Sender: MemoryRow{Peak: 100 << 20, Data: 300 << 20}},
		Group: &FedGroup{Offices: 20, Members: 5000, Posts: 200, Events: 19.02, Bytes: 700, Messages: messages},
		Peers: &PeersResult{Peers: 50, CPUAlone: 1, CPULinked: 2, RSSLinked: 50 << 20},
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	tables, columns := 0, 0
	for line := range strings.Lines(out.String()) {
		cells := strings.Count(line, "|")
		switch {
		case cells == 0:
			columns = 0
		case columns == 0:
			columns = cells
			tables++
		case cells != columns:
			t.Errorf("%d cells, not %d: %s", cells-1, columns-1, line)
		}
	}
	if tables != 6 {
		t.Errorf("%d tables", tables)
	}
	for _, want := range []string{"5432", "Links by quic", "| 90 | 128 | 16 |", "1000 messages", "250/s", "5000 members in 20 offices", "| 19.02 | 700 |", "| each | 0.020 | 1.00 |", "| 0.0 | 100.0 | 300.0 |"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, out.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

// TestFederationOptions: what can't be measured is refused before anything is started.
func TestFederationOptions(t *testing.T) {
	good := FederationOptions{Via: ViaTLS, Pairs: 1, Messages: 1, Payload: MinPayload, Lags: 1, LagPace: 1, Queued: 1, Idle: 1, Peers: 1, Offices: 2, Members: 2, Posts: 1}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*FederationOptions){
		"none of the parts":       func(o *FederationOptions) { o.Only = []string{"x"} },
		"not by tcp":              func(o *FederationOptions) { o.Via = ViaTCP },
		"duration":                func(o *FederationOptions) { o.Idle = 0 },
		"number":                  func(o *FederationOptions) { o.Posts = 0 },
		"pairs":                   func(o *FederationOptions) { o.Pairs = 0 },
		"members":                 func(o *FederationOptions) { o.Members = 1 },
		"payload of 3 bytes: 40":  func(o *FederationOptions) { o.Payload = 3 },
		"8001 pairs: 1 to 8000":   func(o *FederationOptions) { o.Pairs = maxFedPairs + 1 },
		"members in 1 offices":    func(o *FederationOptions) { o.Offices = 1 },
		"at most 8000 in one":     func(o *FederationOptions) { o.Members = 2*maxFedPairs + 2 },
		"links go by quic or tls": func(o *FederationOptions) { o.Via = ViaLongPoll },
		"a duration is missing":   func(o *FederationOptions) { o.RoundTrip = -1 },
	} {
		o := good
		spoil(&o)
		if err := o.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
